//! One request on its way: tells what happens to whoever decides, and does what it is told.

use std::task::{Context, Poll};
use std::time::Duration;

use protocol::openai::Problem;
use routing::{Action, Arrival, Attempt, Event, Failure, Orders, Reason, RequestKey, Terms};
use smallvec::SmallVec;

use crate::answer::{Answer, message};
use crate::attempt::{Running, Step};
use crate::client::Client;
use crate::limits::MAX_ATTEMPTS;
use crate::message::Message;
use crate::relay::Relay;
use crate::request::{Head, push_field};
use crate::traces::{Routed, Told};
use crate::worker::Worker;

/// A request that is forwarded. Dropping it before its end is the client's going.
pub(crate) struct Forward<'a> {
    worker: &'a Worker,
    client: &'a mut Client,
    head: &'a Head,
    /// The request as an endpoint gets it.
    request: Message<'a>,
    about: Arrival<'a>,
    key: RequestKey,
    since: Duration,
    attempts: SmallVec<[Running; MAX_ATTEMPTS]>,
    relay: Option<(Attempt, Relay)>,
    /// When to tell that it is time.
    wake_at: Option<Duration>,
    /// When the relayed answer last got on.
    moved: Duration,
    /// Whether it waits in a queue.
    waits: bool,
    /// What its span will say.
    told: Told,
    end: Option<End>,
    orders: Orders,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client may ask again.
    KeepAlive,
    /// The connection ends, once all is sent.
    Close,
    /// The connection ends now, in the middle of an answer.
    Abort,
}

impl<'a> Forward<'a> {
    pub(crate) fn new(
        worker: &'a Worker,
        client: &'a mut Client,
        head: &'a Head,
        request: Message<'a>,
        mut about: Arrival<'a>,
    ) -> Self {
        let (id, key) = worker.shared.open();
        about.route.id = id;
        let since = worker.shared.now();
        Self {
            worker,
            client,
            head,
            request,
            about,
            key,
            since,
            attempts: SmallVec::new(),
            relay: None,
            wake_at: None,
            moved: since,
            waits: true,
            told: Told::default(),
            end: None,
            orders: Orders::default(),
        }
    }

    /// The request's number.
    pub(crate) fn id(&self) -> u64 {
        self.about.route.id
    }

    /// To the end of the answer.
    pub(crate) async fn run(mut self) -> End {
        self.on(Event::Arrived);
        std::future::poll_fn(|cx| self.worker.with_scratch(|scratch| self.poll(cx, scratch))).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<End> {
        loop {
            let flushed = match self.client.poll_flush(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
                Poll::Ready(Err(_)) => return self.gone(),
            };
            if let Some(end) = self.end
                && (flushed || end == End::Abort)
            {
                return Poll::Ready(end);
            }
            if self.client.poll_gone(cx, scratch).is_ready() {
                return self.gone();
            }
            if self.end.is_none()
                && self.attempts.is_empty()
                && self.waits
                && self.worker.shared.take_turn(self.key, cx.waker())
            {
                self.on(Event::Turn);
                continue;
            }
            if self.is_late(cx) {
                continue;
            }
            if !self.poll_attempts(cx, flushed, scratch) {
                return Poll::Pending;
            }
        }
    }

    fn gone(&mut self) -> Poll<End> {
        if self.end.is_none() {
            self.worker.shared.metrics.client_gone();
        }
        Poll::Ready(End::Abort)
    }

    /// Looks at the clock, only where the alarm rang. Whether something happened.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let stall = self.worker.shared.limits.stall_timeout;
        let connecting = self.attempts.iter().filter(|running| running.is_connecting());
        let connect = connecting.map(|running| running.due).min();
        let stalled =
            (self.relay.is_some() || self.end.is_some()).then(|| self.moved.saturating_add(stall));
        let wake = self.wake_at.filter(|_| self.end.is_none());
        let due = [connect, stalled, wake].into_iter().flatten().min();
        if !self.client.alarm.poll(cx, due, &self.worker.shared) {
            return false;
        }
        let now = self.worker.shared.now();
        if stalled.is_some_and(|at| at <= now) {
            match self.relay.as_ref().map(|(attempt, _)| *attempt) {
                // Whose fault it is: the client's, if it does not take what is there.
                Some(attempt) if self.end.is_none() && self.client.is_flushed() => {
                    self.fail(attempt, Failure::Stalled);
                }
                _ => self.end = Some(End::Abort),
            }
        } else if connect.is_some_and(|at| at <= now) {
            let late =
                self.attempts.iter().find(|running| running.is_connecting() && running.due <= now);
            if let Some(attempt) = late.map(|running| running.attempt) {
                self.fail(attempt, Failure::Connect);
            }
        } else if self.wake_at.is_some_and(|at| at <= now) {
            self.wake_at = None;
            self.on(Event::Due);
        }
        true
    }

    /// Whether something happened that may need another look.
    fn poll_attempts(&mut self, cx: &mut Context<'_>, flushed: bool, scratch: &mut [u8]) -> bool {
        for at in 0..self.attempts.len() {
            let running = &mut self.attempts[at];
            let attempt = running.attempt;
            let relayed = self.relay.as_ref().is_some_and(|(relayed, _)| *relayed == attempt);
            // Nothing is read that nobody takes.
            if running.is_done() || (relayed && !flushed) || (!relayed && running.is_full()) {
                continue;
            }
            let space = Relay::space(scratch);
            match running.poll(cx, self.request.bytes(), self.head.is_head, space) {
                Poll::Pending => continue,
                Poll::Ready(Step::Failed(why)) => self.fail(attempt, why),
                Poll::Ready(Step::Head) => self.headed(attempt),
                Poll::Ready(Step::Data(count)) if relayed => self.relayed(cx, at, count, scratch),
                Poll::Ready(Step::Data(count)) => {
                    let first = running.held.is_empty() && count > 0;
                    running.hold(&Relay::space(scratch)[..count]);
                    self.moved_on(attempt, first);
                }
            }
            return true;
        }
        false
    }

    fn headed(&mut self, attempt: Attempt) {
        let Some(running) = self.running(attempt) else { return };
        let Some(head) = &running.head else { return };
        let (status, retry_after) = (head.status, head.retry_after);
        let first = !running.held.is_empty();
        self.on(Event::Head { attempt, status, retry_after });
        self.moved_on(attempt, first);
    }

    /// An attempt that may not be relayed yet has got on, and perhaps to its end.
    fn moved_on(&mut self, attempt: Attempt, first: bool) {
        if first && self.running(attempt).is_some() {
            self.on(Event::FirstByte { attempt });
        }
        if self.running(attempt).is_some_and(|running| running.is_done()) {
            self.finish(attempt);
        }
    }

    /// Data of the relayed answer, in the scratch space.
    fn relayed(&mut self, cx: &mut Context<'_>, at: usize, count: usize, scratch: &mut [u8]) {
        self.moved = self.worker.shared.now();
        let done = self.attempts[at].is_done();
        let attempt = self.attempts[at].attempt;
        let Some((_, relay)) = &mut self.relay else { return };
        if relay.send(cx, self.client, scratch, count, done).is_err() {
            self.end = Some(End::Abort);
        } else if done {
            self.finish(attempt);
        }
    }

    /// Its answer is complete.
    fn finish(&mut self, attempt: Attempt) {
        self.on(Event::Finished { attempt });
        let relayed = self.relay.as_ref().is_some_and(|(relayed, _)| *relayed == attempt);
        if let (true, Some(running)) = (relayed, self.take(attempt)) {
            let now = self.worker.shared.now();
            running.give_back(&self.worker.pool, self.request.bytes(), now);
            let keep = self.relay.as_ref().is_some_and(|(_, relay)| relay.keeps_alive());
            self.end.get_or_insert(if keep { End::KeepAlive } else { End::Close });
        }
    }

    fn fail(&mut self, attempt: Attempt, why: Failure) {
        if self.take(attempt).is_some() {
            self.on(Event::Failed { attempt, why });
        }
    }

    fn running(&self, attempt: Attempt) -> Option<&Running> {
        self.attempts.iter().find(|running| running.attempt == attempt)
    }

    fn take(&mut self, attempt: Attempt) -> Option<Running> {
        let at = self.attempts.iter().position(|running| running.attempt == attempt)?;
        Some(self.attempts.remove(at))
    }

    /// Tells an event, and does what is asked for.
    fn on(&mut self, event: Event) {
        let mut orders = std::mem::take(&mut self.orders);
        self.worker.shared.on(self.key, &self.about, event, &mut orders);
        let Orders { actions, terms, problem, .. } = &mut orders;
        for action in actions.drain(..) {
            self.act(action, terms, problem);
        }
        self.orders = orders;
    }

    /// `terms` are of the attempt that is started, `problem` is of the refusal, if there is one.
    fn act(&mut self, action: Action, terms: &mut Terms, problem: &mut Option<Problem>) {
        match action {
            Action::Start { attempt, endpoint } => {
                self.start(attempt, endpoint, std::mem::take(terms));
            }
            Action::Relay { attempt } => self.begin_relay(attempt),
            Action::Cancel { attempt } => drop(self.take(attempt)),
            Action::Refuse(refusal) => {
                let status = refusal.reason.status();
                let retry_after = refusal.retry_after;
                self.attempts.clear();
                let answer = match problem.take() {
                    Some(problem) => Answer::problem(status, problem),
                    None => Answer::error(status, message(refusal.reason)),
                };
                self.answer(&Answer { retry_after, ..answer });
            }
            Action::CutOff(reason) => self.cut_off(reason),
            Action::WakeAt(at) => self.wake_at = Some(at),
        }
    }

    fn start(&mut self, attempt: Attempt, endpoint: routing::EndpointId, terms: Terms) {
        self.waits = false;
        let shared = &self.worker.shared;
        let Some(endpoint) = shared.endpoint(endpoint) else {
            // It went away between the choice and now.
            self.on_later_failure(attempt);
            return;
        };
        self.told.attempts += 1;
        self.told.endpoint = Some(endpoint.address);
        let (now, timeout) = (shared.now(), shared.limits.connect_timeout);
        let running = Running::start(attempt, endpoint, &self.worker.pool, now, timeout);
        let own = terms.model.and_then(|name| self.request.for_model(&name));
        self.attempts.push(running.with(own, terms.field));
    }

    /// An attempt that could not even begin. Orders are carried out one after the other, so this nests only as deep as
    /// there are endpoints that went away.
    fn on_later_failure(&mut self, attempt: Attempt) {
        let mut orders = Orders::default();
        let event = Event::Failed { attempt, why: Failure::Connect };
        self.worker.shared.on(self.key, &self.about, event, &mut orders);
        let Orders { actions, mut terms, mut problem, .. } = orders;
        for action in actions {
            self.act(action, &mut terms, &mut problem);
        }
    }

    fn begin_relay(&mut self, attempt: Attempt) {
        let keep_alive = self.head.keep_alive && !self.worker.shared.is_draining();
        let Some(running) = self.attempts.iter_mut().find(|running| running.attempt == attempt)
        else {
            return;
        };
        let done = running.is_done();
        let held = std::mem::take(&mut running.held);
        let Some(head) = &mut running.head else { return };
        if let Some((name, value)) = &running.field {
            push_field(&mut head.forwarded, name, value.as_bytes());
        }
        let relay = Relay::begin(self.client, self.head, head, held, done, keep_alive);
        self.relay = Some((attempt, relay));
        let metrics = &self.worker.shared.metrics;
        metrics.answered(head.status);
        self.moved = self.worker.shared.now();
        (self.told.status, self.told.first_byte) = (head.status, Some(self.moved));
        metrics.first_byte(self.moved.saturating_sub(self.since));
    }

    fn answer(&mut self, answer: &Answer) {
        if self.relay.is_some() || self.end.is_some() {
            return;
        }
        self.moved = self.worker.shared.now();
        self.worker.shared.metrics.answered(answer.status);
        self.told.status = answer.status;
        let keep_alive = self.head.keep_alive && !self.worker.shared.is_draining();
        answer.write(self.client.out(), keep_alive, self.head.is_head);
        self.end = Some(if keep_alive { End::KeepAlive } else { End::Close });
    }

    fn cut_off(&mut self, reason: Reason) {
        self.attempts.clear();
        self.worker.shared.metrics.was_cut_off();
        self.told.cut_off = true;
        let Some((_, relay)) = &mut self.relay else {
            self.end = Some(End::Abort);
            return;
        };
        let clean = relay.cut_off(self.client, reason);
        self.end = Some(match clean {
            true if relay.keeps_alive() => End::KeepAlive,
            true => End::Close,
            false => End::Abort,
        });
    }
}

impl Drop for Forward<'_> {
    fn drop(&mut self) {
        // Harmless where it ended by itself: whoever decides knows it no more.
        if self.end.is_none() || !self.attempts.is_empty() {
            self.attempts.clear();
            let shared = &self.worker.shared;
            shared.on(self.key, &self.about, Event::ClientGone, &mut self.orders);
        }
        self.worker.shared.close(self.key);
        if let (Some(traces), Some(place)) = (&self.worker.shared.traces, self.head.place) {
            let to = self.worker.shared.now();
            traces.finished(Routed { place, from: self.since, to, told: self.told });
        }
    }
}
