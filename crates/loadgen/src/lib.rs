//! Load over HTTP against any OpenAI-compatible server, and the latencies that its users would see.
//!
//! Open loop: requests leave at the times that an arrival process set, whether or not earlier ones were
//! answered, so that a stall of the server is seen by every request that falls into it (no coordinated omission).
//! Knows nothing of the course's engine but its wire format.
//!
//! One thread does everything in between: it sends, reads and notes times with non-blocking sockets on one
//! `mio::Poll`. An async runtime would serve as well; what it adds, a task for each stream, is not needed where all
//! streams are alike. A second thread keeps the records, so that a slow disk is not seen as a slow server.

mod body;
mod connection;
mod error;
mod feed;
mod plan;
mod record;
pub mod report;
mod run;
mod slo;
pub mod summary;
mod target;
mod timer;
mod usage;
mod wire;
mod words;
mod worker;

pub use body::{BodyOptions, Endpoint, PromptForm};
pub use error::LoadError;
pub use plan::{Limits, MAX_IN_FLIGHT, MAX_THREADS, MAX_TIMEOUT, Pace, Plan, Source};
pub use record::{ErrorKind, Failure, Record};
pub use run::{Outcome, WorkerReport, run};
pub use slo::Slo;
pub use summary::{Description, Figures, Summary, Tally};
pub use target::Target;
pub use wire::{FinishReason, Received};
