//! Checks of task 1.5, chunked prefill: the controller alone, on a device that is a line. What it
//! does to an engine under load is in `load_steps`.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serving::baseline::ContiguousPool;
use serving::{Demand, SchedulerLimits, SequenceId, StepSample, TokenBudget};
use testbed::{Driver, Job, answer, expect, expect_eq, note, rng};

use crate::chunked::{FLOOR, MARGIN, PATIENCE};
use crate::{AdaptiveBudget, ContinuousScheduler};

const SLO: Duration = Duration::from_millis(40);
const LIMIT: usize = 2048;

/// What a step takes: so much for its decodes, and so much more for each prompt token.
#[derive(Debug, Clone, Copy)]
struct Line {
    decodes: Duration,
    prompt_token: Duration,
}

impl Line {
    /// A device on which 60 to 800 prompt tokens fit into the SLO beside the decodes.
    fn drawn(rng: &mut StdRng) -> Self {
        let decodes = SLO.mul_f64(rng.random_range(0.2..0.5));
        let fit = rng.random_range(60.0..800.0);
        let prompt_token = (SLO.mul_f64(MARGIN) - decodes).div_f64(fit);
        Self { decodes, prompt_token }
    }

    fn step(self, prefill_tokens: usize, decode_tokens: usize) -> StepSample {
        let elapsed = self.decodes + self.prompt_token * prefill_tokens as u32;
        StepSample { prefill_tokens, decode_tokens, elapsed }
    }

    /// Prompt tokens that bring a step to `MARGIN` of the SLO.
    fn fitting(self) -> f64 {
        let spare = MARGIN * SLO.as_secs_f64() - self.decodes.as_secs_f64();
        spare / self.prompt_token.as_secs_f64()
    }
}

const fn demand(decodes: usize, prefill_tokens: usize) -> Demand {
    Demand { decodes, context_tokens: 100 * decodes, prefill_tokens, limit: LIMIT }
}

/// Always enough prompts to fill any step.
const BUSY: Demand = demand(8, LIMIT);

/// Asks for a budget and runs the step that spends all of it; returns its prompt tokens.
#[track_caller]
fn spend(budget: &mut AdaptiveBudget, demand: &Demand, device: Line) -> usize {
    let prefill = prompt_tokens(budget, demand).min(demand.prefill_tokens);
    budget.observe(&device.step(prefill, demand.decodes));
    prefill
}

/// What is left of the next budget when the decodes have theirs.
#[track_caller]
fn prompt_tokens(budget: &mut AdaptiveBudget, demand: &Demand) -> usize {
    let tokens = budget.next(demand);
    let (least, most) = (demand.decodes, demand.limit);
    let holds = (least..=most).contains(&tokens);
    let expected = format!("{least} (one token for each decode) to {most} (the limit)");
    expect(format!("{demand:?}: the budget"), holds, expected, tokens);
    tokens - demand.decodes
}

/// A controller that has served this device for a while.
fn settled(device: Line) -> AdaptiveBudget {
    let mut budget = AdaptiveBudget::new(SLO);
    (0..100).for_each(|_| _ = spend(&mut budget, &BUSY, device));
    budget
}

#[test]
fn task_1_5_spends_the_whole_limit_where_nobody_decodes() {
    let mut budget = AdaptiveBudget::new(SLO);
    for _ in 0..3 {
        expect_eq("no decodes: the budget", LIMIT, budget.next(&demand(0, 5000)));
        let elapsed = SLO * 5;
        budget.observe(&StepSample { prefill_tokens: LIMIT, decode_tokens: 0, elapsed });
    }
    // A step without decodes made nobody wait for a next token: it has taught nothing.
    let context = "8 decodes, after 3 steps without decodes: prompt tokens";
    expect_eq(context, 0, prompt_tokens(&mut budget, &BUSY));
    let elapsed = SLO / 4;
    budget.observe(&StepSample { prefill_tokens: 0, decode_tokens: 8, elapsed });
    let context = "and after one step with 8 decodes only: prompt tokens";
    expect_eq(context, FLOOR, prompt_tokens(&mut budget, &BUSY));
}

#[test]
fn task_1_5_never_exceeds_the_limit() {
    // 400 and more prompt tokens would fit into the SLO.
    let device = Line { decodes: SLO / 4, prompt_token: SLO / 1000 };
    let budget = settled(device);
    for limit in [1, 8, 9, 100, 300] {
        let decodes = limit.min(8);
        let tight = Demand { limit, ..demand(decodes, limit) };
        let prefill = spend(&mut budget.clone(), &tight, device);
        let context = format!("limit {limit}, {decodes} decodes: prompt tokens");
        expect_eq(context, limit - decodes, prefill);
    }
}

#[test]
fn task_1_5_tries_a_little_before_it_feeds_much() {
    let device = Line { decodes: SLO / 4, prompt_token: Duration::from_micros(50) };
    let mut budget = AdaptiveBudget::new(SLO);
    let first: Vec<usize> = (0..4).map(|_| spend(&mut budget, &BUSY, device)).collect();
    let expected = vec![0, FLOOR, 2 * FLOOR];
    expect_eq("prompt tokens of the first 3 steps with decodes", expected, first[..3].to_vec());
    expect("the fourth step", first[3] > 2 * FLOOR, "more prompt tokens again", first[3]);
}

#[test]
fn task_1_5_reads_the_budget_off_the_line() {
    let ms = Duration::from_millis;
    let mut budget = AdaptiveBudget::new(ms(40));
    budget.observe(&StepSample { prefill_tokens: 0, decode_tokens: 8, elapsed: ms(12) });
    budget.observe(&StepSample { prefill_tokens: 100, decode_tokens: 8, elapsed: ms(22) });
    // 10 ms for 100 tokens; 36 - 12 = 24 ms are to be had, but twice 100 tokens come first.
    let context = "decodes take 12 ms, with 100 prompt tokens 22 ms; SLO 40 ms: prompt tokens";
    expect_eq(context, 200, prompt_tokens(&mut budget, &BUSY));
    budget.observe(&StepSample { prefill_tokens: 200, decode_tokens: 8, elapsed: ms(32) });
    let next = prompt_tokens(&mut budget, &BUSY);
    let context = "and with 200 prompt tokens 32 ms";
    expect(context, (238..=242).contains(&next), "about 240 prompt tokens (24 ms)", next);
}

#[test]
fn task_1_5_takes_a_slope_below_zero_for_noise() {
    let ms = Duration::from_millis;
    let mut budget = AdaptiveBudget::new(ms(40));
    budget.observe(&StepSample { prefill_tokens: 0, decode_tokens: 8, elapsed: ms(12) });
    budget.observe(&StepSample { prefill_tokens: 50, decode_tokens: 8, elapsed: ms(11) });
    let context = "decodes take 12 ms, with 50 prompt tokens 11 ms: prompt tokens";
    expect_eq(context, 100, prompt_tokens(&mut budget, &BUSY));
}

#[test]
fn task_1_5_finds_the_budget_of_any_device() {
    let mut rng = rng("devices");
    for case in 0..40 {
        let device = Line::drawn(&mut rng);
        let mut budget = AdaptiveBudget::new(SLO);
        let mut late = 0;
        for step in 0..80 {
            let prefill = spend(&mut budget, &BUSY, device);
            late += usize::from(device.step(prefill, 8).elapsed > SLO);
            let part = prefill as f64 / device.fitting();
            if step >= 40 {
                let context = format!("device {case}, {device:?}, step {step}: prompt tokens");
                let expected = format!("about {:.0}", device.fitting());
                expect(context, (0.9..=1.02).contains(&part), expected, prefill);
            }
        }
        expect_eq(format!("device {case}, {device:?}: steps over the SLO, of 80"), 0, late);
    }
}

#[test]
fn task_1_5_follows_a_load_that_grows_and_shrinks() {
    let mut rng = rng("changing loads");
    for case in 0..20 {
        let before = Line::drawn(&mut rng);
        // Only the decodes change: twice as many sequences, longer contexts, or fewer and shorter.
        let spare = before.fitting();
        for factor in [1.5, 0.5] {
            let device = Line { decodes: before.decodes.mul_f64(factor), ..before };
            let mut budget = settled(before);
            let steps: Vec<usize> = (0..60).map(|_| spend(&mut budget, &BUSY, device)).collect();
            let late = steps.iter().filter(|tokens| device.step(**tokens, 8).elapsed > SLO);
            let context = format!("device {case}, decodes take {factor} times as long as before");
            let count = late.count();
            expect(&context, count <= 15, "at most 15 of the next 60 steps over the SLO", count);
            let last = steps[59] as f64 / device.fitting();
            let saw = format!("{} of {:.0} (before: {spare:.0})", steps[59], device.fitting());
            let holds = (0.85..=1.1).contains(&last);
            expect(format!("{context}: prompt tokens after 60 steps"), holds, "what fits", saw);
        }
    }
}

#[test]
fn task_1_5_learns_little_from_small_chunks() {
    // Short prompts now and then, on a device where a few tokens more cost nothing: typical of a GPU.
    let device = Line { decodes: SLO / 4, prompt_token: SLO / 1000 };
    let mut budget = settled(device);
    let before = prompt_tokens(&mut budget, &BUSY);
    for _ in 0..20 {
        let pending = demand(8, 4);
        budget.next(&pending);
        let elapsed = device.decodes + Duration::from_micros(1);
        budget.observe(&StepSample { prefill_tokens: 4, decode_tokens: 8, elapsed });
    }
    let after = prompt_tokens(&mut budget, &BUSY);
    let context =
        format!("{before} prompt tokens fit; then 20 prompts of 4 tokens that took no time");
    let holds = after * 3 <= before * 4 && after * 4 >= before * 3;
    expect(context, holds, "about as many as before", after);
}

#[test]
fn task_1_5_is_not_upset_by_a_single_stall() {
    let mut rng = rng("stalls of a device");
    for case in 0..20 {
        let device = Line::drawn(&mut rng);
        for decodes_only in [true, false] {
            let mut budget = settled(device);
            let before = prompt_tokens(&mut budget, &BUSY);
            let prefill = if decodes_only { 0 } else { before };
            let step = device.step(prefill, 8);
            budget.observe(&StepSample { elapsed: step.elapsed * 10, ..step });
            let after: Vec<usize> = (0..25).map(|_| spend(&mut budget, &BUSY, device)).collect();
            let what = if decodes_only { "of decodes" } else { "with a chunk" };
            let context =
                format!("device {case}, {device:?}: one step {what} took 10 times as long");
            let half = before / 2;
            let saw = format!("{} of {before}", after[0]);
            expect(&context, after[0] >= half, "half of the prompt tokens or more", saw);
            let saw = format!("{} of {before} after 25 steps", after[24]);
            let holds = after[24] as f64 >= 0.9 * before as f64;
            expect(&context, holds, "nearly all of them again", saw);
        }
    }
}

#[test]
fn task_1_5_never_starves_prompts() {
    // The decodes alone take longer than the SLO: every step is late, with prompts or without.
    let device = Line { decodes: SLO * 2, prompt_token: SLO / 100 };
    let mut budget = AdaptiveBudget::new(SLO);
    let steps: Vec<usize> =
        (0..5 * (PATIENCE + 1)).map(|_| spend(&mut budget, &BUSY, device)).collect();
    let fed: Vec<usize> = (0..steps.len()).filter(|step| steps[*step] > 0).collect();
    let every: Vec<usize> = (0..5).map(|turn| PATIENCE + turn * (PATIENCE + 1)).collect();
    expect_eq("decodes alone miss the SLO: steps that feed prompts", every, fed.clone());
    let most = fed.iter().map(|step| steps[*step]).max();
    expect_eq("and how many tokens each", Some(FLOOR), most);
}

#[test]
fn task_1_5_counts_only_steps_in_which_prompts_waited() {
    let device = Line { decodes: SLO * 2, prompt_token: SLO / 100 };
    let mut budget = AdaptiveBudget::new(SLO);
    let idle = demand(8, 0);
    (0..3 * PATIENCE).for_each(|_| _ = spend(&mut budget, &idle, device));
    let fed: Vec<usize> = (0..=PATIENCE).map(|_| spend(&mut budget, &BUSY, device)).collect();
    let mut expected = vec![0; PATIENCE];
    expected.push(FLOOR);
    expect_eq("prompts come after a time without any: what they get", expected, fed);
}

#[test]
fn task_1_5_finishes_a_prompt_that_fits() {
    // 8 tokens of room: too little for a chunk, but enough for a prompt of 5.
    let token = Duration::from_micros(100);
    let device = Line { decodes: SLO.mul_f64(MARGIN) - token * 8, prompt_token: token };
    let mut budget = settled(device);
    // What a step teaches beside: nothing new.
    spend(&mut budget, &demand(8, 0), device);
    let short = prompt_tokens(&mut budget, &demand(8, 5));
    expect("room for about 8, and 5 are pending", short >= 5, "at least 5 prompt tokens", short);
}

/// A controller on a device of the check's own, whatever the clock of the driver says.
#[derive(Debug)]
struct OnDevice {
    budget: AdaptiveBudget,
    device: Line,
}

impl TokenBudget for OnDevice {
    fn next(&mut self, demand: &Demand) -> usize {
        self.budget.next(demand)
    }

    fn observe(&mut self, step: &StepSample) {
        self.budget.observe(&self.device.step(step.prefill_tokens, step.decode_tokens));
    }
}

#[test]
fn task_1_5_never_skips_a_decode_and_finishes_every_prompt() {
    let mut rng = rng("jobs with a controller");
    let mut budgets = Vec::new();
    for case in 0..12 {
        let places = rng.random_range(2..8);
        let limits = SchedulerLimits::try_new(places, places + rng.random_range(0..200));
        let limits = limits.expect("limits that work");
        let decodes = SLO.mul_f64(rng.random_range(0.2..1.4));
        let device = Line { decodes, prompt_token: SLO / rng.random_range(20..400) };
        let budget = Box::new(OnDevice { budget: AdaptiveBudget::new(SLO), device });
        let scheduler = ContinuousScheduler::new(limits, ContiguousPool::new(400, 4));
        let mut driver = Driver::new(scheduler.with_budget(budget), limits, 4);
        let jobs: Vec<Job> = (0..16)
            .map(|id| Job::distinct(id, rng.random_range(1..120), rng.random_range(1..40)))
            .collect();
        jobs.iter().for_each(|job| driver.add(job));
        let mut decoding: Vec<SequenceId> = Vec::new();
        while driver.answers().len() < jobs.len() {
            let plan = driver.step();
            let context = format!("case {case} ({limits:?}), step {}", driver.steps() - 1);
            for id in &decoding {
                let runs = plan.chunk(*id).is_some();
                expect(&context, runs, format!("{id}, which decodes, to run"), "it stalled");
            }
            budgets.push(plan.num_tokens());
            let sampled = plan.chunks.iter().filter(|chunk| chunk.samples);
            decoding.extend(sampled.map(|chunk| chunk.sequence));
            decoding.sort_unstable();
            decoding.dedup();
            decoding.retain(|id| !driver.answers().contains_key(id));
        }
        for job in &jobs {
            let alone = answer(&job.prompt, job.answer_len);
            let context = format!("case {case}, {}: its answer", job.id);
            expect_eq(context, Some(&alone), driver.answers().get(&job.id));
        }
    }
    let (least, most) = (budgets.iter().min(), budgets.iter().max());
    note(format!("steps fed {} to {} tokens", least.unwrap_or(&0), most.unwrap_or(&0)));
}
