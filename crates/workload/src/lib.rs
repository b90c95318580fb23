//! What is asked of a serving system, and when: arrival processes, lengths, shared prefixes, traces.
//!
//! Pure: a function of its arguments and a seed. Knows no clock, no socket and no file, so that the load
//! generator replays over the wire exactly what the simulator replays under its virtual clock.
//!
//! - [`ArrivalProcess`]: [`Gaps`] (how irregular) under a [`RateProfile`] (how many a second, over time);
//! - [`Lengths`]: of prompts and of answers, in tokens;
//! - [`Mix`]: requests drawn from lengths and a [`SharedPrefix`];
//! - [`Trace`]: requests recorded elsewhere, with their times; [`mooncake`] writes one, of [`MooncakeLine`]s;
//! - [`Prompt`]: what a prompt says, as far as prefix caches can tell.

mod arrivals;
mod error;
mod gaps;
mod lengths;
mod mix;
mod mooncake;
mod profile;
mod prompt;
mod spec;
mod trace;

pub use arrivals::{ArrivalProcess, Arrivals, GapStatistics, MAX_REQUESTS};
pub use error::WorkloadError;
pub use gaps::{Gaps, MAX_CV};
pub use lengths::{Lengths, MAX_LENGTH};
pub use mix::{MAX_GROUPS, Mix, Request, Requests, SharedPrefix};
pub use mooncake::{MooncakeLine, mooncake};
pub use profile::{Leg, MAX_LEGS, MAX_RATE, RateProfile};
pub use prompt::{Prompt, Segment, scramble};
pub use trace::{MAX_LINE_BYTES, MAX_TRACE_REQUESTS, MOONCAKE_BLOCK, TimedRequest, Trace};
