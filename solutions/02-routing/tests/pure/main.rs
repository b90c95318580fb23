//! What holds of the router's parts by themselves, whatever is asked of them: no socket, no clock.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod churn;
mod ext_proc;
mod places;
mod recency;
mod side_effects;
