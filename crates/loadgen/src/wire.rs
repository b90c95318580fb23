//! HTTP/1.1 as bytes: what is sent, and how what comes back is read. Knows no socket.

mod answer;
mod chunk;
mod event;
mod lines;
mod response;

pub use answer::Received;
pub(crate) use answer::{Answer, Expect, Fault, Progress};
pub use event::FinishReason;
