//! Load over HTTP against any OpenAI-compatible server, and the latencies that its users would see.
//!
//! Open loop: requests leave at the times that an arrival process set, whether or not earlier ones were
//! answered, so that a stall of the server is seen by every request that falls into it (no coordinated omission).
//! Knows nothing of the course's engine but its wire format.
//!
//! One thread does everything in between: it sends, reads and notes times with non-blocking sockets on one
//! `mio::Poll`. An async runtime would serve as well; what it adds, a task for each stream, is not needed where all
//! streams are alike. A second thread keeps the records, so that a slow disk is not seen as a slow server.
//!
//! # What the figures mean
//!
//! | figure | from | to |
//! |---|---|---|
//! | lateness | when the request was due | when its first byte left: the generator's own fault |
//! | TTFT | when it was due | the first piece of content |
//! | TTFT from send | when it was sent | the first piece of content |
//! | ITL | a piece of content | the next; zero where both came in one read |
//! | TPOT | | (E2E - TTFT) / (tokens - 1), one a request |
//! | E2E | when it was due | the last piece of content; the body's end where nothing is streamed |
//! | goodput | | requests a second inside every limit |
//!
//! Pieces are counted as tokens unless the server counts (`usage`). A role alone, a usage or `[DONE]` is no
//! content. A connection that has to be opened first is part of TTFT. Arrivals are scaled so that their mean rate is
//! exactly what was asked ([`workload::ArrivalProcess::schedule`]); the CV of gaps that were drawn still scatters by
//! about `1/sqrt(n)` around what was asked. The summary shows drawn and sent, and the generator answers for the
//! difference between these two.
//!
//! # Measuring the generator
//!
//! `loadgen-sink` is a server that costs next to nothing. With each on a processor of its own:
//!
//! ```text
//! cargo build --release -p loadgen
//! taskset -c 1 target/release/loadgen-sink --port 8100
//! taskset -c 0 target/release/loadgen --url http://127.0.0.1:8100 --closed 64 -n 200000 --no-stream --input 16 --output 16
//! taskset -c 0 target/release/loadgen --url http://127.0.0.1:8100 --closed 64 -n 40000 --input 16 --output 16
//! taskset -c 0 target/release/loadgen --url http://127.0.0.1:8100 --rate 1000 -n 20000 --no-stream --input 16 --output 16
//! ```
//!
//! The last line of the table is processor time a request. In an open loop, busy waiting for the moment to send comes
//! on top and is shown beside it.

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
