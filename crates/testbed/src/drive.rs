//! Drives a scheduler step by step, without a model and without a clock, and checks every plan.
//!
//! What holds for every scheduler is checked here, in each step: the budget, the places, whose turn
//! it is, and that each chunk finds in the KV cache what attention would read there.

use std::collections::BTreeMap;
use std::time::Duration;

use serving::{
    Load, SampledToken, Scheduler, SchedulerLimits, Sequence, SequenceId, StepPlan, TokenId,
};

use crate::fake_model::FakeCache;
use crate::{expect, expect_eq, rules};

/// One sequence to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id. Jobs are added in the order of their ids.
    pub id: SequenceId,
    /// Its prompt; not empty.
    pub prompt: Vec<TokenId>,
    /// Tokens after which it ends.
    pub answer_len: usize,
}

impl Job {
    /// A job.
    #[must_use]
    pub fn new(id: u64, prompt: Vec<TokenId>, answer_len: usize) -> Self {
        Self { id: SequenceId(id), prompt, answer_len }
    }

    /// A job whose prompt shares no token with that of any other id.
    #[must_use]
    pub fn distinct(id: u64, prompt_len: usize, answer_len: usize) -> Self {
        let first = 100_000 + 10_000 * id as TokenId;
        Self::new(id, (first..).take(prompt_len).collect(), answer_len)
    }
}

/// A sequence as the driver knows it: the truth that plans are held against.
#[derive(Debug, Clone)]
pub(crate) struct Tracked {
    pub(crate) tokens: Vec<TokenId>,
    prompt_len: usize,
    answer_len: usize,
    /// Tokens in the cache; `None` while it holds no place.
    pub(crate) computed: Option<usize>,
    /// Whether it has sampled since it got its place: from then on it decodes.
    prefilled: bool,
}

/// A scheduler under test.
#[derive(Debug)]
pub struct Driver<S> {
    scheduler: S,
    limits: SchedulerLimits,
    block_size: usize,
    cache: FakeCache,
    tracked: BTreeMap<SequenceId, Tracked>,
    answers: BTreeMap<SequenceId, Vec<TokenId>>,
    steps: usize,
    idle_steps: usize,
    preemptions: usize,
    prefill_tokens: usize,
}

impl<S: Scheduler> Driver<S> {
    /// Drives `scheduler`, which was built with these limits and this block size.
    #[must_use]
    pub fn new(scheduler: S, limits: SchedulerLimits, block_size: usize) -> Self {
        Self {
            scheduler,
            limits,
            block_size,
            cache: FakeCache::new(block_size),
            tracked: BTreeMap::new(),
            answers: BTreeMap::new(),
            steps: 0,
            idle_steps: 0,
            preemptions: 0,
            prefill_tokens: 0,
        }
    }

    /// Hands a job to the scheduler.
    pub fn add(&mut self, job: &Job) {
        let tokens = job.prompt.clone();
        self.scheduler.add(Sequence::new(job.id, tokens.clone(), job.answer_len));
        let tracked = Tracked {
            tokens,
            prompt_len: job.prompt.len(),
            answer_len: job.answer_len,
            computed: None,
            prefilled: false,
        };
        self.tracked.insert(job.id, tracked);
    }

    /// The client of this job goes away.
    #[track_caller]
    pub fn abort(&mut self, id: SequenceId) {
        expect_eq(format!("{id} is aborted: remove() says it was known"), true, self.remove(id));
    }

    fn remove(&mut self, id: SequenceId) -> bool {
        self.tracked.remove(&id);
        self.scheduler.remove(id)
    }

    /// One step: plan, check, run, commit, and remove what is done.
    #[track_caller]
    pub fn step(&mut self) -> StepPlan {
        let now = Duration::from_millis(self.steps as u64);
        let plan = self.scheduler.plan(now);
        for id in &plan.preempted {
            let victim = self.tracked.get_mut(id);
            let place = victim.and_then(|sequence| {
                sequence.prefilled = false;
                sequence.computed.take()
            });
            expect(
                format!("step {}: the plan preempts {id}", self.steps),
                place.is_some(),
                "a sequence that holds a place",
                "one that holds none",
            );
            self.preemptions += 1;
        }
        self.check_progress(&plan);
        let context = format!("step {}", self.steps);
        rules::check_plan(
            &context,
            &plan,
            &self.tracked,
            self.limits,
            self.block_size,
            self.load(),
        );
        let sampled = self.run(&context, &plan);
        self.scheduler.commit(&plan, &sampled, now);
        self.take(&sampled);
        self.steps += 1;
        plan
    }

    /// A scheduler with work must run something; only a step that preempts may run nothing.
    #[track_caller]
    fn check_progress(&mut self, plan: &StepPlan) {
        let idle = plan.is_empty() && !self.tracked.is_empty();
        self.idle_steps = if idle { self.idle_steps + 1 } else { 0 };
        let allowed = usize::from(!plan.preempted.is_empty());
        let saw = format!("an empty plan, with {} sequences unfinished", self.tracked.len());
        let context = format!("step {}", self.steps);
        expect(context, self.idle_steps <= allowed, "a plan that runs something", saw);
    }

    /// Runs all chunks on the fake model.
    #[track_caller]
    fn run(&mut self, context: &str, plan: &StepPlan) -> Vec<SampledToken> {
        let mut sampled = Vec::new();
        for chunk in &plan.chunks {
            let Some(sequence) = self.tracked.get_mut(&chunk.sequence) else { continue };
            let context = format!("{context}: {}", chunk.sequence);
            let token = self.cache.run(&context, chunk, &sequence.tokens);
            sequence.computed = Some(chunk.end());
            if !sequence.prefilled {
                self.prefill_tokens += chunk.tokens.len();
            }
            sequence.prefilled |= chunk.samples;
            if chunk.samples {
                sampled.push(SampledToken { sequence: chunk.sequence, token });
            }
        }
        sampled
    }

    /// Appends the sampled tokens and removes the sequences that are done.
    #[track_caller]
    fn take(&mut self, sampled: &[SampledToken]) {
        for sample in sampled {
            let Some(sequence) = self.tracked.get_mut(&sample.sequence) else { continue };
            sequence.tokens.push(sample.token);
            let generated = &sequence.tokens[sequence.prompt_len..];
            if generated.len() == sequence.answer_len {
                self.answers.insert(sample.sequence, generated.to_vec());
                let known = self.remove(sample.sequence);
                expect_eq(
                    format!("{} is done: remove() says it was known", sample.sequence),
                    true,
                    known,
                );
            }
        }
    }

    /// Steps until all jobs are done, then expects an empty scheduler. Returns the steps in all.
    ///
    /// A run that takes many times its tokens is taken for a livelock.
    #[track_caller]
    pub fn run_to_end(&mut self) -> usize {
        let tokens: usize = self.tracked.values().map(|job| job.prompt_len + job.answer_len).sum();
        let most = self.steps + 100 + 20 * tokens;
        while !self.tracked.is_empty() {
            let saw = format!("{} jobs still unfinished", self.tracked.len());
            let all_done = format!("all jobs done within {most} steps");
            expect("the scheduler keeps running", self.steps < most, all_done, saw);
            self.step();
        }
        let load = self.load();
        let idle = Load { running: 0, waiting: 0, blocks_free: load.blocks_total, ..load };
        expect_eq("all jobs are done: nobody runs or waits, every block is free", idle, load);
        self.steps
    }

    /// The scheduler's own figures.
    #[must_use]
    pub fn load(&self) -> Load {
        self.scheduler.load()
    }

    /// The scheduler, to look at.
    #[must_use]
    pub fn scheduler(&self) -> &S {
        &self.scheduler
    }

    /// Whether this job was added and is neither done nor aborted.
    #[must_use]
    pub fn knows(&self, id: SequenceId) -> bool {
        self.tracked.contains_key(&id)
    }

    /// The answers of the jobs that are done.
    #[must_use]
    pub fn answers(&self) -> &BTreeMap<SequenceId, Vec<TokenId>> {
        &self.answers
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Preemptions so far.
    #[must_use]
    pub fn preemptions(&self) -> usize {
        self.preemptions
    }

    /// Tokens fed by prompts, and by recomputing after a preemption.
    #[must_use]
    pub fn prefill_tokens(&self) -> usize {
        self.prefill_tokens
    }
}

#[cfg(test)]
mod tests {
    use serving::baseline::{ContiguousPool, StaticScheduler};

    use super::*;
    use crate::answer;

    /// The baseline, with one plan changed by `spoil`.
    struct Spoiled<F> {
        inner: StaticScheduler<ContiguousPool>,
        spoil: F,
        plans: usize,
    }

    impl<F: Fn(usize, &mut StepPlan) + Send> Scheduler for Spoiled<F> {
        fn add(&mut self, sequence: Sequence) {
            self.inner.add(sequence);
        }
        fn remove(&mut self, id: SequenceId) -> bool {
            self.inner.remove(id)
        }
        fn plan(&mut self, now: Duration) -> StepPlan {
            let mut plan = self.inner.plan(now);
            (self.spoil)(self.plans, &mut plan);
            self.plans += 1;
            plan
        }
        fn commit(&mut self, plan: &StepPlan, sampled: &[SampledToken], now: Duration) {
            self.inner.commit(plan, sampled, now);
        }
        fn load(&self) -> Load {
            self.inner.load()
        }
    }

    fn driver<F: Fn(usize, &mut StepPlan) + Send>(spoil: F) -> Driver<Spoiled<F>> {
        let limits = SchedulerLimits::try_new(2, 6).unwrap();
        let inner = StaticScheduler::new(limits, ContiguousPool::new(16, 4));
        let mut driver = Driver::new(Spoiled { inner, spoil, plans: 0 }, limits, 4);
        for id in 0..4 {
            driver.add(&Job::distinct(id, 5, 3 + id as usize));
        }
        driver
    }

    fn complaint(spoil: impl Fn(usize, &mut StepPlan) + Send + std::panic::UnwindSafe) -> String {
        let run = std::panic::AssertUnwindSafe(|| driver(spoil).run_to_end());
        let panic = std::panic::catch_unwind(run).expect_err("the plan was spoiled");
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    #[test]
    fn a_good_scheduler_gives_the_answers_of_each_job_alone() {
        let mut driver = driver(|_, _| ());
        driver.run_to_end();
        assert_eq!(driver.prefill_tokens(), 4 * 5);
        for id in 0..4 {
            let job = Job::distinct(id, 5, 3 + id as usize);
            assert_eq!(driver.answers()[&job.id], answer(&job.prompt, job.answer_len));
        }
    }

    #[test]
    fn a_bad_plan_is_told_apart_by_what_is_wrong_with_it() {
        type Spoil = fn(usize, &mut StepPlan);
        let cases: [(&str, Spoil); 8] = [
            ("a second one", |_, plan| plan.chunks.push(plan.chunks[0].clone())),
            ("a plan that runs something", |_, plan| plan.chunks.clear()),
            ("its chunk starts at", |step, plan| plan.chunks[0].start += step),
            ("samples", |_, plan| plan.chunks[0].samples = false),
            ("at most 6 tokens", |_, plan| plan.chunks[0].tokens.extend([1; 6])),
            ("5 slots or more", |_, plan| plan.chunks[0].block_table.truncate(1)),
            ("alone to hold", |_, plan| {
                let table = plan.chunks[0].block_table.clone();
                plan.chunks.last_mut().unwrap().block_table = table;
            }),
            ("first come, first served", |_, plan| {
                plan.chunks.remove(0);
            }),
        ];
        for (expected, spoil) in cases {
            let text = complaint(spoil);
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn blocks_that_hold_another_context_are_noticed() {
        let text = complaint(|step, plan| {
            if step == 3 {
                plan.chunks[0].block_table.swap(0, 1);
            }
        });
        assert!(text.contains("reads the keys and values of its token 0"), "{text}");
    }
}
