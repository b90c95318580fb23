//! What can be typed after `cargo xtask cluster`, by itself: xtask tells a reader of it, and of mistakes in it, without building the
//! program that does what was typed.

mod cli;
mod target;

pub use cli::{Cli, Command};
pub use target::Target;
