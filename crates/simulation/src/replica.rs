//! One engine of a fleet: the very scheduler of a live engine, on a predicted executor.

use std::time::Duration;

use routing::Signals;
use serving::{
    Engine, EngineError, EventKind, FinishReason, Load, ProgressKind, RequestSummary,
    SamplingParams, Scheduler, SchedulerLimits, Sequence, SequenceId, StepReport, blocks_for,
};

use crate::journal::Journal;
use crate::live::Live;
use crate::report::ReplicaReport;
use crate::ring::Ring;
use crate::router::News;
use crate::virtual_executor::{VirtualClock, VirtualExecutor, Watched};
use crate::{
    Arrival, Binding, Fault, Host, Limit, ObservedStep, Observer, Outcome, StepCost, StepTime,
};

/// Plans without a single token that are asked for in a row before a replica waits for news.
const MAX_EMPTY_PLANS: usize = 64;

/// What a replica may hold: the figures that its scheduler and pool were built with, and its admission's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplicaSpec {
    /// The scheduler's limits.
    pub limits: SchedulerLimits,
    /// Token slots in a block of its pool.
    pub block_size: usize,
    /// The longest context; longer requests are refused.
    pub max_model_len: usize,
    /// Requests that may wait for their first place; more are refused.
    pub max_queue: usize,
    /// The host on which requests are parsed and tokenized before the engine sees them, and answers written after it:
    /// half of [`Host::request`] on the way out, the rest of [`Host::frontend`] on the way in. `None`: no time at all.
    pub frontend: Option<Host>,
}

impl ReplicaSpec {
    /// A replica that refuses only what its pool could never hold.
    #[must_use]
    pub fn new(limits: SchedulerLimits, block_size: usize) -> Self {
        Self {
            limits,
            block_size,
            max_model_len: usize::MAX,
            max_queue: usize::MAX,
            frontend: None,
        }
    }
}

impl ReplicaSpec {
    /// How long a request is under way before and after the engine.
    fn ways(&self, prompt_tokens: usize) -> (Duration, Duration) {
        let Some(host) = self.frontend else { return (Duration::ZERO, Duration::ZERO) };
        let out = host.request / 2;
        (host.frontend(prompt_tokens).saturating_sub(out), out)
    }
}

/// One engine.
pub struct Replica {
    spec: ReplicaSpec,
    engine: Engine,
    clock: VirtualClock,
    params: SamplingParams,
    /// Came since the last step began.
    inbox: Vec<Sequence>,
    /// Requests that are on their way in.
    entering: usize,
    live: Ring<Live>,
    /// Requests that never had a place.
    queued: usize,
    /// Clients that went away since the last step ended.
    gone: Vec<u64>,
    step: Option<InFlight>,
    /// At the end of the last step.
    load: Load,
    level: Level,
    report: ReplicaReport,
    bound_by: [u64; Limit::ALL.len()],
}

/// A step under way.
struct InFlight {
    report: StepReport,
    time: Option<StepTime>,
    binds: Limit,
}

/// What series are made of, since when.
#[derive(Clone, Copy, Default)]
struct Level {
    since: u64,
    load: Load,
}

impl Replica {
    /// An idle replica.
    #[must_use]
    pub fn new(
        spec: ReplicaSpec,
        scheduler: Box<dyn Scheduler>,
        cost: impl StepCost + 'static,
    ) -> Self {
        let clock = VirtualClock::default();
        let executor =
            VirtualExecutor { cost: Box::new(cost), limits: spec.limits, clock: clock.clone() };
        let load = scheduler.load();
        let scheduler = Box::new(Watched { scheduler, clock: clock.clone() });
        Self {
            spec,
            engine: Engine::new(scheduler, Box::new(executor)),
            clock,
            params: SamplingParams::greedy(),
            inbox: Vec::new(),
            entering: 0,
            live: Ring::new(),
            queued: 0,
            gone: Vec::new(),
            step: None,
            load,
            level: Level { since: 0, load },
            report: ReplicaReport::default(),
            bound_by: Default::default(),
        }
    }

    /// Adds trouble; where several hit one step, one after the other does.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.add_fault(fault);
        self
    }

    /// As [`with_fault`](Self::with_fault), in place.
    pub(crate) fn add_fault(&mut self, fault: Fault) {
        self.clock.add_fault(fault);
    }

    /// Lets `binding` say what bound each step. Without, it is the largest part of the step's time, and what keeps
    /// requests waiting is not told.
    #[must_use]
    pub fn with_binding(self, binding: Binding) -> Self {
        self.clock.set_binding(binding);
        self
    }

    /// The load at the end of its last step: what a scrape would show.
    pub(crate) fn signals(&self) -> Signals {
        let Load { waiting, running, blocks_total, blocks_free, .. } = self.load;
        let used = blocks_total - blocks_free;
        Signals {
            waiting: waiting as u32,
            running: running as u32,
            kv_usage: used as f64 / blocks_total.max(1) as f64,
        }
    }

    /// Whether a step is under way.
    pub(crate) fn is_stepping(&self) -> bool {
        self.step.is_some()
    }

    /// Requests that have not ended.
    pub(crate) fn outstanding(&self) -> usize {
        self.live.len()
    }

    /// Takes the `index`-th request, which a router sends at `sent`, or refuses it. Returns its id, and when it enters the engine.
    pub(crate) fn take<O: Observer>(
        &mut self,
        (replica, index): (usize, usize),
        arrival: Arrival,
        sent: Duration,
        journal: &mut Journal<'_, O>,
    ) -> Option<(u64, Duration)> {
        let (prompt_tokens, max_len) = (arrival.prompt.len(), arrival.max_len());
        let record = &mut journal.requests[index];
        record.replica = Some(replica);
        let too_long = max_len > self.spec.max_model_len
            || blocks_for(max_len, self.spec.block_size) > self.load.blocks_total;
        if too_long || self.queued >= self.spec.max_queue {
            record.outcome = Outcome::Refused;
            journal.news.push(News::ended(replica, index, sent, sent, Outcome::Refused));
            return None;
        }
        journal.news.push(News::sent(replica, index, sent));
        let (way_in, way_out) = self.spec.ways(prompt_tokens);
        let enters = sent + way_in;
        let live = Live::new(index, &arrival, (sent, way_in, way_out), journal.timelines);
        self.mark(nanos(sent));
        self.level.load.waiting += 1;
        self.queued += 1;
        let (room, max_new_tokens) = (live.end as usize, arrival.max_new_tokens());
        let id = self.live.push(live);
        let prompt = arrival.prompt.into_tokens(index as u64, room);
        let sequence = Sequence::new(SequenceId(id), prompt, max_new_tokens);
        if way_in.is_zero() {
            self.inbox.push(sequence);
        } else if let Some(live) = self.live.get_mut(id) {
            live.entering = Some(sequence);
            self.entering += 1;
        }
        Some((id, enters))
    }

    /// A request reaches the engine.
    pub(crate) fn enter(&mut self, id: u64) {
        let sequence = self.live.get_mut(id).and_then(|live| live.entering.take());
        self.entering -= usize::from(sequence.is_some());
        self.inbox.extend(sequence);
    }

    /// The client of this request goes away; the engine notices between two steps.
    pub(crate) fn abort(&mut self, id: u64) {
        self.gone.push(id);
    }

    /// Begins a step, and says when it will end; `None` where there is nothing to run.
    pub(crate) fn begin<O: Observer>(
        &mut self,
        replica: usize,
        now: Duration,
        journal: &mut Journal<'_, O>,
    ) -> Result<Option<Duration>, EngineError> {
        for sequence in self.inbox.drain(..) {
            self.engine.add(sequence, &self.params);
        }
        self.drop_gone(replica, now, journal);
        for _ in 0..MAX_EMPTY_PLANS {
            if self.live.len() == 0 {
                return Ok(None);
            }
            self.clock.set(now);
            let clock = &self.clock;
            let Some(report) = self.engine.step(&|| clock.now())? else { return Ok(None) };
            let time = self.clock.step();
            let load = self.engine.load();
            let binds = self.clock.binds().unwrap_or(Limit::KvCapacity);
            let ended = report.ended;
            self.step = Some(InFlight { report, time, binds });
            if time.is_some() {
                self.mark(nanos(now));
                self.level.load = Load { waiting: load.waiting + self.entering, ..load };
                return Ok(Some(ended));
            }
            // It only preempted: there is room now, and no time has passed.
            self.end(replica, journal);
        }
        Ok(None)
    }

    /// Ends the step under way: tokens reach their clients, and who is done gives up its blocks.
    pub(crate) fn end<O: Observer>(&mut self, replica: usize, journal: &mut Journal<'_, O>) {
        let Some(InFlight { report, time, binds }) = self.step.take() else { return };
        let ended = nanos(report.ended);
        for progress in &report.progress {
            let id = progress.sequence;
            let Some(live) = self.live.get_mut(id.0) else { continue };
            if journal.timelines {
                live.note(progress.at, progress.kind);
            }
            match progress.kind {
                ProgressKind::Token(_) => {
                    if let Some(gap) = live.token(ended) {
                        journal.itl.record(gap);
                    } else {
                        let (index, sent, at) =
                            (live.index, live.sent, report.ended + live.way_out);
                        journal.news.push(News::first_token(replica, index, sent, at));
                    }
                    if live.is_done() {
                        self.engine.remove(id);
                        self.finish(replica, id, report.ended, None, journal);
                    }
                }
                ProgressKind::PrefillDone => {}
                ProgressKind::Scheduled { cached_tokens } => {
                    let record = &mut journal.requests[live.index];
                    live.placed = true;
                    if record.queue.is_none() {
                        record.queue = Some(progress.at - live.enters);
                        record.cached_tokens = cached_tokens;
                        self.queued -= 1;
                    }
                }
                ProgressKind::Preempted => {
                    live.placed = false;
                    journal.requests[live.index].preemptions += 1;
                    self.report.preemptions += 1;
                }
            }
        }
        self.count(&report, time, binds);
        self.load = self.engine.load();
        self.mark(ended);
        let waiting = self.load.waiting + self.inbox.len() + self.entering;
        self.level.load = Load { waiting, ..self.load };
        let load = self.load;
        journal.observer.step(&ObservedStep { replica, report: &report, time, binds, load });
    }

    /// Writes down what is left when the simulation ends.
    pub(crate) fn close<O>(mut self, now: Duration, journal: &mut Journal<'_, O>) -> ReplicaReport {
        self.mark(nanos(now));
        self.live.iter().for_each(|live| live.describe(&mut journal.requests[live.index]));
        let stats = self.engine.load().pool;
        self.report.prefix_queries = stats.prefix_queries;
        self.report.prefix_hits = stats.prefix_hits;
        let counts = Limit::ALL.into_iter().zip(self.bound_by);
        self.report.bound_by = counts.filter(|(_, count)| *count > 0).collect();
        self.report
    }

    /// Forgets requests whose clients are gone.
    fn drop_gone<O: Observer>(
        &mut self,
        replica: usize,
        now: Duration,
        journal: &mut Journal<'_, O>,
    ) {
        let mut dropped = false;
        for id in std::mem::take(&mut self.gone) {
            let Some(live) = self.live.get_mut(id) else { continue };
            if journal.timelines {
                live.timeline.push(now, EventKind::Aborted);
            }
            self.queued -= usize::from(journal.requests[live.index].queue.is_none());
            self.entering -= usize::from(live.entering.is_some());
            self.engine.remove(SequenceId(id));
            self.finish(replica, SequenceId(id), now, Some(Outcome::Aborted), journal);
            dropped = true;
        }
        if dropped {
            self.load = self.engine.load();
            self.mark(nanos(now));
            let waiting = self.load.waiting + self.entering;
            self.level.load = Load { waiting, ..self.load };
        }
        if dropped && self.live.len() == 0 {
            // No step follows that would tell an observer that the blocks are free again.
            let report = StepReport { started: now, ended: now, ..StepReport::default() };
            let (time, binds, load) = (None, Limit::HostOverhead, self.load);
            journal.observer.step(&ObservedStep { replica, report: &report, time, binds, load });
        }
    }

    /// Writes down the end of a request. `outcome` says why, where it is not its own end.
    fn finish<O: Observer>(
        &mut self,
        replica: usize,
        id: SequenceId,
        now: Duration,
        outcome: Option<Outcome>,
        journal: &mut Journal<'_, O>,
    ) {
        let Some(live) = self.live.remove(id.0) else { return };
        let record = &mut journal.requests[live.index];
        record.outcome = outcome.unwrap_or(live.outcome);
        record.e2e = Some(now - record.arrived + live.way_out);
        let at = now + live.way_out;
        journal.news.push(News::ended(replica, live.index, live.sent, at, record.outcome));
        live.describe(record);
        let summary = RequestSummary {
            finish: match record.outcome {
                Outcome::Stop => FinishReason::Stop,
                Outcome::Length => FinishReason::Length,
                _ => FinishReason::Abort,
            },
            prompt_tokens: record.prompt_tokens,
            cached_tokens: record.cached_tokens,
            generated_tokens: record.generated_tokens,
            max_tokens: live.max_new_tokens as usize,
            preemptions: record.preemptions,
        };
        journal.observer.request(replica, &live.timeline, &summary);
    }

    fn count(&mut self, report: &StepReport, time: Option<StepTime>, binds: Limit) {
        let Some(time) = time else { return };
        self.report.steps += 1;
        self.report.busy += time.total;
        self.report.prefill_tokens += report.prefill_tokens as u64;
        self.report.decode_tokens += report.decode_tokens as u64;
        self.bound_by[binds as usize] += 1;
    }

    /// Writes down the level up to now.
    fn mark(&mut self, now: u64) {
        let Level { since, load } = self.level;
        if load.blocks_total > 0 {
            let used = load.blocks_total - load.blocks_free;
            self.report.kv_use.add(since, now, used as f64 / load.blocks_total as f64);
        }
        self.report.running.add(since, now, load.running as f64);
        self.report.waiting.add(since, now, load.waiting as f64);
        self.level.since = now;
    }
}

/// Nanoseconds, for 584 years.
pub(crate) fn nanos(time: Duration) -> u64 {
    time.as_secs() * 1_000_000_000 + u64::from(time.subsec_nanos())
}
