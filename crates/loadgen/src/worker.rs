//! One thread of the generator: sends what is due, reads what comes, notes when.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use slab::Slab;
use workload::Request;

use crate::connection::{Connection, Exchange, Turn};
use crate::feed::{Due, Feed};
use crate::plan::Plan;
use crate::timer::Timer;
use crate::usage::thread_cpu;
use crate::wire::{Expect, Fault};
use crate::{ErrorKind, Failure, Received, Record};

/// The longest wait: how soon a stop or a timeout is seen.
const TICK: Duration = Duration::from_millis(50);
/// Bytes taken from a socket at once.
const READ_BYTES: usize = 64 * 1024;
/// Sockets looked at before the schedule is.
const EVENTS: usize = 256;
/// Requests that are sent before sockets are looked at.
const BURST: usize = 64;
/// Records that make a batch full.
const BATCH: usize = 1024;
/// How long a batch waits to be full.
const BATCH_AGE: Duration = Duration::from_millis(100);

/// Records on their way to the thread that keeps them.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) worker: usize,
    pub(crate) records: Vec<Record>,
    pub(crate) in_flight: usize,
}

/// What a worker says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerReport {
    /// Processor time of its thread; where the system counts it.
    pub cpu: Option<Duration>,
    /// Of that, time spent waiting busily for the moment to send, with nothing to read.
    pub spun: Duration,
    /// How long it ran.
    pub wall: Duration,
    /// Connections that it asked for.
    pub connections: usize,
    /// Requests that were in flight when it was stopped.
    pub unfinished: usize,
}

struct Ready {
    index: usize,
    input_asked: u32,
    output_asked: u32,
}

pub(crate) struct Worker<'a> {
    number: usize,
    plan: &'a Plan,
    epoch: Instant,
    max_in_flight: usize,
    expect: Expect,
    poll: Poll,
    timer: Timer,
    connections: Slab<Connection>,
    /// Connections that carry nothing, the one used last at the end. May name ones that are gone.
    idle: Vec<usize>,
    feed: Feed,
    /// The next request; its bytes are in `out`. Made ahead, so that making it does not delay it.
    ready: Option<Ready>,
    out: Vec<u8>,
    scratch: Vec<u8>,
    in_flight: usize,
    records: Vec<Record>,
    sender: SyncSender<Batch>,
    last_batch: Duration,
    opened: usize,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(
        number: usize,
        plan: &'a Plan,
        epoch: Instant,
        max_in_flight: usize,
        sender: SyncSender<Batch>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new(&poll)?;
        let expect = if plan.expects_tokens { Expect::Tokens } else { Expect::Anything };
        Ok(Self {
            number,
            plan,
            epoch,
            max_in_flight,
            expect,
            poll,
            timer,
            connections: Slab::new(),
            idle: Vec::new(),
            feed: Feed::new(plan, number),
            ready: None,
            out: Vec::new(),
            scratch: Vec::new(),
            in_flight: 0,
            records: Vec::new(),
            sender,
            last_batch: Duration::ZERO,
            opened: 0,
        })
    }

    /// Runs until the schedule is done and answered, or `stop` is set.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> io::Result<WorkerReport> {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; READ_BYTES];
        let (mut last_sweep, mut spun) = (Duration::ZERO, Duration::ZERO);
        self.prepare();
        std::thread::sleep(self.epoch.saturating_duration_since(Instant::now()));
        let cpu_before = thread_cpu();
        while !stop.load(Ordering::Relaxed) {
            let mut now = self.send_due(self.epoch.elapsed());
            let gap = match self.due(now) {
                Due::Never if self.in_flight == 0 => break,
                Due::Never | Due::Slot => None,
                Due::At(time) => Some(time.saturating_sub(now)),
            };
            if now >= last_sweep + TICK {
                self.sweep(now);
                last_sweep = now;
            }
            self.post(now);
            let busy = self.timer.poll(&mut self.poll, &mut events, gap, TICK)?;
            if busy && events.is_empty() {
                spun += self.epoch.elapsed().saturating_sub(now);
            }
            for event in &events {
                now = self.on_event(event.token().0, event.is_read_closed(), &mut buffer);
                self.send_due(now);
            }
        }
        let cpu = cpu_before.zip(thread_cpu()).map(|(before, after)| after.saturating_sub(before));
        let (connections, unfinished) = (self.opened, self.in_flight);
        self.in_flight = 0;
        let last = self.batch();
        // The receiver lives as long as workers do; without it nobody wants the records.
        let _ = self.sender.send(last);
        Ok(WorkerReport { cpu, spun, wall: self.epoch.elapsed(), connections, unfinished })
    }

    fn due(&self, now: Duration) -> Due {
        let Some(ready) = &self.ready else { return Due::Never };
        self.feed.due(ready.index, now, self.in_flight)
    }

    fn prepare(&mut self) {
        self.ready = self.feed.take().map(|(index, request)| {
            self.plan.body.write(&request, &mut self.out, &mut self.scratch);
            let Request { prompt, output_tokens } = request;
            let input_asked = u32::try_from(prompt.tokens()).unwrap_or(u32::MAX);
            Ready { index, input_asked, output_asked: output_tokens }
        });
    }

    /// Sends what is due by `now`; the time afterwards.
    fn send_due(&mut self, mut now: Duration) -> Duration {
        for _ in 0..BURST {
            let Due::At(scheduled) = self.due(now) else { break };
            if scheduled > now {
                break;
            }
            let Some(ready) = self.ready.take() else { break };
            now = self.epoch.elapsed();
            // A closed loop has no schedule to be late for.
            let scheduled = if self.feed.is_closed() { now } else { scheduled };
            self.send(&ready, scheduled, now);
            self.prepare();
        }
        now
    }

    fn send(&mut self, ready: &Ready, scheduled: Duration, now: Duration) {
        let mut exchange = Exchange {
            index: ready.index,
            scheduled,
            sent: now,
            input_asked: ready.input_asked,
            output_asked: ready.output_asked,
            reused: false,
            retried: false,
        };
        if self.in_flight >= self.max_in_flight {
            let detail = format!("{} requests were in flight", self.in_flight);
            let failure = Failure::new(ErrorKind::NotSent, detail);
            self.keep(exchange, now, Some(failure), Received::default(), false);
            return;
        }
        self.in_flight += 1;
        while let Some(key) = self.idle.pop() {
            if let Some(connection) = self.connections.get_mut(key)
                && connection.exchange.is_none()
            {
                exchange.reused = true;
                connection.begin(exchange, &mut self.out);
                return;
            }
        }
        let mut out = std::mem::take(&mut self.out);
        self.connect(exchange, &mut out);
        self.out = out;
    }

    /// Sends a request over a connection of its own.
    fn connect(&mut self, exchange: Exchange, out: &mut Vec<u8>) {
        let entry = self.connections.vacant_entry();
        let token = Token(entry.key());
        match Connection::open(self.plan.address, self.poll.registry(), token, self.expect) {
            Ok(mut connection) => {
                self.opened += 1;
                connection.begin(exchange, out);
                entry.insert(connection);
            }
            Err(error) => {
                let failure = Failure::new(ErrorKind::Connect, error.to_string());
                self.in_flight -= 1;
                let now = self.epoch.elapsed();
                self.keep(exchange, now, Some(failure), Received::default(), true);
            }
        }
    }

    fn on_event(&mut self, key: usize, read_closed: bool, buffer: &mut [u8]) -> Duration {
        // The timer's own token, or a connection that ended earlier in this batch of events.
        let Some(connection) = self.connections.get_mut(key) else { return self.epoch.elapsed() };
        let (turn, at) = connection.ready(buffer, read_closed, self.epoch);
        match turn {
            Turn::Waiting => {}
            Turn::Stale => {
                self.connections.remove(key);
            }
            Turn::Refused(reason) => {
                let failure = Failure::new(ErrorKind::Connect, reason);
                self.finish(key, at, false, Some(failure));
            }
            Turn::Done { fault: Some(Fault::ClosedEarly), .. } if self.may_retry(key) => {
                self.retry(key);
            }
            Turn::Done { reusable, fault } => {
                let status = self.connections[key].answer.status();
                self.finish(key, at, reusable, fault.map(|fault| failure(fault, status)));
            }
        }
        at
    }

    /// A kept connection that the server closed just when it was used again says nothing about the request
    /// (RFC 9112, section 9.3.1). Once, it is sent over a new one.
    fn may_retry(&self, key: usize) -> bool {
        let connection = &self.connections[key];
        connection.answer.untouched()
            && connection.exchange.as_ref().is_some_and(|e| e.reused && !e.retried)
    }

    fn retry(&mut self, key: usize) {
        let mut connection = self.connections.remove(key);
        if let Some((mut exchange, mut out)) = connection.give_up() {
            exchange.retried = true;
            self.connect(exchange, &mut out);
        }
    }

    fn finish(&mut self, key: usize, at: Duration, reusable: bool, failure: Option<Failure>) {
        let connection = &mut self.connections[key];
        let received = connection.answer.take();
        let exchange = connection.exchange.take();
        if reusable && self.plan.limits.keep_alive {
            self.idle.push(key);
        } else {
            self.connections.remove(key);
        }
        if let Some(exchange) = exchange {
            self.in_flight -= 1;
            self.keep(exchange, at, failure, received, true);
        }
    }

    fn sweep(&mut self, now: Duration) {
        let timeout = self.plan.limits.timeout;
        let late = |c: &Connection| c.exchange.as_ref().is_some_and(|e| e.sent + timeout <= now);
        let late: Vec<_> =
            self.connections.iter().filter(|(_, c)| late(c)).map(|(key, _)| key).collect();
        for key in late {
            self.finish(key, now, false, Some(Failure::new(ErrorKind::Timeout, "")));
        }
        // What is gone is forgotten here, so that the list stays as short as the slab.
        if self.idle.len() > 2 * self.connections.len() + EVENTS {
            let connections = &self.connections;
            self.idle.retain(|key| connections.get(*key).is_some_and(|c| c.exchange.is_none()));
            self.idle.sort_unstable();
            self.idle.dedup();
        }
    }

    fn keep(
        &mut self,
        exchange: Exchange,
        ended: Duration,
        failure: Option<Failure>,
        received: Received,
        sent: bool,
    ) {
        self.records.push(Record {
            index: exchange.index,
            scheduled: exchange.scheduled,
            sent: sent.then_some(exchange.sent),
            ended,
            input_asked: exchange.input_asked,
            output_asked: exchange.output_asked,
            failure,
            received,
            reused: exchange.reused,
            retried: exchange.retried,
        });
    }

    fn batch(&mut self) -> Batch {
        let records = std::mem::take(&mut self.records);
        Batch { worker: self.number, records, in_flight: self.in_flight }
    }

    /// Hands records on, without ever waiting: what is not taken now stays for the next time. There are never more
    /// than the schedule has requests.
    fn post(&mut self, now: Duration) {
        if self.records.len() < BATCH && now < self.last_batch + BATCH_AGE {
            return;
        }
        self.last_batch = now;
        let batch = self.batch();
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) =
            self.sender.try_send(batch)
        {
            self.records = batch.records;
        }
    }
}

fn failure(fault: Fault, status: u16) -> Failure {
    match fault {
        Fault::Status(detail) => Failure::new(ErrorKind::of_status(status), detail),
        Fault::Server(detail) => Failure::new(ErrorKind::Server, detail),
        Fault::Malformed(detail) => Failure::new(ErrorKind::Malformed, detail),
        Fault::ClosedEarly => Failure::new(ErrorKind::ClosedEarly, ""),
    }
}
