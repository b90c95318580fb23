//! Task 2.5, part 2: when to ask a second endpoint beside the first.
//!
//! A request that waits longer than nearly all others for its first byte is probably with an endpoint that is ill. To ask
//! another one then costs little, since few wait that long, and cuts the tail: "The Tail at Scale", Dean and Barroso, CACM
//! 2013, whose authors wait for the 95th percentile.

use std::collections::VecDeque;
use std::time::Duration;

/// The last times to the first byte, and what they say about how long is too long.
#[derive(Debug, Clone, PartialEq)]
pub struct HedgeDelay {
    /// Which part of the requests shall have their first byte by then: 0.95.
    quantile: f64,
    /// The latest times, the oldest first; at most [`HedgeDelay::WINDOW`].
    times: VecDeque<Duration>,
    /// What was found the last time, and how many times were observed since.
    found: Option<Duration>,
    since: usize,
}

impl HedgeDelay {
    /// Times that are remembered.
    pub const WINDOW: usize = 256;
    /// Without so many, nobody knows what is slow.
    pub const ENOUGH: usize = 32;
    /// The quantile is found anew after so many times.
    const EVERY: usize = 16;

    /// With no times yet.
    #[must_use]
    pub fn new(quantile: f64) -> Self {
        Self { quantile, times: VecDeque::with_capacity(Self::WINDOW), found: None, since: 0 }
    }

    /// A first byte came, so long after its attempt began.
    pub fn observe(&mut self, took: Duration) {
        if self.times.len() == Self::WINDOW {
            self.times.pop_front();
        }
        self.times.push_back(took);
        self.since += 1;
        if self.since >= Self::EVERY || self.found.is_none() {
            self.found = self.quantile_of_times();
            self.since = 0;
        }
    }

    /// How long to wait before a second endpoint is asked; `None` while too little is known.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.found
    }

    fn quantile_of_times(&self) -> Option<Duration> {
        // The smallest time that at least `self.quantile` of the remembered times do not exceed; `None` with fewer than
        // `ENOUGH` of them. Of 100 times and a quantile of 0.95 that is the 95th in order.
        // ANCHOR: task_2_5_quantile
        if self.times.len() < Self::ENOUGH {
            return None;
        }
        let mut sorted: Vec<Duration> = self.times.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (self.quantile * sorted.len() as f64).ceil() as usize;
        Some(sorted[rank.clamp(1, sorted.len()) - 1])
        // ANCHOR_END: task_2_5_quantile
    }
}
