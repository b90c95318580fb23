//! The router in front of a fleet: shows endpoints to a policy, and tells it what became of its choices.
//!
//! A replica's index is its endpoint's id.

use std::time::Duration;

use routing::{
    Ending, EndpointId, EndpointView, Feedback, Happening, Policy, RouteRequest, Scrape,
};

use crate::{Arrival, Outcome, Prompt, Replica};

/// A policy, and what it can know.
pub(crate) struct Router {
    policy: Box<dyn Policy>,
    views: Vec<EndpointView>,
    /// Between two scrapes; zero where the router always knows.
    interval: Duration,
    /// When replicas are asked next.
    next_scrape: Duration,
    /// A prompt's bytes.
    prompt: Vec<u8>,
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

impl Router {
    /// A router that always knows.
    pub(crate) fn new(policy: Box<dyn Policy>) -> Self {
        Self {
            policy,
            views: Vec::new(),
            interval: Duration::ZERO,
            next_scrape: Duration::ZERO,
            prompt: Vec::new(),
        }
    }

    /// Asks replicas so often only, first at time 0.
    pub(crate) fn scrape_every(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// The scrapes that are due before anything happens at `now`. Nothing happened since the last event, so of several
    /// only the last shows.
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
        self.make_room(replicas.len());
        for (view, replica) in self.views.iter_mut().zip(replicas) {
            view.scrape = Some(Scrape { signals: replica.signals(), at });
        }
    }

    fn make_room(&mut self, replicas: usize) {
        let known = self.views.len()..replicas;
        self.views.extend(known.map(|index| EndpointView::unknown(EndpointId(index as u32))));
    }

    /// The replica that gets a request, and the request back.
    pub(crate) fn choose(
        &mut self,
        id: u64,
        mut arrival: Arrival,
        replicas: &[Replica],
    ) -> (Option<usize>, Arrival) {
        self.make_room(replicas.len());
        if self.interval.is_zero() {
            self.scrape(arrival.at, replicas);
        }
        for (view, replica) in self.views.iter_mut().zip(replicas) {
            view.in_flight = replica.outstanding() as u32;
        }
        self.prompt.clear();
        if self.policy.reads_prompt() {
            let room = arrival.max_new_tokens();
            let tokens = arrival.prompt.into_tokens(id, room);
            self.prompt.extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
            arrival.prompt = Prompt::Tokens(tokens);
        }
        let request = RouteRequest { prompt: &self.prompt, ..RouteRequest::new(id) };
        (self.policy.choose(&request, &self.views, arrival.at), arrival)
    }

    /// Tells the policy what happened.
    pub(crate) fn learn(&mut self, news: &mut Vec<News>) {
        for News(feedback) in news.drain(..) {
            self.policy.observe(&feedback);
        }
    }
}
