//! Task 2.4, second part: copies of requests, for a version that answers nobody.
//!
//! A shadow shows whether a version crashes on real traffic, before any user meets it. It costs what it computes, so it is
//! bounded; and it must never be noticed. Knows no transport: whoever sends the copy throws its answer away, does not retry it,
//! and marks it with [`SHADOW_HEADER`].

use crate::split::{Share, position};

/// Header of a copy, for the logs of whoever gets it.
pub const SHADOW_HEADER: &str = "x-llm-shadow";

/// Decides which requests are copied.
#[derive(Debug, Clone)]
pub struct Shadow {
    /// The experiment's name.
    experiment: String,
    /// What part of the requests is copied.
    share: Share,
    /// Copies at a time.
    limit: usize,
    /// Copies under way.
    in_flight: usize,
}

/// A copy that is to be sent. Whoever has it says [`Shadow::ended`] when nothing more will come, whatever came.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a copy that never ends holds its place for ever"]
pub struct Mirrored(());

impl Shadow {
    /// Copies `share` of the requests, at most `limit` at a time.
    #[must_use]
    pub fn new(experiment: &str, share: Share, limit: usize) -> Self {
        Self { experiment: experiment.to_owned(), share, limit, in_flight: 0 }
    }

    /// Copies under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether a request is copied. `repeatable`: serving it twice does nothing twice
    /// (`!Features::side_effects`).
    pub fn mirror(&mut self, request: u64, repeatable: bool) -> Option<Mirrored> {
        // Only what is repeatable; at most `limit` at a time: a copy that finds no place is dropped, it never waits. Of the rest
        // `share`, by the position of the request's number (eight bytes, big-endian) in an experiment called
        // `shadow of NAME`: by request and not by session, so that every kind of user is among them, and under another name, so
        // that it is not just those who have the canary.
        // ANCHOR: task_2_4_mirror
        let name = format!("shadow of {}", self.experiment);
        let point = u128::from(position(&name, &request.to_be_bytes())) * u128::from(Share::WHOLE);
        let is_drawn = point >> 64 < u128::from(self.share.points());
        if !repeatable || !is_drawn || self.in_flight >= self.limit {
            return None;
        }
        self.in_flight += 1;
        Some(Mirrored(()))
        // ANCHOR_END: task_2_4_mirror
    }

    /// Nothing more will come of a copy.
    pub fn ended(&mut self, _copy: Mirrored) {
        self.in_flight -= 1;
    }
}
