//! Checks of task 1.3, from static to continuous batching. All of them on contiguous memory.

use rand::Rng;
use rand::rngs::StdRng;
use serving::baseline::{ContiguousPool, StaticScheduler};
use serving::{Scheduler, SchedulerLimits, SequenceId, StepPlan};
use testbed::{Driver, Job, answer, expect, expect_eq, note, rng};

use crate::ContinuousScheduler;

const BLOCK_SIZE: usize = 4;

fn limits(max_num_seqs: usize, max_num_batched_tokens: usize) -> SchedulerLimits {
    SchedulerLimits::try_new(max_num_seqs, max_num_batched_tokens).expect("limits that work")
}

fn continuous(
    limits: SchedulerLimits,
    blocks: usize,
) -> Driver<ContinuousScheduler<ContiguousPool>> {
    let pool = ContiguousPool::new(blocks, BLOCK_SIZE);
    Driver::new(ContinuousScheduler::new(limits, pool), limits, BLOCK_SIZE)
}

/// Who runs in a plan, and how many tokens each.
fn shape(plan: &StepPlan) -> Vec<(u64, usize)> {
    plan.chunks.iter().map(|chunk| (chunk.sequence.0, chunk.tokens.len())).collect()
}

#[test]
fn task_1_3_fills_a_freed_place_in_the_next_step() {
    let mut driver = continuous(limits(2, 16), 64);
    for (id, answer_len) in [(0, 2), (1, 6), (2, 3)] {
        driver.add(&Job::distinct(id, 3, answer_len));
    }
    expect_eq("2 places, 3 jobs: step 0", vec![(0, 3), (1, 3)], shape(&driver.step()));
    expect_eq("step 1, in which job 0 ends", vec![(0, 1), (1, 1)], shape(&driver.step()));
    expect_eq("step 2, with a place free", vec![(1, 1), (2, 3)], shape(&driver.step()));
    driver.run_to_end();
}

#[test]
fn task_1_3_cuts_a_long_prompt_at_the_token_budget() {
    let mut driver = continuous(limits(4, 8), 64);
    driver.add(&Job::distinct(0, 20, 2));
    let steps: Vec<(usize, bool)> = (0..4)
        .map(|_| driver.step())
        .map(|plan| (plan.num_tokens(), plan.chunks[0].samples))
        .collect();
    let expected = vec![(8, false), (8, false), (4, true), (1, true)];
    expect_eq("20 prompt tokens, budget 8: tokens fed, and whether it samples", expected, steps);
}

#[test]
fn task_1_3_runs_decodes_before_prompts() {
    let mut driver = continuous(limits(4, 8), 64);
    driver.add(&Job::distinct(0, 3, 9));
    driver.add(&Job::distinct(1, 3, 9));
    driver.step();
    driver.add(&Job::distinct(2, 20, 1));
    for (step, rest) in [(1, 6), (2, 6), (3, 6), (4, 2)] {
        let context = format!("budget 8, two decodes beside a prompt of 20: step {step}");
        expect_eq(context, vec![(0, 1), (1, 1), (2, rest)], shape(&driver.step()));
    }
    driver.run_to_end();
}

#[test]
fn task_1_3_spends_the_whole_budget() {
    let mut driver = continuous(limits(4, 10), 64);
    for id in 0..4 {
        driver.add(&Job::distinct(id, 4, 3));
    }
    let context = "budget 10, four prompts of 4";
    let first = vec![(0, 4), (1, 4), (2, 2)];
    expect_eq(format!("{context}: step 0"), first, shape(&driver.step()));
    let second = vec![(0, 1), (1, 1), (2, 2), (3, 4)];
    expect_eq(format!("{context}: step 1"), second, shape(&driver.step()));
    driver.run_to_end();
}

#[test]
fn task_1_3_lets_nobody_overtake() {
    // 8 blocks of 4. Job 0 holds 4, job 1 would need 6, job 2 only 1.
    let mut driver = continuous(limits(4, 32), 8);
    driver.add(&Job::distinct(0, 4, 12));
    driver.add(&Job::distinct(1, 4, 20));
    driver.add(&Job::distinct(2, 2, 2));
    expect_eq("job 1 does not fit yet: step 0", vec![(0, 4)], shape(&driver.step()));
    for step in 1..12 {
        expect_eq(format!("job 1 still waits: step {step}"), vec![(0, 1)], shape(&driver.step()));
    }
    expect_eq("job 0 is done: step 12", vec![(1, 4), (2, 2)], shape(&driver.step()));
    driver.run_to_end();
}

#[test]
fn task_1_3_never_stalls_a_decode() {
    let mut rng = rng("stalls");
    let limits = limits(6, 12);
    let mut driver = continuous(limits, 400);
    let jobs = random_jobs(&mut rng, 30, 60);
    jobs.iter().for_each(|job| driver.add(job));
    let mut decoding: Vec<SequenceId> = Vec::new();
    while driver.answers().len() < jobs.len() {
        let plan = driver.step();
        let context = format!("step {}", driver.steps() - 1);
        for id in decoding.iter().filter(|id| !driver.answers().contains_key(id)) {
            let runs = plan.chunk(*id).is_some();
            expect(&context, runs, format!("{id}, which decodes, to run"), "it stalled");
        }
        decoding
            .extend(plan.chunks.iter().filter(|chunk| chunk.samples).map(|chunk| chunk.sequence));
        decoding.retain(|id| !driver.answers().contains_key(id));
    }
}

/// Jobs with short and long prompts and answers.
fn random_jobs(rng: &mut StdRng, count: u64, longest: usize) -> Vec<Job> {
    (0..count)
        .map(|id| Job::distinct(id, rng.random_range(1..=longest), rng.random_range(1..=longest)))
        .collect()
}

#[test]
fn task_1_3_gives_every_job_the_answer_it_gets_alone() {
    let mut rng = rng("random workloads");
    for case in 0..20 {
        let places = rng.random_range(1..6);
        let limits = limits(places, rng.random_range(places..places + 30));
        let mut driver = continuous(limits, rng.random_range(20..100));
        let jobs = random_jobs(&mut rng, 12, 40);
        for job in &jobs {
            driver.add(job);
            (0..rng.random_range(0..4)).for_each(|_| drop(driver.step()));
        }
        driver.run_to_end();
        for job in &jobs {
            let alone = answer(&job.prompt, job.answer_len);
            let context = format!("case {case} ({limits:?}), {}: its answer", job.id);
            expect_eq(context, Some(&alone), driver.answers().get(&job.id));
        }
    }
}

#[test]
fn task_1_3_survives_clients_that_leave() {
    let mut rng = rng("aborts");
    let mut driver = continuous(limits(4, 16), 60);
    let jobs = random_jobs(&mut rng, 24, 30);
    for job in &jobs {
        driver.add(job);
        driver.step();
        let id = SequenceId(rng.random_range(0..=job.id.0));
        let load = driver.load();
        let unfinished = !driver.answers().contains_key(&id);
        if unfinished && driver.knows(id) {
            driver.abort(id);
            let left = load.running + load.waiting - 1;
            let after = driver.load();
            expect_eq(format!("{id} left: the others"), left, after.running + after.waiting);
        }
    }
    driver.run_to_end();
}

#[test]
fn task_1_3_beats_static_batching_on_mixed_lengths() {
    let mut rng = rng("mixed lengths");
    let limits = limits(4, 64);
    // One long answer among three short ones: the case that static batching is worst at.
    let jobs: Vec<Job> = (0..32)
        .map(|id| {
            let short = id % 4 != 0;
            let answer_len = if short { rng.random_range(2..6) } else { rng.random_range(30..50) };
            Job::distinct(id, rng.random_range(4..12), answer_len)
        })
        .collect();
    let baseline = StaticScheduler::new(limits, ContiguousPool::new(256, BLOCK_SIZE));
    let static_steps = steps(Driver::new(baseline, limits, BLOCK_SIZE), &jobs);
    let steps = steps(continuous(limits, 256), &jobs);
    let saw = format!("{steps} steps against {static_steps}");
    note(format!("mixed lengths, 4 places: {saw} of static batching"));
    let context = "32 jobs, every fourth one long, 4 places";
    expect(context, steps * 10 <= static_steps * 6, "at most 60 % of static batching's steps", saw);
}

fn steps<S: Scheduler>(mut driver: Driver<S>, jobs: &[Job]) -> usize {
    jobs.iter().for_each(|job| driver.add(job));
    driver.run_to_end()
}
