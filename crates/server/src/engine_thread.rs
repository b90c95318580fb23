//! The thread on which the engine steps: takes new sequences, drops abandoned ones, steps, tells the clients.
//!
//! It waits for nobody but its own inbox when idle. Whatever unwinds it, every answer it still holds ends: its
//! sender is dropped.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use serving::{
    Engine, EngineError, Load, Logprobs, Progress, ProgressKind, SamplingParams, Sequence,
    SequenceId, StepReport, TokenId,
};

use crate::answer::Answer;
use crate::clock::Clock;
use crate::telemetry::{Telemetry, panic_message};

/// How long to wait before asking again a scheduler that runs nothing although sequences wait.
const STALL_POLL: Duration = Duration::from_millis(5);

/// Polls in vain after which the log says so.
const STALL_POLLS_TO_WARN: u32 = 1000;

/// What HTTP asks of the engine.
pub(crate) enum Command {
    /// New sequences, the choices of one request.
    Add(Vec<NewSequence>),
    /// Look around: something was abandoned, or it is time to stop.
    Wake,
}

/// A sequence to run.
pub(crate) struct NewSequence {
    pub(crate) prompt: Vec<TokenId>,
    pub(crate) max_tokens: usize,
    pub(crate) params: SamplingParams,
    pub(crate) answer: Answer,
}

/// Wakes the engine thread.
#[derive(Clone)]
pub(crate) struct Waker(pub(crate) SyncSender<Command>);

impl Waker {
    /// A full inbox needs no wake-up: the engine looks around whenever it takes a command.
    pub(crate) fn wake(&self) {
        let _ = self.0.try_send(Command::Wake);
    }
}

/// Hands sequences to the engine. The inbox has room for every request that admission lets wait.
pub(crate) fn submit(
    inbox: &SyncSender<Command>,
    sequences: Vec<NewSequence>,
) -> Result<(), TrySendError<Command>> {
    inbox.try_send(Command::Add(sequences))
}

/// What the thread runs.
pub(crate) struct EngineThread {
    engine: Engine,
    inbox: Receiver<Command>,
    stop: Arc<AtomicBool>,
    clock: Clock,
    telemetry: Arc<Telemetry>,
    live: HashMap<SequenceId, Answer>,
    next_id: u64,
}

impl EngineThread {
    pub(crate) fn new(
        engine: Engine,
        inbox: Receiver<Command>,
        stop: Arc<AtomicBool>,
        clock: Clock,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self { engine, inbox, stop, clock, telemetry, live: HashMap::new(), next_id: 0 }
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// What made the engine fail. Every request it held has ended then.
    pub(crate) fn run(mut self) -> Result<(), String> {
        match catch_unwind(AssertUnwindSafe(|| self.steps())) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(format!("it panicked: {}", panic_message(panic.as_ref()))),
        }
    }

    fn steps(&mut self) -> Result<(), EngineError> {
        let clock = self.clock;
        let mut stalled = 0;
        while self.take_commands(stalled) {
            self.drop_abandoned();
            if self.live.is_empty() {
                continue;
            }
            match self.engine.step(&|| clock.now())? {
                Some(report) => {
                    stalled = 0;
                    self.dispatch(report);
                }
                None => {
                    stalled += 1;
                    if stalled == STALL_POLLS_TO_WARN {
                        let waiting = self.live.len();
                        tracing::warn!(waiting, "the scheduler runs nothing although these wait");
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes what came in; waits where there is nothing else to do. Returns whether to go on.
    fn take_commands(&mut self, stalled: u32) -> bool {
        let first = if self.live.is_empty() {
            self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else if stalled > 0 {
            self.inbox.recv_timeout(STALL_POLL)
        } else {
            Err(RecvTimeoutError::Timeout)
        };
        match first {
            Ok(command) => self.take(command),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
        while let Ok(command) = self.inbox.try_recv() {
            self.take(command);
        }
        !self.stop.load(Ordering::Acquire)
    }

    fn take(&mut self, command: Command) {
        let Command::Add(sequences) = command else { return };
        for new in sequences {
            let id = SequenceId(self.next_id);
            self.next_id += 1;
            self.live.insert(id, new.answer);
            self.engine.add(Sequence::new(id, new.prompt, new.max_tokens), &new.params);
        }
    }

    /// Forgets sequences whose clients are gone, so that their blocks serve the next step.
    fn drop_abandoned(&mut self) {
        let gone: Vec<SequenceId> = self
            .live
            .iter()
            .filter(|(_, answer)| answer.sender.is_abandoned())
            .map(|(&id, _)| id)
            .collect();
        for id in &gone {
            self.engine.remove(*id);
            if let Some(answer) = self.live.remove(id) {
                answer.sender.abort(self.clock.now());
            }
        }
        if !gone.is_empty() && self.live.is_empty() {
            self.report_idle();
        }
    }

    /// No step follows that would tell the recorder that the blocks are free again.
    fn report_idle(&self) {
        let now = self.clock.now();
        let report = StepReport { started: now, ended: now, ..StepReport::default() };
        self.telemetry.step(&report, &self.load());
    }

    /// Tells the clients what happened. Whoever is done gives up its blocks before the next step.
    fn dispatch(&mut self, mut report: StepReport) {
        let mut sampled: HashMap<SequenceId, Logprobs> = HashMap::new();
        for told in std::mem::take(&mut report.logprobs) {
            if let Some(answer) = self.live.get(&told.sequence) {
                answer.sender.prompt_logprobs(told.prompt);
            }
            sampled.extend(told.sampled.map(|logprobs| (told.sequence, logprobs)));
        }
        for progress in &report.progress {
            if self.tell(progress, &mut sampled) {
                self.engine.remove(progress.sequence);
                self.live.remove(&progress.sequence);
            }
        }
        self.telemetry.step(&report, &self.load());
    }

    /// Returns whether the sequence is done.
    fn tell(&mut self, progress: &Progress, sampled: &mut HashMap<SequenceId, Logprobs>) -> bool {
        let at = progress.at;
        let Some(answer) = self.live.get_mut(&progress.sequence) else { return false };
        match progress.kind {
            ProgressKind::Scheduled { cached_tokens } => answer.scheduled(at, cached_tokens),
            ProgressKind::Preempted => answer.sender.preempted(at),
            ProgressKind::PrefillDone => answer.sender.prefill_done(at),
            ProgressKind::Token(token) => {
                return answer.token(at, token, sampled.remove(&progress.sequence));
            }
        }
        false
    }

    fn load(&self) -> Load {
        self.engine.load()
    }
}
