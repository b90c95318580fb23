//! Task 1.5, chunked prefill: how many prompt tokens fit into a step beside its decodes, so that no
//! stream waits longer for its next token than was promised.
//!
//! A feedback controller: it is told what each step took, draws a line through two averages, and
//! reads from it what the next step may feed. Knows neither the device nor the model. Sarathi-Serve
//! (Agrawal et al., OSDI 2024) finds such a budget once, by profiling; here it is found while
//! serving.

use std::time::Duration;

use serving::{Demand, StepSample, TokenBudget};

/// Part of the SLO that a step is planned to take: the rest is for what nobody can foresee.
pub const MARGIN: f64 = 0.9;
/// The smallest number of prompt tokens that is worth a step, unless it ends the prompts.
pub const FLOOR: usize = 16;
/// Steps in a row in which prompts may get nothing. The step after them feeds [`FLOOR`] tokens.
pub const PATIENCE: usize = 8;
/// A step feeds at most this many times the prompt tokens of an average one: beyond that, nothing
/// has been tried yet.
pub const GROWTH: f64 = 2.0;
/// A step that took longer than this many times its prediction counts as if it had taken just that.
pub const OUTLIER: f64 = 2.0;
/// How much one step changes the average of steps that only decode.
pub const DECODE_WEIGHT: f64 = 0.2;
/// How much one step changes the average of steps that prefill as well, if it fed all it could.
pub const MIXED_WEIGHT: f64 = 0.3;

/// Feeds as many prompt tokens as fit into a TPOT SLO.
#[derive(Debug, Clone)]
pub struct AdaptiveBudget {
    /// The longest that a step with decodes should take.
    slo: Duration,
    /// Average time of steps that only decode, in seconds. `None` before the first.
    decode_s: Option<f64>,
    /// Steps with decodes that prefill as well. `None` before the first.
    mixed: Option<Mixed>,
    /// Prompt tokens that the step now running could feed at most.
    given: usize,
    /// Steps in a row in which prompts got nothing.
    passed_over: usize,
}

/// The average step that feeds decodes and prompt tokens.
#[derive(Debug, Clone, Copy)]
struct Mixed {
    /// Its prompt tokens.
    tokens: f64,
    /// Its time in seconds.
    seconds: f64,
}

impl AdaptiveBudget {
    /// A controller that knows nothing yet.
    #[must_use]
    pub fn new(slo: Duration) -> Self {
        Self { slo, decode_s: None, mixed: None, given: 0, passed_over: 0 }
    }

    /// What one more prompt token adds to a step with decodes, in seconds. `None` until a step of
    /// each kind was seen.
    fn token_s(&self) -> Option<f64> {
        // Two points are known: a step with no prompt token takes `decode_s`, and one with
        // `mixed.tokens` takes `mixed.seconds`. The answer is the slope of the line through them. It
        // is never negative: where noise says so, it is 0.
        // ANCHOR: task_1_5_line
        let mixed = self.mixed?;
        Some((mixed.seconds - self.decode_s?).max(0.0) / mixed.tokens)
        // ANCHOR_END: task_1_5_line
    }

    /// How many prompt tokens fit beside the decodes of the next step.
    fn room(&self) -> usize {
        // - Before a step that only decodes was seen: none. The next step will be one, and teach.
        // - None where the decodes alone take `MARGIN` of the SLO or more. What is left of it beside
        //   them is the time to spend.
        // - Before a mixed step was seen: `FLOOR`, to try.
        // - Else as many as the line allows in that time, but at most `GROWTH` times the tokens of the
        //   average mixed step; and that bound is never below `FLOOR`.
        // ANCHOR: task_1_5_room
        let Some(decode_s) = self.decode_s else { return 0 };
        let spare_s = MARGIN * self.slo.as_secs_f64() - decode_s;
        if spare_s <= 0.0 {
            return 0;
        }
        let (Some(mixed), Some(token_s)) = (self.mixed, self.token_s()) else { return FLOOR };
        let most = (GROWTH * mixed.tokens).max(FLOOR as f64);
        // Where a token costs nothing this is infinite, and `most` decides.
        (spare_s / token_s).min(most) as usize
        // ANCHOR_END: task_1_5_room
    }
}

// === impl TokenBudget for AdaptiveBudget ===

impl TokenBudget for AdaptiveBudget {
    fn next(&mut self, demand: &Demand) -> usize {
        // - Without decodes nobody waits for a next token: all of `demand.limit`.
        // - Decodes first: each has its token, whatever it takes.
        // - Prompts get the `room()`. Where that is less than `FLOOR`, and less than what is pending,
        //   they get nothing and are passed over. After `PATIENCE` steps of that they get `FLOOR`,
        //   and the count begins anew, as it does with every step that was not passed over.
        // - Both together never exceed `demand.limit`.
        // Keep in `self.given` what prompts may feed, for `observe`.
        // ANCHOR: task_1_5_split
        if demand.decodes == 0 {
            self.given = demand.limit;
            return demand.limit;
        }
        let mut room = self.room();
        let too_little = room < FLOOR.min(demand.prefill_tokens);
        if too_little {
            room = if self.passed_over < PATIENCE { 0 } else { FLOOR };
        }
        self.passed_over = if too_little && room == 0 { self.passed_over + 1 } else { 0 };
        self.given = room.min(demand.limit.saturating_sub(demand.decodes));
        demand.decodes + self.given
        // ANCHOR_END: task_1_5_split
    }

    fn observe(&mut self, step: &StepSample) {
        // Each step moves one of the two averages towards what was seen, by a part `weight` of the
        // difference: `average += weight * (seen - average)`. The first of its kind is taken as it is.
        // - Without decodes a step says nothing about how long decodes wait: ignore it.
        // - Only decodes: `decode_s`, by `DECODE_WEIGHT`.
        // - Both: the two fields of `mixed`, by `MIXED_WEIGHT`, but by less where the step fed only a
        //   part of what it could: a small chunk says little about a large one. That part is the
        //   prompt tokens fed over `self.given`, at most 1.
        // A single stall must not count for more than it is: time beyond `OUTLIER` times the
        // prediction is cut off. The prediction is `decode_s`, and `token_s()` for each prompt token;
        // without one, nothing is cut.
        // ANCHOR: task_1_5_observe
        if step.decode_tokens == 0 {
            return;
        }
        let prefill = step.prefill_tokens as f64;
        let mut seconds = step.elapsed.as_secs_f64();
        let extra = if step.prefill_tokens == 0 { Some(0.0) } else { self.token_s() };
        if let (Some(decode_s), Some(token_s)) = (self.decode_s, extra) {
            seconds = seconds.min(OUTLIER * (decode_s + token_s * prefill));
        }
        if step.prefill_tokens == 0 {
            let average = self.decode_s.get_or_insert(seconds);
            *average += DECODE_WEIGHT * (seconds - *average);
        } else {
            let mixed = self.mixed.get_or_insert(Mixed { tokens: prefill, seconds });
            let weight = MIXED_WEIGHT * (prefill / self.given.max(1) as f64).min(1.0);
            mixed.tokens += weight * (prefill - mixed.tokens);
            mixed.seconds += weight * (seconds - mixed.seconds);
        }
        // ANCHOR_END: task_1_5_observe
    }
}
