//! Task 2.5, part 1: how many attempts may be added to those that clients ask for.
//!
//! A retry helps one request and costs everybody. When an endpoint fails, retries help; when all are overloaded, each
//! retry is more of what they have too much of: a retry storm. A budget tells the two apart without knowing which it
//! is: it grows with requests, and each retry takes from it.

use std::time::Duration;

/// How a budget grows, and how much it holds. Finagle's words, and Linkerd's defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetRules {
    /// Retries for each request: 0.2 is one for five.
    pub ratio: f64,
    /// Retries a second that are there without any request, so that a quiet router can retry at all.
    pub min_per_s: f64,
    /// It holds what so much time brings in of `min_per_s`, and as much of requests: see [`BudgetRules::most`].
    pub window: Duration,
}

impl Default for BudgetRules {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_s: 10.0, window: Duration::from_secs(10) }
    }
}

impl BudgetRules {
    /// The most retries that a budget holds: what a window brings in without requests, twice.
    #[must_use]
    pub fn most(&self) -> f64 {
        2.0 * self.min_per_s * self.window.as_secs_f64()
    }
}

/// A token bucket that requests fill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    rules: BudgetRules,
    /// Retries that may be made now.
    tokens: f64,
    /// Up to when `min_per_s` was added.
    filled: Duration,
}

impl RetryBudget {
    /// A budget that holds at first what one second brings in.
    #[must_use]
    pub fn new(rules: BudgetRules) -> Self {
        Self { rules, tokens: rules.min_per_s, filled: Duration::ZERO }
    }

    /// Retries that may be made now, for metrics.
    #[must_use]
    pub fn tokens(&self) -> f64 {
        self.tokens
    }

    /// A request has come.
    pub fn deposit(&mut self) {
        // A request has come: add what the rules say, but hold no more than `self.rules.most()`. Retries are no requests; nobody
        // calls this for them.
        // ANCHOR: task_2_5_deposit
        todo!("task 2.5")
        // ANCHOR_END: task_2_5_deposit
    }

    /// Takes one retry out, if there is one.
    pub fn withdraw(&mut self, now: Duration) -> bool {
        // Somebody wants to retry at `now`. First add `min_per_s` for the time since it was last added, again up to
        // `self.rules.most()`. Then take one token, if there is a whole one: `true`.
        // ANCHOR: task_2_5_withdraw
        todo!("task 2.5")
        // ANCHOR_END: task_2_5_withdraw
    }
}
