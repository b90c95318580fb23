//! Task 2.5, part 5: one request on its way, as a state machine without a socket.
//!
//! It is told what happens, and answers with what is to be done. [`Around`] is all that it sees of the router.
//!
//! ```text
//!   Arrived ──► waits ──► tries ──► relays ──► over
//!                 │         │ ▲        │
//!                 │         └─┘        │ broken: cut off
//!                 │      failed: again │
//!                 └── refused ◄── no budget, nobody left, too late
//! ```

use std::time::Duration;

use routing::{Action, Attempt, Ending, EndpointId, Event, Failure, Reason, Refusal};

use crate::around::{Around, is_overloaded};

/// Times and numbers that hold for each request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExchangeRules {
    /// Attempts at most, the first and a hedge counted.
    pub max_attempts: u8,
    /// From the arrival to the last byte, unless the client wants less.
    pub deadline: Duration,
    /// From the start of an attempt to its first byte. A model server that hangs says 200 to every health check.
    pub first_byte_timeout: Duration,
    /// In the queue.
    pub max_wait: Duration,
}

impl Default for ExchangeRules {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { max_attempts: 3, deadline: s(600), first_byte_timeout: s(30), max_wait: s(10) }
    }
}

/// One attempt under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try {
    /// Its number.
    pub attempt: Attempt,
    /// Where.
    pub endpoint: EndpointId,
    /// Since when.
    pub since: Duration,
    /// The status that it said, once it did.
    pub status: Option<u16>,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// In the queue.
    Waits,
    /// With one endpoint, or two; the client has seen nothing.
    Tries,
    /// The client sees what this attempt says.
    Relays(Attempt),
    /// Nothing more happens.
    Over,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Where it stands.
    pub stage: Stage,
    /// When it arrived.
    pub arrived: Duration,
    /// When it must be over.
    pub deadline: Duration,
    /// Attempts under way, the oldest first.
    pub tries: Vec<Try>,
    /// All endpoints that it was sent to so far.
    pub tried: Vec<EndpointId>,
    /// When a second endpoint shall be asked, if nothing has come by then.
    pub hedge_at: Option<Duration>,
}

impl Exchange {
    /// A request that arrives at `now`, whose client wants to wait no longer than `patience`.
    #[must_use]
    pub fn new(now: Duration, patience: Option<Duration>, rules: &ExchangeRules) -> Self {
        let patience = patience.unwrap_or(rules.deadline).min(rules.deadline);
        Self {
            stage: Stage::Waits,
            arrived: now,
            deadline: now.saturating_add(patience),
            tries: Vec::new(),
            tried: Vec::new(),
            hedge_at: None,
        }
    }

    /// Something happened to it.
    pub fn on(&mut self, event: Event, around: &mut Around<'_>) {
        match event {
            // Given: whether a request waits or starts is the dispatcher's to say.
            Event::Arrived | Event::Turn => self.first(around),
            Event::Head { attempt, status, retry_after } => {
                if let Some(known) = self.tries.iter_mut().find(|known| known.attempt == attempt) {
                    known.status = Some(status);
                    let overloaded = is_overloaded(status, retry_after);
                    self.on_head(attempt, status, overloaded, around);
                }
            }
            Event::FirstByte { attempt } => self.on_first_byte(attempt, around),
            Event::Finished { attempt } => self.on_finished(attempt, around),
            Event::Failed { attempt, why } => self.on_failed(attempt, why, around),
            Event::ClientGone => self.on_client_gone(around),
            Event::Due => self.on_due(around),
        }
    }

    /// Sends it for the first time, and says when to hedge.
    fn first(&mut self, around: &mut Around<'_>) {
        self.stage = Stage::Tries;
        if self.send(around) {
            self.hedge_at = around.hedge_delay().map(|delay| around.now() + delay);
        } else {
            self.refuse(around.why_nobody(), around);
        }
    }

    /// Sends it to an endpoint that it was not sent to yet, if there is one and attempts are left.
    fn send(&mut self, around: &mut Around<'_>) -> bool {
        let count = self.tried.len();
        if count >= usize::from(around.rules().max_attempts) {
            return false;
        }
        let Some(endpoint) = around.choose(&self.tried) else { return false };
        let attempt = Attempt(u8::try_from(count).unwrap_or(u8::MAX));
        self.tries.push(Try { attempt, endpoint, since: around.now(), status: None });
        self.tried.push(endpoint);
        around.order(Action::Start { attempt, endpoint });
        true
    }

    /// An attempt is over: takes it out of `tries`, and tells how it ended to all who learn from it. `None` if it was no
    /// more under way.
    fn end(&mut self, attempt: Attempt, ending: Ending, around: &mut Around<'_>) -> Option<Try> {
        let at = self.tries.iter().position(|known| known.attempt == attempt)?;
        let ended = self.tries.remove(at);
        around.ended(&ended, ending);
        Some(ended)
    }

    /// The same for an attempt that is to be hung up on.
    fn cancel(&mut self, attempt: Attempt, ending: Ending, around: &mut Around<'_>) {
        if self.end(attempt, ending, around).is_some() {
            around.order(Action::Cancel { attempt });
        }
    }

    /// Answers with an error of the router's own. Only while the client has seen nothing.
    fn refuse(&mut self, reason: Reason, around: &mut Around<'_>) {
        let retry_after = around.retry_after(reason);
        around.order(Action::Refuse(Refusal { reason, retry_after }));
        self.stage = Stage::Over;
    }

    /// The client sees this attempt from now on.
    fn relay(&mut self, attempt: Attempt, around: &mut Around<'_>) {
        self.stage = Stage::Relays(attempt);
        self.hedge_at = None;
        around.order(Action::Relay { attempt });
    }

    /// Tries again, if there is budget and somebody left to ask.
    fn try_again(&mut self, around: &mut Around<'_>) -> bool {
        // Asks for budget only where a retry is possible: `around.can_choose(&self.tried)` says whether somebody is left who was
        // not tried, and `around.rules().max_attempts` how many attempts there may be. Then takes from the budget,
        // `around.withdraw_retry()`, and sends. `false` where it does not come to that.
        // ANCHOR: task_2_5_try_again
        todo!("task 2.5")
        // ANCHOR_END: task_2_5_try_again
    }

    /// An attempt's answer has begun with this status; `overloaded` if it says that the endpoint is full.
    fn on_head(
        &mut self,
        attempt: Attempt,
        status: u16,
        overloaded: bool,
        around: &mut Around<'_>,
    ) {
        // What is relayed already stays. Otherwise:
        // - Below 400: nothing yet. Model servers say 200 before they have a token, and what breaks before the first byte can
        //   still be tried again. `on_first_byte` relays it.
        // - A client's error, 4xx but not overloaded: relay it at once. It is wrong everywhere.
        // - Overloaded or 5xx: hang up on it (`cancel`; the ending is `Refused` or `Failed`) if the other attempt still runs, or
        //   else if it can be tried again. The order matters: as long as the attempt is in `tries`, it has its place at its
        //   endpoint, so end it only once the new one is sent.
        // - If neither is possible, relay this answer: what the endpoint says is better than what we could.
        // ANCHOR: task_2_5_on_head
        todo!("task 2.5")
        // ANCHOR_END: task_2_5_on_head
    }

    /// The first byte of an attempt's body has come.
    fn on_first_byte(&mut self, attempt: Attempt, around: &mut Around<'_>) {
        let Some(first) = self.tries.iter().find(|known| known.attempt == attempt).copied() else {
            return;
        };
        if self.stage == Stage::Tries {
            self.relay_only(attempt, around);
        }
        if self.stage == Stage::Relays(attempt) && first.status.is_some_and(|status| status < 400) {
            around.first_byte(&first);
        }
    }

    /// Relays this attempt, and no other goes on.
    fn relay_only(&mut self, attempt: Attempt, around: &mut Around<'_>) {
        // Relay it. Then hang up on every other attempt under way, with the ending `Cancelled`: two endpoints would otherwise
        // work on one answer, and one of them for nobody.
        // ANCHOR: task_2_5_relay_only
        todo!("task 2.5")
        // ANCHOR_END: task_2_5_relay_only
    }

    /// An attempt's answer is complete.
    fn on_finished(&mut self, attempt: Attempt, around: &mut Around<'_>) {
        if self.stage == Stage::Tries {
            // An answer without a body.
            self.relay_only(attempt, around);
        }
        let status = self.tries.iter().find(|known| known.attempt == attempt);
        let ending = match status.and_then(|known| known.status) {
            Some(429) => Ending::Refused,
            Some(400..=499) => Ending::ClientError,
            Some(500..) => Ending::Failed,
            _ => Ending::Answered,
        };
        self.end(attempt, ending, around);
        self.stage = Stage::Over;
    }

    /// Nothing more comes from an attempt.
    fn on_failed(&mut self, attempt: Attempt, why: Failure, around: &mut Around<'_>) {
        // End it: `TimedOut` if it stalled, `Failed` otherwise. If the client sees it, cut the answer off for the reason
        // `EndpointFailed`: half of it is out, and no other endpoint can go on where this one stopped. If not, and no other
        // attempt is under way, try again, or refuse for the same reason.
        // Do nothing more if it was no attempt of ours any longer.
        // ANCHOR: task_2_5_on_failed
        todo!("task 2.5")
        // ANCHOR_END: task_2_5_on_failed
    }

    /// The client hung up.
    fn on_client_gone(&mut self, around: &mut Around<'_>) {
        // Hang up on all attempts, with the ending `Cancelled`, so that no endpoint works for nobody. Then it is over.
        // ANCHOR: task_2_5_on_client_gone
        todo!("task 2.5")
        // ANCHOR_END: task_2_5_on_client_gone
    }

    /// It is time for something, or not yet: whoever rings may be early.
    fn on_due(&mut self, around: &mut Around<'_>) {
        if self.stage == Stage::Waits {
            if around.now() >= self.next_due(around.rules()) {
                self.refuse(Reason::QueueTimeout, around);
            }
            return;
        }
        // In this order, and only what is due:
        // 1. The deadline: hang up on all attempts. Their ending is `Cancelled` if the client wanted less time than
        //    `around.rules().deadline`, since then nobody was slow; `TimedOut` otherwise. What is relayed is cut off, what is not is
        //    refused; the reason is `Deadline`. Nothing else happens then.
        // 2. Each attempt that is not relayed and began `around.rules().first_byte_timeout` ago or earlier: hang up on it,
        //    `TimedOut`. If none is left, try again, or refuse with `Deadline`.
        // 3. The hedge, if nothing is relayed: forget `hedge_at`, so that it happens once. If one attempt is under way, and
        //    somebody else can be asked, and `around.withdraw_hedge()` has budget, send.
        // ANCHOR: task_2_5_on_due
        todo!("task 2.5")
        // ANCHOR_END: task_2_5_on_due
    }

    /// When to look at the clock next.
    #[must_use]
    pub fn next_due(&self, rules: &ExchangeRules) -> Duration {
        let late = self.tries.iter().map(|known| known.since + rules.first_byte_timeout).min();
        match self.stage {
            Stage::Waits => self.deadline.min(self.arrived + rules.max_wait),
            Stage::Tries => {
                [late, self.hedge_at].into_iter().flatten().fold(self.deadline, Duration::min)
            }
            Stage::Relays(_) => self.deadline,
            Stage::Over => Duration::MAX,
        }
    }
}
