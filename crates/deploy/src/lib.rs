//! What is deployed: the files of a program's container image, and a Docker engine to try it on.
//!
//! The overlays of `clusters/` are rendered and checked by this crate's tests. What is in a program is not known here.

mod docker;
mod image;

pub use docker::{Docker, DockerError};
pub use image::{ImageError, Staged, stage};
