//! The same prediction on a real clock: an executor for a pod that behaves like an engine on another device.
//!
//! A step sleeps for as long as it is predicted to take, and answers with tokens that depend on nothing but the
//! request. The only module here that looks at a clock; [`SyllableCodec`] turns its tokens into text.

mod codec;
mod executor;

pub use codec::SyllableCodec;
pub use executor::{MAX_STEP, RealTimeExecutor};
