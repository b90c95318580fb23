//! A request that a replica has not finished.

use std::time::Duration;

use serving::{EventKind, ProgressKind, Sequence, Timeline};

use crate::replica::nanos;
use crate::{Arrival, Outcome, RequestRecord};

/// A request that has not ended.
pub(crate) struct Live {
    /// Its place in the journal.
    pub(crate) index: usize,
    arrived: u64,
    /// When a router sent it.
    pub(crate) sent: Duration,
    /// When the engine gets it.
    pub(crate) enters: Duration,
    /// From the engine to its client.
    pub(crate) way_out: Duration,
    /// Until then.
    pub(crate) entering: Option<Sequence>,
    pub(crate) max_new_tokens: u32,
    /// Tokens after which it ends, one way or the other.
    pub(crate) end: u32,
    pub(crate) outcome: Outcome,
    pub(crate) placed: bool,
    generated: u32,
    first_token: u64,
    last_token: u64,
    max_gap: u64,
    pub(crate) timeline: Timeline,
}

impl Live {
    /// A request that was just sent; how long it is under way before and after the engine.
    pub(crate) fn new(
        index: usize,
        arrival: &Arrival,
        (sent, way_in, way_out): (Duration, Duration, Duration),
        timeline: bool,
    ) -> Self {
        let enters = sent + way_in;
        let max_new_tokens = arrival.max_new_tokens();
        let cut = arrival.max_tokens.is_some_and(|max| max <= arrival.output_tokens);
        let mut live = Self {
            index,
            arrived: nanos(arrival.at),
            sent,
            enters,
            way_out,
            entering: None,
            max_new_tokens: max_new_tokens as u32,
            end: arrival.output_tokens.clamp(1, max_new_tokens) as u32,
            outcome: if cut { Outcome::Length } else { Outcome::Stop },
            placed: false,
            generated: 0,
            first_token: 0,
            last_token: 0,
            max_gap: 0,
            timeline: Timeline::default(),
        };
        if timeline {
            live.timeline.push(arrival.at, EventKind::Arrived);
            live.timeline.push(enters, EventKind::Queued);
        }
        live
    }

    /// Takes a token. Returns the gap since the one before.
    #[inline]
    pub(crate) fn token(&mut self, at: u64) -> Option<u64> {
        let gap = at - self.last_token;
        self.last_token = at;
        self.generated += 1;
        if self.generated == 1 {
            self.first_token = at;
            return None;
        }
        self.max_gap = self.max_gap.max(gap);
        Some(gap)
    }

    /// Whether it has got all its tokens.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.generated == self.end
    }

    /// The timeline that a live server would keep.
    pub(crate) fn note(&mut self, at: Duration, kind: ProgressKind) {
        match kind {
            ProgressKind::Scheduled { .. } => self.timeline.push(at, EventKind::Scheduled),
            ProgressKind::Preempted => self.timeline.push(at, EventKind::Preempted),
            ProgressKind::PrefillDone => self.timeline.push(at, EventKind::PrefillDone),
            ProgressKind::Token(_) => {
                self.timeline.push(at, EventKind::Token);
                self.timeline.push(at, EventKind::Flushed { tokens: 1 });
            }
        }
    }

    /// Fills in what its tokens say.
    pub(crate) fn describe(&self, record: &mut RequestRecord) {
        let since_arrival = |at: u64| Duration::from_nanos(at - self.arrived) + self.way_out;
        record.generated_tokens = self.generated as usize;
        if self.generated > 0 {
            record.ttft = Some(since_arrival(self.first_token));
        }
        if self.generated > 1 {
            let between = Duration::from_nanos(self.last_token - self.first_token);
            record.tpot = Some(between / (self.generated - 1));
            record.max_itl = Some(Duration::from_nanos(self.max_gap));
        }
    }
}
