//! Lab 1, performance triage: the parts of an inference engine that decide how fast it is and how
//! well you can tell.
//!
//! | task | file | what |
//! |---|---|---|
//! | 1.1 | `phases.rs` | where a request's time went |
//! | 1.2 | `histogram.rs` | metrics that do not lie |
//! | 1.3 | `continuous.rs` | from static to continuous batching |
//! | 1.4 | `paged.rs`, `preemption.rs` | paged KV, prefix cache, preemption |
//! | 1.5 | `chunked.rs` | chunked prefill within a latency SLO |
//! | 1.6 | `roofline.rs` | how long a step takes, and which limit binds |
//! | 1.7 | `triage.rs` | from symptoms to a cause and a remedy |
//!
//! All of it is pure: functions of their arguments, on the seams of `serving`. The engine that
//! serves a real model with these parts is `src/bin/engine.rs`.

pub mod block_index;
pub mod calibration;
pub mod chunked;
pub mod continuous;
pub mod evidence;
pub mod fault;
pub mod free_list;
pub mod histogram;
pub mod metrics;
pub mod paged;
pub mod phases;
pub mod placement;
pub mod preemption;
pub mod published;
pub mod roofline;
pub mod triage;

#[cfg(test)]
mod tests;

pub use chunked::AdaptiveBudget;
pub use continuous::ContinuousScheduler;
pub use evidence::{Evidence, Scrape, Stream, Symptoms};
pub use histogram::{BucketError, Histogram, buckets_for_slo};
pub use metrics::EngineMetrics;
pub use paged::{Naming, PagedPool};
pub use phases::{Latencies, latencies, phases};
pub use placement::{Placement, PlacementError};
pub use roofline::{Roofline, Work, binding};
pub use triage::{Cause, Remedy, diagnose, remedy};
