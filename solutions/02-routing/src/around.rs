//! Given: what a request sees of the router that it goes through.

use std::time::Duration;

use routing::{
    Action, Arrival, Ending, EndpointId, Event, Failure, Feedback, Happening, Orders, Policy,
    Reason, Refusal,
};

use crate::capable::Whom;
use crate::exchange::{ExchangeRules, Try};
use crate::fleet::{Fleet, Vacancy};
use crate::hedge_delay::HedgeDelay;
use crate::outliers::Outliers;
use crate::retry_budget::RetryBudget;

/// The parts of a router that requests share, for as long as one event lasts.
pub struct Around<'a> {
    pub(crate) about: &'a Arrival<'a>,
    /// Whether it may be sent once more, after what has just happened.
    pub(crate) again: bool,
    pub(crate) now: Duration,
    /// Who may get it at all.
    pub(crate) whom: Whom<'a>,
    pub(crate) rules: &'a ExchangeRules,
    pub(crate) policy: &'a mut dyn Policy,
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) outliers: &'a mut Outliers,
    pub(crate) retries: &'a mut RetryBudget,
    pub(crate) hedges: &'a mut RetryBudget,
    pub(crate) hedge_delay: Option<&'a mut HedgeDelay>,
    pub(crate) tally: &'a mut Tally,
    pub(crate) wait: Duration,
    pub(crate) orders: &'a mut Orders,
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub(crate) retries: u64,
    pub(crate) retries_denied: u64,
    pub(crate) hedges: u64,
    pub(crate) hedges_won: u64,
}

impl Around<'_> {
    /// Time since the router started.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// What holds for each request.
    #[must_use]
    pub fn rules(&self) -> &ExchangeRules {
        self.rules
    }

    /// Wants something done.
    pub fn order(&mut self, action: Action) {
        match action {
            Action::Refuse(refusal) => refuse(&self.whom, refusal, self.orders),
            _ => self.orders.push(action),
        }
    }

    /// Whether an endpoint that is not among `tried` could get the request. None can that must not be served twice, where one
    /// may have begun with it.
    #[must_use]
    pub fn can_choose(&mut self, tried: &[EndpointId]) -> bool {
        self.again && self.fleet.look(self.outliers, &self.whom, tried, self.now) == Vacancy::Room
    }

    /// Lets the policy choose among the endpoints that are not among `tried`, and takes a place at the one chosen.
    pub fn choose(&mut self, tried: &[EndpointId]) -> Option<EndpointId> {
        self.fleet.look(self.outliers, &self.whom, tried, self.now);
        let chosen = self.policy.choose(&self.about.route, self.fleet.seen(), self.now)?;
        let endpoint = self.fleet.take(chosen)?;
        self.orders.terms = self.fleet.take_terms();
        self.tell(endpoint, Happening::Sent);
        Some(endpoint)
    }

    /// Why nobody was chosen.
    #[must_use]
    pub fn why_nobody(&mut self) -> Reason {
        match self.fleet.look(self.outliers, &self.whom, &[], self.now) {
            Vacancy::Nobody => Reason::NobodyReady,
            Vacancy::Room | Vacancy::Full => Reason::Shed,
        }
    }

    /// Takes a retry out of the budget, if there is one.
    pub fn withdraw_retry(&mut self) -> bool {
        let granted = self.retries.withdraw(self.now);
        if granted {
            self.tally.retries += 1;
        } else {
            self.tally.retries_denied += 1;
        }
        granted
    }

    /// The same for a hedge, which has a budget of its own.
    pub fn withdraw_hedge(&mut self) -> bool {
        let granted = self.hedge_delay.is_some() && self.hedges.withdraw(self.now);
        self.tally.hedges += u64::from(granted);
        granted
    }

    /// How long to wait for a first byte before a second endpoint is asked; `None` if that is not wanted, or not known.
    #[must_use]
    pub fn hedge_delay(&self) -> Option<Duration> {
        self.hedge_delay.as_ref().and_then(|known| known.delay())
    }

    /// An attempt's first byte has come.
    pub fn first_byte(&mut self, attempt: &Try) {
        let took = self.now.saturating_sub(attempt.since);
        if let Some(delay) = &mut self.hedge_delay {
            delay.observe(took);
        }
        // It won against somebody if that one is hung up on now, and it was not the first.
        let won = attempt.attempt.0 > 0 && self.orders.actions.iter().any(is_cancel);
        self.tally.hedges_won += u64::from(won);
        self.tell(attempt.endpoint, Happening::FirstToken(took));
    }

    /// An attempt has ended.
    pub fn ended(&mut self, attempt: &Try, ending: Ending) {
        let took = self.now.saturating_sub(attempt.since);
        let gone = self.fleet.free(attempt.endpoint, ending, self.now);
        self.outliers.observe(attempt.endpoint, ending, self.now);
        self.tell(attempt.endpoint, Happening::Ended { ending, took });
        if gone {
            self.policy.forget(attempt.endpoint);
        }
    }

    /// When a client that is refused should come again.
    #[must_use]
    pub fn retry_after(&self, reason: Reason) -> Option<Duration> {
        match reason {
            Reason::Shed | Reason::QueueTimeout => Some(self.wait),
            Reason::NobodyReady | Reason::Draining => Some(Duration::from_secs(1)),
            Reason::Deadline
            | Reason::EndpointFailed
            | Reason::NoRoute
            | Reason::NoBackend
            | Reason::Unknown
            | Reason::Unable => None,
        }
    }

    fn tell(&mut self, endpoint: EndpointId, happening: Happening) {
        let request = self.about.route.id;
        self.policy.observe(&Feedback { request, endpoint, happening, at: self.now });
    }
}

/// Refuses a request, in task 2.3's words where the catalogue has to do with it.
pub(crate) fn refuse(whom: &Whom<'_>, mut refusal: Refusal, orders: &mut Orders) {
    if let Some(answer) = whom.answer(refusal.reason) {
        refusal.retry_after = answer.retry_after;
        orders.problem = Some(answer.problem);
    }
    orders.push(Action::Refuse(refusal));
}

/// Whether an event says that nobody has begun to work on the request: there was no connection, or the endpoint was too full for it.
pub(crate) fn has_not_begun(event: Event) -> bool {
    match event {
        Event::Failed { why: Failure::Connect, .. } => true,
        Event::Head { status, retry_after, .. } => is_overloaded(status, retry_after),
        _ => false,
    }
}

/// Whether a status says that an endpoint is full.
pub(crate) fn is_overloaded(status: u16, retry_after: Option<Duration>) -> bool {
    status == 429 || (status == 503 && retry_after.is_some())
}

fn is_cancel(action: &Action) -> bool {
    matches!(action, Action::Cancel { .. })
}
