//! Given: the router's rules in one place. It keeps the requests, and lets each see the parts that all share.

use std::sync::Arc;
use std::time::Duration;

use routing::{
    Action, Arrival, Counts, Dispatch, EndpointId, Event, KvEvent, Model, Orders, Policy, Reason,
    Refusal, RequestKey, Scrape,
};

use crate::around::{Around, Tally, has_not_begun, refuse};
use crate::capable::{Able, Capable, Refused, Whom};
use crate::exchange::{Exchange, ExchangeRules, Stage};
use crate::fair_queue::{Pushed, retry_after};
use crate::fleet::{Fleet, Vacancy};
use crate::hedge_delay::HedgeDelay;
use crate::outliers::{OutlierRules, Outliers};
use crate::queues::Queues;
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
    /// Requests that may wait; with a catalogue, for the same deployments.
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
    queues: Queues,
    /// What is deployed, and what each can do. `None`: all endpoints are alike.
    capable: Option<Arc<Capable>>,
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
    /// Who could serve it.
    able: Able,
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
            queues: Queues::new(rules.max_queue),
            capable: None,
            slots: Vec::new(),
            tally: Tally::default(),
            served: Served::default(),
            draining: false,
        }
    }

    /// Endpoints differ: their ids say [of which deployment](Capable::id) each is.
    #[must_use]
    pub fn with_catalogue(mut self, capable: Capable) -> Self {
        self.capable = Some(Arc::new(capable));
        self
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
        let capable = self.capable.clone();
        let (able, whom) = match whom(capable.as_deref(), about) {
            Ok(found) => found,
            Err(Refused { reason, answer }) => {
                let retry_after = answer.retry_after;
                orders.problem = Some(answer.problem);
                orders.push(Action::Refuse(Refusal { reason, retry_after }));
                return false;
            }
        };
        let mut refuse = |reason, after| {
            refuse(&whom, Refusal { reason, retry_after: after }, orders);
            false
        };
        let second = Some(Duration::from_secs(1));
        if self.draining {
            return refuse(Reason::Draining, second);
        }
        if self.fleet.look(&self.outliers, &whom, &[], now) == Vacancy::Nobody {
            return refuse(Reason::NobodyReady, second);
        }
        let exchange = Exchange::new(now, about.patience, &self.rules.exchange);
        let room = self.fleet.places(&self.outliers, &whom, now) > self.queues.promised(able);
        if room && self.queues.len_of(able) == 0 {
            self.put(key, Slot { exchange, ticket: Ticket::Begun, able });
            return true;
        }
        match self.queues.push(able, about.tenant, key, about.cost) {
            Pushed::Full => {
                let wait = self.wait(able);
                return refuse(Reason::Shed, Some(wait));
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
        self.put(key, Slot { exchange, ticket: Ticket::Queued, able });
        false
    }

    fn wait(&self, able: Able) -> Duration {
        retry_after(self.queues.len_of(able), self.served.rate())
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
        let wait = self.wait(slot.able);
        let capable = self.capable.clone();
        let mut around = Around {
            about,
            again: about.repeatable || has_not_begun(event),
            now,
            whom: for_slot(capable.as_deref(), slot.able, about),
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
            self.leave(key, &slot);
            return;
        }
        let due = slot.exchange.next_due(&self.rules.exchange);
        if due != before || matches!(event, Event::Due | Event::Arrived | Event::Turn) {
            orders.push(Action::WakeAt(due));
        }
        self.slots[key.0 as usize] = Some(slot);
    }

    /// A request is over: it gives back what it has of the queue.
    fn leave(&mut self, key: RequestKey, slot: &Slot) {
        match slot.ticket {
            Ticket::Queued => self.queues.remove(slot.able, key),
            Ticket::Promised => self.queues.kept(slot.able),
            Ticket::ThrownOut | Ticket::Begun => {}
        }
    }

    /// A request that waited takes its turn, or hears that it was thrown out.
    fn turn(&mut self, key: RequestKey, about: &Arrival<'_>, now: Duration, orders: &mut Orders) {
        let Some(slot) = self.slot(key) else { return };
        let able = slot.able;
        match slot.ticket {
            Ticket::Promised => {
                slot.ticket = Ticket::Begun;
                self.queues.kept(able);
                self.tell(key, about, Event::Turn, now, orders);
            }
            Ticket::ThrownOut => {
                self.slots[key.0 as usize] = None;
                let retry_after = Some(self.wait(able));
                let capable = self.capable.clone();
                let whom = for_slot(capable.as_deref(), able, about);
                refuse(&whom, Refusal { reason: Reason::Shed, retry_after }, orders);
            }
            Ticket::Queued | Ticket::Begun => {}
        }
    }

    /// Gives places that are free to those who wait.
    fn fill(&mut self, now: Duration, orders: &mut Orders) {
        if self.queues.len() == 0 {
            return;
        }
        let (fleet, outliers, capable) = (&self.fleet, &self.outliers, self.capable.as_deref());
        let places = |able| fleet.places(outliers, &Whom::new(capable, able, None), now);
        for next in self.queues.fill(places) {
            if let Some(slot) = self.slot(next) {
                slot.ticket = Ticket::Promised;
                self.served.add(now);
                orders.turns.push(next);
            }
        }
    }
}

/// Who could serve a request that arrives, and who may get it.
fn whom<'a>(
    capable: Option<&'a Capable>,
    about: &Arrival<'a>,
) -> Result<(Able, Whom<'a>), Refused> {
    let Some(catalogue) = capable else { return Ok((Able::ANYONE, Whom::anyone())) };
    let need = catalogue.need(about)?;
    let able = catalogue.able(&need)?;
    Ok((able, Whom::new(capable, able, Some(need))))
}

/// The same for one that is here.
fn for_slot<'a>(capable: Option<&'a Capable>, able: Able, about: &Arrival<'a>) -> Whom<'a> {
    let need = capable.and_then(|catalogue| catalogue.need(about).ok());
    Whom::new(capable, able, need)
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

    fn set_adapters(&mut self, endpoint: EndpointId, adapters: Vec<String>) {
        self.fleet.set_adapters(endpoint, adapters);
    }

    fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        self.policy.kv_event(endpoint, event);
    }

    fn drain(&mut self) {
        self.draining = true;
    }

    fn reads_prompt(&self) -> bool {
        self.policy.reads_prompt()
    }

    fn reads_features(&self) -> bool {
        self.capable.is_some()
    }

    fn models(&self, now: Duration) -> Option<Vec<Model>> {
        let capable = self.capable.as_ref()?;
        Some(capable.models(&self.fleet.up(&self.outliers, now)))
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
            queued: u32::try_from(self.queues.len()).unwrap_or(u32::MAX),
            in_flight: self.fleet.in_flight(),
            ready: self.fleet.ready(),
            ejected: u32::try_from(self.outliers.ejected(now)).unwrap_or(u32::MAX),
        }
    }
}
