//! The routers in front of a fleet: show endpoints to policies, and tell them what became of their choices.
//!
//! A replica's index is its endpoint's id.

use std::time::Duration;

use routing::{
    Ending, EndpointId, EndpointView, Feedback, Happening, Policy, RouteRequest, Scrape,
};

use crate::router_limits::Waiting;
use crate::{Arrival, Outcome, Prompt, Replica, RequestRecord, RouterLimits};

/// One or more routers side by side, and what they can know.
pub(crate) struct Router {
    /// Requests come to them in turn.
    fronts: Vec<Front>,
    limits: RouterLimits,
    /// Between two scrapes; zero where routers always know.
    interval: Duration,
    /// When replicas are asked next.
    next_scrape: Duration,
    silences: Vec<Stretch>,
    stale: Vec<Stretch>,
    /// A prompt's bytes.
    prompt: Vec<u8>,
}

/// A policy, and what it sees.
struct Front {
    policy: Box<dyn Policy>,
    views: Vec<EndpointView>,
    /// Those with room for another request.
    open: Vec<EndpointView>,
    waiting: Waiting,
}

/// What becomes of a request that has just come.
pub(crate) enum Admission {
    /// This replica gets it; `None` where the policy wants nobody to.
    Chosen(Option<usize>, Arrival),
    /// It waits for a place.
    Waits,
    /// Too many wait.
    Full,
}

/// A time in which a replica's page of metrics is not what it should be, while the replica goes on.
struct Stretch {
    replica: usize,
    from: Duration,
    until: Duration,
}

/// Something that a policy will be told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct News(Feedback);

impl News {
    fn new(replica: usize, index: usize, at: Duration, happening: Happening) -> Self {
        let endpoint = EndpointId(replica as u32);
        Self(Feedback { request: index as u64, endpoint, happening, at })
    }

    /// A request was sent to a replica.
    pub(crate) fn sent(replica: usize, index: usize, at: Duration) -> Self {
        Self::new(replica, index, at, Happening::Sent)
    }

    /// Its first token came.
    pub(crate) fn first_token(replica: usize, index: usize, sent: Duration, at: Duration) -> Self {
        Self::new(replica, index, at, Happening::FirstToken(at - sent))
    }

    /// It ended.
    pub(crate) fn ended(
        replica: usize,
        index: usize,
        sent: Duration,
        at: Duration,
        outcome: Outcome,
    ) -> Self {
        let ending = match outcome {
            Outcome::Stop | Outcome::Length => Ending::Answered,
            Outcome::Refused => Ending::Refused,
            Outcome::Aborted | Outcome::Unfinished => Ending::Cancelled,
        };
        Self::new(replica, index, at, Happening::Ended { ending, took: at - sent })
    }
}

impl Front {
    fn new(policy: Box<dyn Policy>) -> Self {
        Self { policy, views: Vec::new(), open: Vec::new(), waiting: Waiting::default() }
    }

    fn has_room(&self, max_in_flight: u32) -> bool {
        self.views.iter().any(|view| view.in_flight < max_in_flight)
    }

    /// The index of the replica that the policy chooses of those with room; one that was not shown is nobody's.
    fn choose(
        &mut self,
        request: &RouteRequest<'_>,
        max_in_flight: u32,
        now: Duration,
    ) -> Option<usize> {
        if max_in_flight == u32::MAX {
            return self.policy.choose(request, &self.views, now);
        }
        self.open.clear();
        self.open.extend(self.views.iter().filter(|view| view.in_flight < max_in_flight));
        let chosen = self.policy.choose(request, &self.open, now)?;
        let nobody = chosen.max(self.views.len());
        Some(self.open.get(chosen).map_or(nobody, |view| view.id.0 as usize))
    }

    fn make_room(&mut self, replicas: usize) {
        let known = self.views.len()..replicas;
        self.views.extend(known.map(|index| EndpointView::unknown(EndpointId(index as u32))));
    }
}

impl Router {
    /// One router that always knows.
    pub(crate) fn new(policy: Box<dyn Policy>) -> Self {
        Self {
            fronts: vec![Front::new(policy)],
            limits: RouterLimits::default(),
            interval: Duration::ZERO,
            next_scrape: Duration::ZERO,
            silences: Vec::new(),
            stale: Vec::new(),
            prompt: Vec::new(),
        }
    }

    /// Adds a router.
    pub(crate) fn add(&mut self, policy: Box<dyn Policy>) {
        self.fronts.push(Front::new(policy));
    }

    /// Sets what each router keeps to.
    pub(crate) fn limit(&mut self, limits: RouterLimits) {
        self.limits = RouterLimits { max_in_flight: limits.max_in_flight.max(1), ..limits };
    }

    /// Asks replicas so often only, first at time 0.
    pub(crate) fn scrape_every(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Lets scrapes of a replica fail.
    pub(crate) fn silence(&mut self, replica: usize, from: Duration, until: Duration) {
        self.silences.push(Stretch { replica, from, until });
    }

    /// Lets scrapes of a replica say what they said before.
    pub(crate) fn freeze(&mut self, replica: usize, from: Duration, until: Duration) {
        self.stale.push(Stretch { replica, from, until });
    }

    /// The scrapes that are due before anything happens at `now`. Nothing happened since the last event, so of several
    /// only the last shows; a silence between two events is not noticed.
    pub(crate) fn scrape_until(&mut self, now: Duration, replicas: &[Replica]) {
        if self.interval.is_zero() || self.next_scrape > now {
            return;
        }
        let intervals = (now - self.next_scrape).as_nanos() / self.interval.as_nanos();
        let later = u32::try_from(intervals).unwrap_or(u32::MAX);
        let at = self.next_scrape + self.interval * later;
        self.scrape(at, replicas);
        self.next_scrape = at + self.interval;
    }

    fn scrape(&mut self, at: Duration, replicas: &[Replica]) {
        for (index, replica) in replicas.iter().enumerate() {
            let covers = |stretch: &Stretch| {
                stretch.replica == index && (stretch.from..stretch.until).contains(&at)
            };
            if self.silences.iter().any(covers) {
                continue;
            }
            let before = self.fronts[0].views.get(index).and_then(|view| view.scrape);
            let said = match before.filter(|_| self.stale.iter().any(covers)) {
                Some(before) => before.signals,
                None => replica.signals(),
            };
            let scrape = Some(Scrape { signals: said, at });
            for front in &mut self.fronts {
                front.make_room(replicas.len());
                front.views[index].scrape = scrape;
            }
        }
    }

    /// Whose request this is.
    fn turn(&self, id: u64) -> usize {
        (id % self.fronts.len() as u64) as usize
    }

    /// Takes a request that has just come: the `index`-th.
    pub(crate) fn admit(
        &mut self,
        index: usize,
        arrival: Arrival,
        replicas: &[Replica],
    ) -> Admission {
        let turn = self.turn(index as u64);
        let RouterLimits { max_in_flight, max_queue, .. } = self.limits;
        let front = &mut self.fronts[turn];
        front.make_room(replicas.len());
        if front.waiting.is_empty() && front.has_room(max_in_flight) {
            let now = arrival.at;
            let (chosen, arrival) = self.choose(index as u64, arrival, now, replicas);
            return Admission::Chosen(chosen, arrival);
        }
        if front.waiting.push(index, arrival, max_queue) {
            Admission::Waits
        } else {
            Admission::Full
        }
    }

    /// Lets those leave that will not wait any longer.
    pub(crate) fn leave(&mut self, now: Duration, records: &mut [RequestRecord]) {
        let max_wait = self.limits.max_wait;
        let waiting = self.fronts.iter_mut().map(|front| &mut front.waiting);
        waiting
            .filter(|waiting| !waiting.is_empty())
            .for_each(|waiting| waiting.leave(now, max_wait, records));
    }

    /// The next request that has waited and need not any more.
    pub(crate) fn next_waiting(&mut self) -> Option<(usize, Arrival)> {
        let max_in_flight = self.limits.max_in_flight;
        let ready = |front: &&mut Front| !front.waiting.is_empty() && front.has_room(max_in_flight);
        self.fronts.iter_mut().find(ready)?.waiting.pop()
    }

    /// The replica that gets a request, and the request back.
    pub(crate) fn choose(
        &mut self,
        id: u64,
        mut arrival: Arrival,
        now: Duration,
        replicas: &[Replica],
    ) -> (Option<usize>, Arrival) {
        if self.interval.is_zero() {
            self.scrape(now, replicas);
        }
        let turn = self.turn(id);
        let front = &mut self.fronts[turn];
        self.prompt.clear();
        if front.policy.reads_prompt() {
            let room = arrival.max_new_tokens();
            let tokens = arrival.prompt.into_tokens(id, room);
            self.prompt.extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
            arrival.prompt = Prompt::Tokens(tokens);
        }
        let request = RouteRequest { prompt: &self.prompt, ..RouteRequest::new(id) };
        let chosen = front.choose(&request, self.limits.max_in_flight, now);
        if let Some(view) = chosen.and_then(|chosen| front.views.get_mut(chosen)) {
            view.in_flight += 1;
        }
        (chosen, arrival)
    }

    /// Tells each policy what happened to its requests.
    pub(crate) fn learn(&mut self, news: &mut Vec<News>) {
        for News(feedback) in news.drain(..) {
            let turn = self.turn(feedback.request);
            let front = &mut self.fronts[turn];
            if matches!(feedback.happening, Happening::Ended { .. }) {
                front.views[feedback.endpoint.0 as usize].in_flight -= 1;
            }
            front.policy.observe(&feedback);
        }
    }
}
