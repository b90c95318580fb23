//! Given: the router's rules in one place. It keeps the requests, and lets each see the parts that all share.

use std::time::Duration;

use routing::{
    Action, Arrival, Counts, Dispatch, EndpointId, Event, Orders, Policy, Reason, Refusal,
    RequestKey, Scrape,
};

use crate::around::{Around, Tally, has_not_begun};
use crate::exchange::{Exchange, ExchangeRules, Stage};
use crate::fair_queue::{FairQueue, Pushed, retry_after};
use crate::fleet::{Fleet, Vacancy};
use crate::hedge_delay::HedgeDelay;
use crate::outliers::{OutlierRules, Outliers};
use crate::retry_budget::{BudgetRules, RetryBudget};

/// All rules of a router.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// For each request.
    pub exchange: ExchangeRules,
    /// How many attempts may be added after failures.
    pub retries: BudgetRules,
    /// How many may be added beside slow ones. `None`: none.
    pub hedges: Option<HedgeRules>,
    /// Who is left alone.
    pub outliers: OutlierRules,
    /// Requests that one endpoint may have from us at once.
    pub max_in_flight: u32,
    /// Requests that may wait.
    pub max_queue: usize,
}

/// When to hedge, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HedgeRules {
    /// After the time by which this part of requests has its first byte.
    pub quantile: f64,
    /// How many.
    pub budget: BudgetRules,
}

impl Default for HedgeRules {
    fn default() -> Self {
        let budget = BudgetRules { ratio: 0.05, min_per_s: 0.5, ..BudgetRules::default() };
        Self { quantile: 0.95, budget }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            exchange: ExchangeRules::default(),
            retries: BudgetRules::default(),
            hedges: None,
            outliers: OutlierRules::default(),
            max_in_flight: 256,
            max_queue: 1024,
        }
    }
}

/// How much a new second counts in the average of requests served.
const RATE_WEIGHT: f64 = 0.2;

/// The learner's rules behind the seam of the router.
pub struct Dispatcher<P> {
    rules: Rules,
    policy: P,
    fleet: Fleet,
    outliers: Outliers,
    retries: RetryBudget,
    hedges: RetryBudget,
    hedge_delay: Option<HedgeDelay>,
    queue: FairQueue,
    /// Requests that were told that it is their turn, and have not begun: their places are taken.
    promised: u32,
    slots: Vec<Option<Slot>>,
    tally: Tally,
    served: Served,
    draining: bool,
}

/// A request that is here.
#[derive(Debug, Clone)]
struct Slot {
    exchange: Exchange,
    ticket: Ticket,
}

/// Where a request stands with the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ticket {
    /// It waits.
    Queued,
    /// It was told that it is its turn, and has not said yet that it heard.
    Promised,
    /// It had to go for another, and has not said yet that it heard.
    ThrownOut,
    /// It needs no place in the queue any more.
    Begun,
}

/// Requests that left the queue, as a rate.
#[derive(Debug, Clone, Copy, Default)]
struct Served {
    second: u64,
    count: u32,
    per_s: f64,
}

impl Served {
    fn add(&mut self, now: Duration) {
        if now.as_secs() != self.second {
            self.per_s += RATE_WEIGHT * (f64::from(self.count) - self.per_s);
            self.second = now.as_secs();
            self.count = 0;
        }
        self.count += 1;
    }

    fn rate(&self) -> f64 {
        self.per_s.max(f64::from(self.count))
    }
}

impl<P: Policy> Dispatcher<P> {
    /// A router without endpoints.
    pub fn new(policy: P, rules: Rules) -> Self {
        let hedging = rules.hedges.unwrap_or_default();
        Self {
            rules,
            policy,
            fleet: Fleet::new(rules.max_in_flight),
            outliers: Outliers::new(rules.outliers),
            retries: RetryBudget::new(rules.retries),
            hedges: RetryBudget::new(hedging.budget),
            hedge_delay: rules.hedges.map(|hedging| HedgeDelay::new(hedging.quantile)),
            queue: FairQueue::new(rules.max_queue),
            promised: 0,
            slots: Vec::new(),
            tally: Tally::default(),
            served: Served::default(),
            draining: false,
        }
    }

    /// Who is ejected, for checks.
    #[must_use]
    pub fn outliers(&self) -> &Outliers {
        &self.outliers
    }

    /// A new request: begins, waits or is refused. Whether it begins.
    fn admit(
        &mut self,
        key: RequestKey,
        about: &Arrival<'_>,
        now: Duration,
        orders: &mut Orders,
    ) -> bool {
        let refuse = |reason, after| Action::Refuse(Refusal { reason, retry_after: after });
        let second = Some(Duration::from_secs(1));
        if self.draining {
            orders.push(refuse(Reason::Draining, second));
            return false;
        }
        let vacancy = self.fleet.look(&self.outliers, &[], now);
        if vacancy == Vacancy::Nobody {
            orders.push(refuse(Reason::NobodyReady, second));
            return false;
        }
        let exchange = Exchange::new(now, about.patience, &self.rules.exchange);
        let room = self.fleet.places(&self.outliers, now) > self.promised;
        if room && self.queue.is_empty() {
            self.put(key, Slot { exchange, ticket: Ticket::Begun });
            return true;
        }
        match self.queue.push(about.tenant, key, about.cost) {
            Pushed::Full => {
                orders.push(refuse(Reason::Shed, Some(self.wait())));
                return false;
            }
            Pushed::Instead(other) => {
                if let Some(slot) = self.slot(other) {
                    slot.ticket = Ticket::ThrownOut;
                    orders.turns.push(other);
                }
            }
            Pushed::Waits => {}
        }
        orders.push(Action::WakeAt(exchange.next_due(&self.rules.exchange)));
        self.put(key, Slot { exchange, ticket: Ticket::Queued });
        false
    }

    fn wait(&self) -> Duration {
        retry_after(self.queue.len(), self.served.rate())
    }

    fn slot(&mut self, key: RequestKey) -> Option<&mut Slot> {
        self.slots.get_mut(key.0 as usize).and_then(Option::as_mut)
    }

    fn put(&mut self, key: RequestKey, slot: Slot) {
        let at = key.0 as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, None);
        }
        self.slots[at] = Some(slot);
    }

    /// Lets an exchange see an event, and forgets it when it is over.
    fn tell(
        &mut self,
        key: RequestKey,
        about: &Arrival<'_>,
        event: Event,
        now: Duration,
        orders: &mut Orders,
    ) {
        let Some(mut slot) = self.slots.get_mut(key.0 as usize).and_then(Option::take) else {
            return;
        };
        let before = slot.exchange.next_due(&self.rules.exchange);
        let wait = self.wait();
        let mut around = Around {
            about,
            again: about.repeatable || has_not_begun(event),
            now,
            rules: &self.rules.exchange,
            policy: &mut self.policy,
            fleet: &mut self.fleet,
            outliers: &mut self.outliers,
            retries: &mut self.retries,
            hedges: &mut self.hedges,
            hedge_delay: self.hedge_delay.as_mut(),
            tally: &mut self.tally,
            wait,
            orders,
        };
        slot.exchange.on(event, &mut around);
        if slot.exchange.stage == Stage::Over {
            self.leave(key, slot.ticket);
            return;
        }
        let due = slot.exchange.next_due(&self.rules.exchange);
        if due != before || matches!(event, Event::Due | Event::Arrived | Event::Turn) {
            orders.push(Action::WakeAt(due));
        }
        self.slots[key.0 as usize] = Some(slot);
    }

    /// A request is over: it gives back what it has of the queue.
    fn leave(&mut self, key: RequestKey, ticket: Ticket) {
        match ticket {
            Ticket::Queued => drop(self.queue.remove(key)),
            Ticket::Promised => self.promised -= 1,
            Ticket::ThrownOut | Ticket::Begun => {}
        }
    }

    /// A request that waited takes its turn, or hears that it was thrown out.
    fn turn(&mut self, key: RequestKey, about: &Arrival<'_>, now: Duration, orders: &mut Orders) {
        let Some(slot) = self.slot(key) else { return };
        match slot.ticket {
            Ticket::Promised => {
                slot.ticket = Ticket::Begun;
                self.promised -= 1;
                self.tell(key, about, Event::Turn, now, orders);
            }
            Ticket::ThrownOut => {
                self.slots[key.0 as usize] = None;
                let retry_after = Some(self.wait());
                orders.push(Action::Refuse(Refusal { reason: Reason::Shed, retry_after }));
            }
            Ticket::Queued | Ticket::Begun => {}
        }
    }

    /// Gives places that are free to those who wait.
    fn fill(&mut self, now: Duration, orders: &mut Orders) {
        if self.queue.is_empty() {
            return;
        }
        let places = self.fleet.places(&self.outliers, now).saturating_sub(self.promised);
        for _ in 0..places {
            let Some(next) = self.queue.pop() else { return };
            if let Some(slot) = self.slot(next) {
                slot.ticket = Ticket::Promised;
                self.promised += 1;
                self.served.add(now);
                orders.turns.push(next);
            }
        }
    }
}

impl<P: Policy> Dispatch for Dispatcher<P> {
    fn on(
        &mut self,
        request: RequestKey,
        about: &Arrival<'_>,
        event: Event,
        now: Duration,
        orders: &mut Orders,
    ) {
        match event {
            Event::Arrived => {
                self.retries.deposit();
                self.hedges.deposit();
                if self.admit(request, about, now, orders) {
                    self.tell(request, about, event, now, orders);
                }
            }
            Event::Turn => self.turn(request, about, now, orders),
            _ => self.tell(request, about, event, now, orders),
        }
        self.fill(now, orders);
    }

    fn set_ready(&mut self, endpoints: &[EndpointId], now: Duration, orders: &mut Orders) {
        self.fleet.set_ready(endpoints);
        self.outliers.set_ready(endpoints, now);
        self.fill(now, orders);
    }

    fn forget(&mut self, endpoint: EndpointId) {
        self.outliers.forget(endpoint);
        if self.fleet.forget(endpoint) {
            self.policy.forget(endpoint);
        }
    }

    fn in_flight(&self, endpoint: EndpointId) -> u32 {
        self.fleet.in_flight_at(endpoint)
    }

    fn set_scrape(&mut self, endpoint: EndpointId, scrape: Scrape) {
        self.fleet.set_scrape(endpoint, scrape);
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn reads_prompt(&self) -> bool {
        self.policy.reads_prompt()
    }

    fn write_metrics(&self, page: &mut String) {
        self.policy.write_metrics(page);
    }

    fn counts(&self, now: Duration) -> Counts {
        Counts {
            retries: self.tally.retries,
            retries_denied: self.tally.retries_denied,
            hedges: self.tally.hedges,
            hedges_won: self.tally.hedges_won,
            ejections: self.outliers.ejections(),
            queued: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            in_flight: self.fleet.in_flight(),
            ready: self.fleet.ready(),
            ejected: u32::try_from(self.outliers.ejected(now)).unwrap_or(u32::MAX),
        }
    }
}
