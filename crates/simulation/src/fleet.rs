//! Many replicas, one virtual clock, and requests that arrive.
//!
//! Discrete events: arrivals, requests that enter their engine, clients that go away, ends of steps. Events of one instant happen in this order,
//! those of one kind by the index of their replica; then idle replicas begin their next step. Nothing else has
//! an influence, so that equal input gives an equal report.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use routing::Policy;
use serving::EngineError;

use crate::journal::Journal;
use crate::replica::nanos;
use crate::router::{Admission, Router};
use crate::{Arrival, Fault, Observer, Outcome, Replica, Report, RequestRecord, RouterLimits};

/// A fleet cannot run like this.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// There is nobody to serve.
    #[error("a fleet needs at least one replica")]
    NoReplica,
    /// Time runs forward only.
    #[error("request {index} arrives at {at:?}, when it is {last:?} already")]
    OutOfOrder {
        /// Which request, from 0.
        index: usize,
        /// When it arrives.
        at: Duration,
        /// How far time has come.
        last: Duration,
    },
    /// A model cannot answer nothing.
    #[error("request {index} has an empty prompt")]
    EmptyPrompt {
        /// Which request, from 0.
        index: usize,
    },
    /// The policy chose a replica that is not there.
    #[error("the policy chose replica {chosen} of {replicas}")]
    NoSuchReplica {
        /// The index chosen.
        chosen: usize,
        /// How many there are.
        replicas: usize,
    },
    /// An engine failed.
    #[error("replica {replica}: {cause}")]
    Engine {
        /// Which.
        replica: usize,
        /// How.
        cause: EngineError,
    },
    /// A scheduler runs nothing although nothing will come any more that could change its mind.
    #[error("replica {replica} runs nothing, and {outstanding} requests wait for it")]
    Stuck {
        /// Which.
        replica: usize,
        /// Requests that it holds.
        outstanding: usize,
    },
}

/// What happens next. The order of the variants is that of events at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Enters { replica: usize, request: u64 },
    Abort { replica: usize, request: u64 },
    StepEnds { replica: usize },
}

/// Replicas and one or more routers in front of them.
pub struct Fleet {
    replicas: Vec<Replica>,
    router: Router,
    /// By time in nanoseconds.
    events: BinaryHeap<Reverse<(u64, Event)>>,
    /// Replicas that may have something to begin at this instant.
    touched: Vec<usize>,
    now: Duration,
}

impl Fleet {
    /// An idle fleet at time 0.
    #[must_use]
    pub fn new(replicas: Vec<Replica>, policy: impl Policy + 'static) -> Self {
        Self {
            replicas,
            router: Router::new(Box::new(policy)),
            events: BinaryHeap::new(),
            touched: Vec::new(),
            now: Duration::ZERO,
        }
    }

    /// Lets the router ask replicas for their load so often only. Without, it always knows.
    #[must_use]
    pub fn with_scrapes_every(mut self, interval: Duration) -> Self {
        self.router.scrape_every(interval);
        self
    }

    /// Lets each router keep to limits. Without, a replica gets as many requests at once as the policy wants.
    #[must_use]
    pub fn with_limits(mut self, limits: RouterLimits) -> Self {
        self.router.limit(limits);
        self
    }

    /// Adds a router beside the first. Requests come to the routers in turn. Each knows only its own requests in flight;
    /// all see the same scrapes.
    #[must_use]
    pub fn with_router(mut self, policy: impl Policy + 'static) -> Self {
        self.router.add(Box::new(policy));
        self
    }

    /// Lets scrapes of one replica fail from one time until another: what was seen of it before grows old. The replica
    /// itself goes on.
    #[must_use]
    pub fn with_silence(mut self, replica: usize, from: Duration, until: Duration) -> Self {
        self.router.silence(replica, from, until);
        self
    }

    /// Lets the page of one replica go on to say what it said, from one time until another: each scrape is new, and none
    /// says anything new. The replica itself goes on.
    #[must_use]
    pub fn with_stale_page(mut self, replica: usize, from: Duration, until: Duration) -> Self {
        self.router.freeze(replica, from, until);
        self
    }

    /// Adds trouble to one replica, by its index. An index without a replica changes nothing.
    #[must_use]
    pub fn with_fault(mut self, replica: usize, fault: Fault) -> Self {
        if let Some(replica) = self.replicas.get_mut(replica) {
            replica.add_fault(fault);
        }
        self
    }

    /// How many replicas there are.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// Serves requests, which come in the order of their times, until all have ended or `until`.
    ///
    /// # Errors
    /// [`FleetError`].
    pub fn run(
        self,
        arrivals: impl IntoIterator<Item = Arrival>,
        until: Duration,
    ) -> Result<Report, FleetError> {
        self.run_observed(arrivals, until, &mut ())
    }

    /// As [`run`](Self::run), with somebody who watches.
    ///
    /// # Errors
    /// [`FleetError`].
    pub fn run_observed<O: Observer>(
        mut self,
        arrivals: impl IntoIterator<Item = Arrival>,
        until: Duration,
        observer: &mut O,
    ) -> Result<Report, FleetError> {
        if self.replicas.is_empty() {
            return Err(FleetError::NoReplica);
        }
        let mut journal = Journal::new(observer);
        let mut arrivals = arrivals.into_iter().peekable();
        loop {
            let arrival = arrivals.peek().map(|arrival| arrival.at);
            let event = self.events.peek().map(|Reverse((at, _))| Duration::from_nanos(*at));
            let next = match (arrival, event) {
                (Some(arrival), Some(event)) => arrival.min(event),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => break,
            };
            if next > until {
                self.now = until;
                return Ok(self.close(journal));
            }
            self.router.scrape_until(next, &self.replicas);
            let last = std::mem::replace(&mut self.now, next);
            while let Some(arrival) = arrivals.next_if(|arrival| arrival.at <= next) {
                let (index, at, last) = (journal.requests.len(), arrival.at, last.max(next));
                if at < last {
                    return Err(FleetError::OutOfOrder { index, at, last });
                }
                self.arrive(arrival, &mut journal)?;
            }
            self.happen(&mut journal);
            loop {
                self.router.learn(&mut journal.news);
                self.send_waiting(&mut journal)?;
                if self.touched.is_empty() {
                    break;
                }
                self.begin_steps(&mut journal)?;
            }
        }
        let stuck = self.replicas.iter().position(|replica| replica.outstanding() > 0);
        if let Some(replica) = stuck {
            let outstanding = self.replicas[replica].outstanding();
            return Err(FleetError::Stuck { replica, outstanding });
        }
        Ok(self.close(journal))
    }

    /// Routes a request.
    fn arrive<O: Observer>(
        &mut self,
        arrival: Arrival,
        journal: &mut Journal<'_, O>,
    ) -> Result<(), FleetError> {
        if arrival.prompt.is_empty() {
            return Err(FleetError::EmptyPrompt { index: journal.requests.len() });
        }
        let index = journal.requests.len();
        journal.requests.push(RequestRecord::new(arrival.at, arrival.prompt.len()));
        self.router.leave(self.now, &mut journal.requests);
        match self.router.admit(index, arrival, &self.replicas) {
            Admission::Chosen(chosen, arrival) => self.send(index, chosen, arrival, journal)?,
            Admission::Waits => {}
            Admission::Full => journal.requests[index].outcome = Outcome::Refused,
        }
        Ok(())
    }

    /// Routes those that waited in a router and now have a place.
    fn send_waiting<O: Observer>(
        &mut self,
        journal: &mut Journal<'_, O>,
    ) -> Result<(), FleetError> {
        self.router.leave(self.now, &mut journal.requests);
        while let Some((index, arrival)) = self.router.next_waiting() {
            let (chosen, arrival) =
                self.router.choose(index as u64, arrival, self.now, &self.replicas);
            self.send(index, chosen, arrival, journal)?;
        }
        Ok(())
    }

    /// Hands a request to the replica that was chosen for it.
    fn send<O: Observer>(
        &mut self,
        index: usize,
        chosen: Option<usize>,
        arrival: Arrival,
        journal: &mut Journal<'_, O>,
    ) -> Result<(), FleetError> {
        let Some(chosen) = chosen else {
            journal.requests[index].outcome = Outcome::Refused;
            return Ok(());
        };
        let replicas = self.replicas.len();
        let no_such = FleetError::NoSuchReplica { chosen, replicas };
        let replica = self.replicas.get_mut(chosen).ok_or(no_such)?;
        let sent = self.now;
        let abort_at = arrival.abort_at.map(|at| at.max(sent));
        let Some((request, enters)) = replica.take((chosen, index), arrival, sent, journal) else {
            return Ok(());
        };
        if enters > sent {
            let event = Event::Enters { replica: chosen, request };
            self.events.push(Reverse((nanos(enters), event)));
        } else {
            self.touched.push(chosen);
        }
        if let Some(at) = abort_at {
            let abort = Event::Abort { replica: chosen, request };
            self.events.push(Reverse((nanos(at), abort)));
        }
        Ok(())
    }

    /// Everything that happens now.
    fn happen<O: Observer>(&mut self, journal: &mut Journal<'_, O>) {
        let now = nanos(self.now);
        while let Some(Reverse((at, event))) = self.events.peek().copied() {
            if at > now {
                break;
            }
            self.events.pop();
            let replica = match event {
                Event::Enters { replica, request } => {
                    self.replicas[replica].enter(request);
                    replica
                }
                Event::Abort { replica, request } => {
                    self.replicas[replica].abort(request);
                    replica
                }
                Event::StepEnds { replica } => {
                    self.replicas[replica].end(replica, journal);
                    replica
                }
            };
            self.touched.push(replica);
        }
    }

    /// Replicas that are not in a step begin one if there is something to run.
    fn begin_steps<O: Observer>(&mut self, journal: &mut Journal<'_, O>) -> Result<(), FleetError> {
        self.touched.sort_unstable();
        self.touched.dedup();
        for replica in self.touched.drain(..) {
            let engine = &mut self.replicas[replica];
            if engine.is_stepping() {
                continue;
            }
            let begun = engine.begin(replica, self.now, journal);
            if let Some(ends) = begun.map_err(|cause| FleetError::Engine { replica, cause })? {
                self.events.push(Reverse((nanos(ends), Event::StepEnds { replica })));
            }
        }
        Ok(())
    }

    fn close<O: Observer>(self, mut journal: Journal<'_, O>) -> Report {
        let now = self.now;
        let close = |replica: Replica| replica.close(now, &mut journal);
        let replicas = self.replicas.into_iter().map(close).collect();
        Report {
            duration: now,
            requests: journal.requests,
            replicas,
            itl: journal.itl.into_histogram(),
        }
    }
}
