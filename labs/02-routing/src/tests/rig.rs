//! A router without sockets: scripted endpoints and clients around the dispatcher, on a virtual clock.
//!
//! It holds the rules of the seam itself: whoever breaks them fails, whatever the check was about.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use routing::{
    Action, Arrival, Attempt, Counts, Dispatch, EndpointId, Event, Failure, Orders, Reason,
    Refusal, RequestKey, RoundRobin,
};
use testbed::expect;

use crate::{Dispatcher, Rules};

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What an endpoint does with an attempt, by the time since it got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acts {
    /// 200 at once, first byte then, the end then.
    Answers { first: u64, last: u64 },
    /// This status, with or without `Retry-After`, and an empty body's end.
    Says { status: u16, retry_after: bool },
    /// Nobody takes the connection.
    Dead,
    /// 200 at once, and breaks then, before any byte.
    BreaksBefore { at: u64 },
    /// First byte at 5 ms, and breaks then.
    BreaksAfter { at: u64 },
    /// 200 at once, and then nothing.
    Hangs,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The whole answer, with this status.
    Answered(u16),
    Refused(Refusal),
    CutOff(Reason),
    /// The client hung up.
    Gone,
}

/// A request, as it was seen from outside.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) arrived: Duration,
    pub(super) first_byte: Option<Duration>,
    pub(super) ended: Duration,
    pub(super) outcome: Option<Outcome>,
    /// Where it was sent, and whether that was hung up on.
    pub(super) attempts: Vec<(EndpointId, bool)>,
}

/// What a client asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) tenant: &'static str,
    pub(super) cost: u32,
    pub(super) patience: Option<Duration>,
    /// Hangs up then.
    pub(super) leaves: Option<Duration>,
}

impl Default for Ask {
    fn default() -> Self {
        Self { tenant: "", cost: 100, patience: None, leaves: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrives,
    Leaves,
    Due,
    Head(u8, u16, bool),
    FirstByte(u8),
    Finished(u8),
    Failed(u8, bool),
}

type Script = Box<dyn FnMut(EndpointId, Duration) -> Acts>;

pub(super) struct Rig {
    pub(super) dispatcher: Dispatcher<RoundRobin>,
    script: Script,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, u32, What)>>,
    number: u64,
    asks: Vec<Ask>,
    pub(super) seen: Vec<Seen>,
    live: BTreeMap<(u32, u8), Acts>,
    relayed: BTreeMap<u32, u8>,
    statuses: BTreeMap<(u32, u8), u16>,
}

impl Rig {
    /// So many endpoints, all ready, that act by the script.
    pub(super) fn new(
        endpoints: u32,
        rules: Rules,
        script: impl FnMut(EndpointId, Duration) -> Acts + 'static,
    ) -> Self {
        let mut dispatcher = Dispatcher::new(RoundRobin::default(), rules);
        let ids: Vec<EndpointId> = (0..endpoints).map(EndpointId).collect();
        dispatcher.set_ready(&ids, Duration::ZERO, &mut Orders::default());
        Self {
            dispatcher,
            script: Box::new(script),
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            number: 0,
            asks: Vec::new(),
            seen: Vec::new(),
            live: BTreeMap::new(),
            relayed: BTreeMap::new(),
            statuses: BTreeMap::new(),
        }
    }

    /// A request arrives then. Returns its place in `seen`.
    pub(super) fn ask(&mut self, at: Duration, ask: Ask) -> usize {
        let key = self.asks.len();
        self.asks.push(ask);
        self.seen.push(Seen {
            arrived: at,
            first_byte: None,
            ended: Duration::ZERO,
            outcome: None,
            attempts: Vec::new(),
        });
        self.at(at, key as u32, What::Arrives);
        if let Some(leaves) = ask.leaves {
            self.at(at + leaves, key as u32, What::Leaves);
        }
        key
    }

    /// So many requests, one after the other.
    pub(super) fn ask_every(&mut self, gap: Duration, count: u32) {
        let from = self.now;
        for at in 0..count {
            self.ask(from + gap * at, Ask::default());
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.dispatcher.counts(self.now)
    }

    fn at(&mut self, at: Duration, key: u32, what: What) {
        self.number += 1;
        self.events.push(Reverse((at.max(self.now), self.number, key, what)));
    }

    /// Until nothing is left to happen.
    pub(super) fn run(&mut self) {
        self.run_until(Duration::MAX);
        let open = self.seen.iter().position(|seen| seen.outcome.is_none());
        expect("all requests", open.is_none(), "an end for each", format!("none for {open:?}"));
        let left = self.counts();
        let free = left.in_flight == 0 && left.queued == 0;
        expect(
            "in the end",
            free,
            "no attempt under way and nobody in the queue",
            format!("{left:?}"),
        );
    }

    /// Until then.
    pub(super) fn run_until(&mut self, until: Duration) {
        let mut steps = 0_u32;
        while let Some(Reverse((at, ..))) = self.events.peek()
            && *at <= until
        {
            let Some(Reverse((at, _, key, what))) = self.events.pop() else { return };
            steps += 1;
            expect("the router", steps < 3_000_000, "an end of the events", "it rings for ever");
            self.now = at;
            self.happen(key, what);
        }
    }

    fn happen(&mut self, key: u32, what: What) {
        let over = self.seen[key as usize].outcome.is_some();
        let alive = |number: u8| self.live.contains_key(&(key, number));
        let event = match what {
            What::Arrives => Event::Arrived,
            _ if over => return,
            What::Leaves => {
                self.end(key, Outcome::Gone);
                Event::ClientGone
            }
            What::Due => Event::Due,
            What::Head(number, status, retry_after) if alive(number) => {
                self.statuses.insert((key, number), status);
                let retry_after = retry_after.then_some(Duration::from_secs(1));
                Event::Head { attempt: Attempt(number), status, retry_after }
            }
            What::FirstByte(number) if alive(number) => {
                Event::FirstByte { attempt: Attempt(number) }
            }
            What::Finished(number) if alive(number) => Event::Finished { attempt: Attempt(number) },
            What::Failed(number, connect) if alive(number) => {
                self.live.remove(&(key, number));
                let why = if connect { Failure::Connect } else { Failure::Broken };
                Event::Failed { attempt: Attempt(number), why }
            }
            _ => return,
        };
        self.tell(key, event);
        match what {
            What::FirstByte(number) if self.relayed.get(&key) == Some(&number) => {
                self.seen[key as usize].first_byte.get_or_insert(self.now);
            }
            What::Finished(number) => {
                let relayed = self.relayed.get(&key).copied();
                let saw = format!("{relayed:?}");
                expect("a complete answer", relayed == Some(number), "it is relayed", saw);
                self.live.remove(&(key, number));
                let status = self.statuses.get(&(key, number)).copied().unwrap_or(0);
                self.end(key, Outcome::Answered(status));
            }
            What::Leaves => {
                let left = self.live.keys().filter(|(owner, _)| *owner == key).count();
                expect("a client hung up: attempts under way", left == 0, "none", left);
            }
            _ => {}
        }
    }

    fn end(&mut self, key: u32, outcome: Outcome) {
        let seen = &mut self.seen[key as usize];
        expect("a request's end", seen.outcome.is_none(), "once", format!("{outcome:?} as well"));
        seen.outcome = Some(outcome);
        seen.ended = self.now;
    }

    fn tell(&mut self, key: u32, event: Event) {
        let ask = self.asks[key as usize];
        let about = Arrival {
            tenant: ask.tenant,
            cost: ask.cost,
            patience: ask.patience,
            ..Arrival::new(u64::from(key))
        };
        let mut orders = Orders::default();
        self.dispatcher.on(RequestKey(key), &about, event, self.now, &mut orders);
        for action in std::mem::take(&mut orders.actions) {
            self.act(key, action);
        }
        for turn in orders.turns {
            if self.seen[turn.0 as usize].outcome.is_none() {
                self.tell(turn.0, Event::Turn);
            }
        }
    }

    fn act(&mut self, key: u32, action: Action) {
        let relayed = self.relayed.get(&key).copied();
        match action {
            Action::Start { attempt, endpoint } => {
                expect("a new attempt", relayed.is_none(), "none once an answer is relayed", "one");
                self.seen[key as usize].attempts.push((endpoint, false));
                let acts = (self.script)(endpoint, self.now);
                self.live.insert((key, attempt.0), acts);
                self.play(key, attempt.0, acts);
            }
            Action::Relay { attempt } => {
                let alive = self.live.contains_key(&(key, attempt.0));
                expect("what is relayed", alive, "an attempt under way", format!("{attempt:?}"));
                expect("what is relayed", relayed.is_none(), "one attempt", "a second one");
                self.relayed.insert(key, attempt.0);
            }
            Action::Cancel { attempt } => {
                let alive = self.live.remove(&(key, attempt.0)).is_some();
                expect("what is hung up on", alive, "an attempt under way", format!("{attempt:?}"));
                self.seen[key as usize].attempts[usize::from(attempt.0)].1 = true;
            }
            Action::Refuse(refusal) => {
                expect("a refusal", relayed.is_none(), "nothing was relayed", "an answer was");
                self.no_attempts(key, "a refused request");
                self.end(key, Outcome::Refused(refusal));
            }
            Action::CutOff(reason) => {
                expect("what is cut off", relayed.is_some(), "a relayed answer", "nothing");
                self.no_attempts(key, "a request that was cut off");
                self.end(key, Outcome::CutOff(reason));
            }
            Action::WakeAt(at) => {
                if at < Duration::from_secs(100_000) {
                    self.at(at, key, What::Due);
                }
            }
        }
    }

    fn no_attempts(&self, key: u32, context: &str) {
        let left = self.live.keys().filter(|(owner, _)| *owner == key).count();
        expect(context, left == 0, "no attempt under way", format!("{left}"));
    }

    fn play(&mut self, key: u32, number: u8, acts: Acts) {
        let now = self.now;
        match acts {
            Acts::Answers { first, last } => {
                self.at(now, key, What::Head(number, 200, false));
                self.at(now + ms(first), key, What::FirstByte(number));
                self.at(now + ms(last), key, What::Finished(number));
            }
            Acts::Says { status, retry_after } => {
                self.at(now + ms(1), key, What::Head(number, status, retry_after));
                self.at(now + ms(1), key, What::FirstByte(number));
                self.at(now + ms(2), key, What::Finished(number));
            }
            Acts::Dead => self.at(now + ms(1), key, What::Failed(number, true)),
            Acts::BreaksBefore { at } => {
                self.at(now, key, What::Head(number, 200, false));
                self.at(now + ms(at), key, What::Failed(number, false));
            }
            Acts::BreaksAfter { at } => {
                self.at(now, key, What::Head(number, 200, false));
                self.at(now + ms(5), key, What::FirstByte(number));
                self.at(now + ms(at), key, What::Failed(number, false));
            }
            Acts::Hangs => self.at(now, key, What::Head(number, 200, false)),
        }
    }

    /// Requests with this outcome.
    pub(super) fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.seen.iter().filter(|seen| seen.outcome.as_ref().is_some_and(&which)).count()
    }

    /// Requests that got a whole answer with 200.
    pub(super) fn answered(&self) -> usize {
        self.count(|outcome| *outcome == Outcome::Answered(200))
    }

    /// Attempts in all.
    pub(super) fn attempts(&self) -> usize {
        self.seen.iter().map(|seen| seen.attempts.len()).sum()
    }
}
