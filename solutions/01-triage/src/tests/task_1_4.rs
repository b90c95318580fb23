//! Checks of task 1.4, paged KV: the pool alone, then under the scheduler.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use rand::Rng;
use serving::{
    BlockId, BlockPool, OutOfBlocks, SchedulerLimits, Sequence, SequenceId, StepPlan, TokenId,
};
use testbed::{Driver, Job, answer, expect, expect_eq, rng};

use crate::preemption::preempt_last;
use crate::{ContinuousScheduler, PagedPool};

const BLOCK_SIZE: usize = 4;

const A: SequenceId = SequenceId(1);
const B: SequenceId = SequenceId(2);
const C: SequenceId = SequenceId(3);

fn tokens(range: std::ops::Range<u32>) -> Vec<TokenId> {
    range.collect()
}

/// Admits, computes and publishes a sequence, as a scheduler does it. Returns the tokens that hit.
#[track_caller]
fn compute(pool: &mut PagedPool, id: SequenceId, tokens: &[TokenId]) -> usize {
    let cached = pool.admit(id, tokens, tokens.len() + 8);
    let done = cached.and_then(|_| pool.allocate(id, tokens.len()));
    expect_eq(format!("{id} of {} tokens gets its blocks", tokens.len()), Ok(()), done);
    pool.publish(id, tokens);
    cached.unwrap_or_default()
}

#[test]
fn task_1_4_finds_a_prefix_that_runs() {
    let mut pool = PagedPool::new(8, BLOCK_SIZE);
    compute(&mut pool, A, &tokens(0..10));
    let longer = [tokens(0..8), tokens(50..53)].concat();
    expect_eq(
        "10 tokens in blocks of 4, 8 of them shared: hits",
        8,
        compute(&mut pool, B, &longer),
    );
    let (first, second) = (pool.block_table(A).to_vec(), pool.block_table(B).to_vec());
    expect_eq("the first two blocks of both", &first[..2], &second[..2]);
    expect("the third block", first[2] != second[2], "one each", format!("{} twice", first[2]));
    expect_eq("references to the first block", 2, pool.references(first[0]));
    expect_eq("8 blocks, 4 in use: free", 4, pool.num_free());
    let stats = pool.stats();
    expect_eq(
        "10 and 11 tokens admitted: queries, hits",
        (21, 8),
        (stats.prefix_queries, stats.prefix_hits),
    );
}

#[test]
fn task_1_4_leaves_the_last_token_to_compute() {
    let mut pool = PagedPool::new(8, BLOCK_SIZE);
    compute(&mut pool, A, &tokens(0..8));
    expect_eq("the same 8 tokens again: hits", 4, compute(&mut pool, B, &tokens(0..8)));
    expect_eq("9 tokens: hits", 8, compute(&mut pool, C, &tokens(0..9)));
}

#[test]
fn task_1_4_tells_equal_blocks_after_different_prefixes_apart() {
    let mut pool = PagedPool::new(12, BLOCK_SIZE);
    let same = tokens(100..104);
    compute(&mut pool, A, &[tokens(0..4), same.clone(), tokens(0..1)].concat());
    let other = [tokens(4..8), same, tokens(0..1)].concat();
    expect_eq("another first block, an equal second one: hits", 0, compute(&mut pool, B, &other));
    let hits = pool.admit(C, &[4, 5, 6, 7, 0, 1, 2, 3, 9], 16);
    expect_eq("known blocks in another order: hits", Ok(4), hits);
}

#[test]
fn task_1_4_keeps_a_shared_block_until_its_last_owner_leaves() {
    let mut pool = PagedPool::new(4, BLOCK_SIZE);
    compute(&mut pool, A, &tokens(0..6));
    compute(&mut pool, B, &tokens(0..6));
    expect_eq("two of 6 tokens share a block of 4: free", 1, pool.num_free());
    let shared = pool.block_table(A)[0];
    pool.free(A);
    expect_eq("one of them left: references to the shared block", 1, pool.references(shared));
    expect_eq("one of them left: free", 2, pool.num_free());
    pool.free(A);
    expect_eq("freed twice, as a race would: free", 2, pool.num_free());
    pool.free(B);
    expect_eq("both left: free", 4, pool.num_free());
}

#[test]
fn task_1_4_remembers_a_finished_prefix_until_its_blocks_are_needed() {
    let mut pool = PagedPool::new(4, BLOCK_SIZE);
    compute(&mut pool, A, &tokens(0..9));
    pool.free(A);
    expect_eq("all blocks are free", 4, pool.num_free());
    expect_eq("and two of them are found again: hits", 8, compute(&mut pool, B, &tokens(0..9)));
    pool.free(B);
    expect_eq("nothing was given up: evictions", 0, pool.stats().evictions);
    compute(&mut pool, C, &tokens(500..516));
    expect_eq("another sequence took all 4 blocks: evictions", 2, pool.stats().evictions);
    pool.free(C);
    expect_eq("the old prefix: hits", 0, compute(&mut pool, A, &tokens(0..9)));
}

#[test]
fn task_1_4_finds_no_block_that_was_handed_out_again() {
    let mut pool = PagedPool::new(7, BLOCK_SIZE);
    compute(&mut pool, B, &tokens(100..112));
    compute(&mut pool, A, &tokens(0..8));
    pool.free(A);
    // Two of the free blocks were never used; the third holds the end of A's prefix.
    let started = pool.admit(C, &tokens(500..512), 12).and_then(|_| pool.allocate(C, 12));
    expect_eq("12 tokens into 4 free blocks, 2 of them cached", Ok(()), started);
    expect_eq("one cached block was handed out: evictions", 1, pool.stats().evictions);
    pool.free(B);
    let hits = compute(&mut pool, SequenceId(9), &tokens(0..9));
    expect_eq("its new owner has not filled it yet: hits of the old prefix", 4, hits);
}

#[test]
fn task_1_4_evicts_the_least_recently_used_first() {
    let mut pool = PagedPool::new(6, BLOCK_SIZE);
    compute(&mut pool, A, &tokens(0..9));
    compute(&mut pool, B, &tokens(100..109));
    pool.free(A);
    pool.free(B);
    // A's prefix is used once more, so B's is the older one now. C takes two of the three blocks of
    // B.
    compute(&mut pool, A, &tokens(0..9));
    pool.free(A);
    compute(&mut pool, C, &tokens(200..208));
    pool.free(C);
    let old = pool.admit(SequenceId(8), &tokens(100..109), 16);
    expect_eq("two blocks evicted: hits of the prefix used before the last", Ok(4), old);
    let new = pool.admit(SequenceId(9), &tokens(0..9), 16);
    expect_eq("two blocks evicted: hits of the prefix used last", Ok(8), new);
}

#[test]
fn task_1_4_evicts_the_tail_of_a_prefix_before_its_head() {
    let mut pool = PagedPool::new(4, BLOCK_SIZE);
    compute(&mut pool, A, &tokens(0..16));
    pool.free(A);
    compute(&mut pool, B, &tokens(100..108));
    pool.free(B);
    let context = "4 cached blocks, 2 of them evicted: hits of the prefix";
    expect_eq(context, Ok(8), pool.admit(C, &tokens(0..13), 20));
}

#[test]
fn task_1_4_does_not_promise_its_own_hits_as_free_blocks() {
    let mut pool = PagedPool::new(4, BLOCK_SIZE);
    compute(&mut pool, A, &tokens(0..12));
    pool.free(A);
    // 20 tokens are 5 blocks: 3 hits, 2 more, but only 1 block is free beside the hits.
    let refused = Err(OutOfBlocks { needed: 2, free: 1 });
    expect_eq("4 blocks; 5 needed, 3 of them hits", refused, pool.admit(B, &tokens(0..20), 24));
    expect_eq("a refusal changes nothing: free", 4, pool.num_free());
    expect_eq("a refusal changes nothing: hits", Ok(12), pool.admit(C, &tokens(0..13), 16));
}

#[test]
fn task_1_4_keeps_the_first_of_two_equal_blocks() {
    let mut pool = PagedPool::new(6, BLOCK_SIZE);
    let prompt = tokens(0..5);
    for id in [A, B] {
        let admitted = pool.admit(id, &prompt, 8).and_then(|_| pool.allocate(id, 5));
        expect_eq("both start before either is computed", Ok(()), admitted);
    }
    pool.publish(A, &prompt);
    pool.publish(B, &prompt);
    let (first, second) = (pool.block_table(A)[0], pool.block_table(B)[0]);
    compute(&mut pool, C, &prompt);
    expect_eq("the block that is shared", first, pool.block_table(C)[0]);
    expect_eq(
        "references to the first and the second",
        (2, 1),
        (pool.references(first), pool.references(second)),
    );
    pool.free(B);
    let hits = pool.admit(SequenceId(9), &prompt, 8);
    expect_eq("the second is gone: hits on the first", Ok(4), hits);
}

#[test]
fn task_1_4_chains_hashes_past_a_block_that_is_cached_already() {
    let mut pool = PagedPool::new(12, BLOCK_SIZE);
    let branch = [tokens(0..4), tokens(100..104), tokens(0..1)].concat();
    for (id, prompt) in [(A, &tokens(0..9)), (B, &branch)] {
        let admitted = pool.admit(id, prompt, 12).and_then(|_| pool.allocate(id, 9));
        expect_eq("both start before either is computed", Ok(()), admitted);
    }
    pool.publish(A, &tokens(0..9));
    pool.publish(B, &branch);
    let context = "sequence 2 repeats the first block of sequence 1 and adds one";
    expect_eq(format!("{context}: hits of both"), Ok(8), pool.admit(C, &branch, 12));
    let own = [tokens(100..104), tokens(0..1)].concat();
    let hits = pool.admit(SequenceId(9), &own, 12);
    expect_eq(format!("{context}: hits of the added one, as a first block"), Ok(0), hits);
}

#[test]
fn task_1_4_finds_nothing_with_prefix_caching_off() {
    let mut pool = PagedPool::new(8, BLOCK_SIZE).with_prefix_caching(false);
    compute(&mut pool, A, &tokens(0..10));
    expect_eq("the same tokens again: hits", 0, compute(&mut pool, B, &tokens(0..10)));
    expect_eq("queries", 0, pool.stats().prefix_queries);
    pool.free(A);
    pool.free(B);
    expect_eq("free", 8, pool.num_free());
}

/// What a pool must agree with: who holds which block, and what was last published into it.
#[derive(Default)]
struct Truth {
    sequences: BTreeMap<SequenceId, Vec<TokenId>>,
    contents: HashMap<BlockId, Vec<TokenId>>,
}

impl Truth {
    #[track_caller]
    fn check(&self, context: &str, pool: &PagedPool) {
        let mut references: BTreeMap<BlockId, u32> = BTreeMap::new();
        for id in self.sequences.keys() {
            pool.block_table(*id)
                .iter()
                .for_each(|block| *references.entry(*block).or_default() += 1);
        }
        let free = pool.num_blocks() - references.len();
        expect_eq(format!("{context}: free blocks"), free, pool.num_free());
        for (block, count) in &references {
            expect_eq(format!("{context}: references to {block}"), *count, pool.references(*block));
        }
    }

    /// Hits must hold exactly these tokens; then the sequence's own blocks hold its own.
    #[track_caller]
    fn admit(
        &mut self,
        context: &str,
        pool: &PagedPool,
        id: SequenceId,
        tokens: &[TokenId],
        hits: usize,
    ) {
        for (index, block) in pool.block_table(id).iter().enumerate() {
            let end = tokens.len().min((index + 1) * BLOCK_SIZE);
            let prefix = &tokens[..end];
            if end <= hits {
                let held = self.contents.get(block).map(Vec::as_slice);
                expect_eq(format!("{context}: {block} was hit and holds"), Some(prefix), held);
            } else {
                self.contents.insert(*block, prefix.to_vec());
            }
        }
        self.sequences.insert(id, tokens.to_vec());
    }
}

#[test]
fn task_1_4_never_mixes_up_blocks() {
    let mut rng = rng("pool operations");
    for case in 0..20 {
        let mut pool = PagedPool::new(rng.random_range(6..24), BLOCK_SIZE);
        let mut truth = Truth::default();
        for step in 0..120 {
            let context = format!("case {case}, operation {step}");
            let id = SequenceId(rng.random_range(0..6));
            if let Some(tokens) = truth.sequences.remove(&id) {
                pool.publish(id, &tokens);
                pool.free(id);
            } else {
                // Two letters make many shared prefixes.
                let len = rng.random_range(1..30);
                let tokens: Vec<_> =
                    (0..len).map(|i| i / 3 + 100 * rng.random_range(0..2)).collect();
                let free = pool.num_free();
                match pool.admit(id, &tokens, 40) {
                    Ok(hits) => {
                        let done = pool.allocate(id, tokens.len());
                        expect_eq(format!("{context}: admitted, so it fits"), Ok(()), done);
                        truth.admit(&context, &pool, id, &tokens, hits);
                        if rng.random_bool(0.5) {
                            pool.publish(id, &tokens);
                        }
                    }
                    Err(_) => expect_eq(format!("{context}: refused: free"), free, pool.num_free()),
                }
            }
            truth.check(&context, &pool);
        }
    }
}

#[test]
fn task_1_4_preempts_the_youngest_and_lets_it_wait_in_front() {
    let mut pool = PagedPool::new(8, BLOCK_SIZE);
    let mut running: Vec<Sequence> = Vec::new();
    for id in [A, B] {
        compute(&mut pool, id, &tokens(id.0 as u32 * 100..id.0 as u32 * 100 + 6));
        let mut sequence = Sequence::new(id, tokens(0..5), 9);
        sequence.tokens.push(77);
        sequence.computed = 6;
        running.push(sequence);
    }
    let mut waiting = VecDeque::from([Sequence::new(C, tokens(0..3), 9)]);
    let mut plan = StepPlan::default();
    let victim = preempt_last(&mut pool, &mut running, &mut waiting, &mut plan);
    expect_eq("sequences 1 and 2 run: the victim", Some(B), victim);
    expect_eq("plan.preempted", vec![B], plan.preempted);
    let order: Vec<u64> = waiting.iter().map(|sequence| sequence.id.0).collect();
    expect_eq("the waiting queue", vec![2, 3], order);
    let left: BTreeSet<u64> = running.iter().map(|sequence| sequence.id.0).collect();
    expect_eq("still running", BTreeSet::from([1]), left);
    let front = &waiting[0];
    expect_eq(
        "the victim's computed tokens and preemptions",
        (0, 1),
        (front.computed, front.preemptions),
    );
    expect_eq("the victim keeps its tokens", 6, front.tokens.len());
    expect_eq("its blocks are free", 6, pool.num_free());
}

fn paged(limits: SchedulerLimits, blocks: usize) -> Driver<ContinuousScheduler<PagedPool>> {
    let pool = PagedPool::new(blocks, BLOCK_SIZE);
    Driver::new(ContinuousScheduler::new(limits, pool), limits, BLOCK_SIZE)
}

fn limits(max_num_seqs: usize, max_num_batched_tokens: usize) -> SchedulerLimits {
    SchedulerLimits::try_new(max_num_seqs, max_num_batched_tokens).expect("limits that work")
}

#[test]
fn task_1_4_finishes_when_two_sequences_outgrow_the_pool() {
    // 6 blocks of 4. Each job grows to 20 tokens, 5 blocks: together they do not fit.
    let mut driver = paged(limits(2, 16), 6);
    let jobs = [Job::distinct(0, 8, 12), Job::distinct(1, 8, 12)];
    jobs.iter().for_each(|job| driver.add(job));
    let mut victims = Vec::new();
    let mut ends = Vec::new();
    while driver.answers().len() < 2 {
        victims.extend(driver.step().preempted);
        let done = driver.answers().keys().copied();
        ends.extend(done.filter(|id| !ends.contains(id)).collect::<Vec<_>>());
    }
    expect_eq("who is preempted, how often", vec![jobs[1].id], victims);
    expect_eq("who ends first", vec![jobs[0].id, jobs[1].id], ends);
    for job in &jobs {
        let alone = answer(&job.prompt, job.answer_len);
        let context = format!("{}: the answer that it gets alone", job.id);
        expect_eq(context, Some(&alone), driver.answers().get(&job.id));
    }
}

#[test]
fn task_1_4_prefills_a_shared_prefix_once() {
    let mut driver = paged(limits(4, 64), 64);
    let prefix = tokens(0..40);
    for id in 0..8 {
        driver.add(&Job::new(id, [prefix.clone(), vec![1000 + id as u32; 3]].concat(), 4));
        driver.step();
    }
    driver.run_to_end();
    // The first job computes 43 tokens, the seven others only their own 3.
    expect_eq("8 prompts of 43 tokens, 40 shared: computed", 43 + 7 * 3, driver.prefill_tokens());
    expect_eq("tokens that hit", 7 * 40, driver.load().pool.prefix_hits);
}

#[test]
fn task_1_4_gives_every_job_the_answer_it_gets_alone_in_a_small_pool() {
    let mut rng = rng("small pools");
    let mut preemptions = 0;
    for case in 0..25 {
        let places = rng.random_range(1..6);
        let limits = limits(places, rng.random_range(places..places + 30));
        // The longest job has 24 + 20 tokens: 11 blocks. With 12, hardly two fit.
        let mut driver = paged(limits, rng.random_range(12..20));
        let jobs: Vec<Job> = (0..10)
            .map(|id| {
                let shared = rng.random_range(0..16);
                let own = vec![7000 + id as TokenId; rng.random_range(1..=8)];
                let prompt = [tokens(0..shared), own].concat();
                Job::new(id, prompt, rng.random_range(1..=20))
            })
            .collect();
        for job in &jobs {
            driver.add(job);
            (0..rng.random_range(0..3)).for_each(|_| drop(driver.step()));
        }
        driver.run_to_end();
        preemptions += driver.preemptions();
        for job in &jobs {
            let alone = answer(&job.prompt, job.answer_len);
            let context = format!("case {case} ({limits:?}), {}: its answer", job.id);
            expect_eq(context, Some(&alone), driver.answers().get(&job.id));
        }
    }
    expect("pools that are too small", preemptions > 0, "some preemptions", "none");
}
