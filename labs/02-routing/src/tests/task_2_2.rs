//! Checks of task 2.2, prefix and KV affinity: each piece for itself. On fleets: `task_2_2_fleets`.

use std::time::Duration;

use fastrand::Rng;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore};
use routing::{EndpointId, EndpointView, KvBlock, KvEvent, Policy, RouteRequest, Scrape, Signals};
use testbed::{expect, expect_eq, rng, seed};

use crate::affinity::{Affinity, keep_warm};
use crate::kv_events::{KvNames, TOKEN_BYTES};
use crate::load::Candidate;
use crate::prefix_blocks::{BlockName, MAX_BLOCKS, PrefixBlocks};
use crate::prefix_index::{MAX_ENDPOINTS, PrefixIndex};
use crate::recency::Recency;
use crate::{Limits, PrefixAware};

const BLOCK: usize = 64;

fn names_of(prompt: &[u8]) -> Vec<BlockName> {
    let mut names = Vec::new();
    PrefixBlocks::new(BLOCK).name(prompt, &mut names);
    names
}

fn random_bytes(length: usize, rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Names that stand for the blocks of a prompt.
fn chain(numbers: impl IntoIterator<Item = u64>) -> Vec<BlockName> {
    let spread = |number: u64| BlockName(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    numbers.into_iter().map(spread).collect()
}

const A: EndpointId = EndpointId(0);
const B: EndpointId = EndpointId(1);

// === names ===

#[test]
fn task_2_2_names_agree_exactly_up_to_the_first_difference() {
    let mut random = rng("names");
    for _ in 0..200 {
        let one = random_bytes(random.random_range(1..20) * BLOCK, &mut random);
        let mut other = one.clone();
        let place = random.random_range(0..other.len());
        other[place] ^= 1;
        let pairs = names_of(&one).into_iter().zip(names_of(&other));
        let equal: Vec<bool> = pairs.map(|(one, other)| one == other).collect();
        let expected: Vec<bool> =
            (0..one.len() / BLOCK).map(|block| block < place / BLOCK).collect();
        expect_eq(format!("blocks of {BLOCK} bytes, byte {place} differs: equal"), expected, equal);
    }
}

#[test]
fn task_2_2_names_cover_the_order_of_blocks() {
    let mut random = rng("order");
    let (x, y) = (random_bytes(BLOCK, &mut random), random_bytes(BLOCK, &mut random));
    let (xy, yx) = (names_of(&[&x[..], &y].concat()), names_of(&[&y[..], &x].concat()));
    expect("prompts XY and YX", xy.last() != yx.last(), "two names", format!("{xy:?} and {yx:?}"));
    let xx = names_of(&[&x[..], &x].concat());
    expect("a prompt XX", xx.first() != xx.last(), "two names", format!("{xx:?}"));
}

#[test]
fn task_2_2_names_full_blocks_only_and_not_without_end() {
    let counts = |length: usize| names_of(&vec![7; length]).len();
    expect_eq("63 bytes", 0, counts(BLOCK - 1));
    expect_eq("64 bytes", 1, counts(BLOCK));
    expect_eq("200 bytes", 3, counts(200));
    expect_eq("a very long prompt", MAX_BLOCKS, counts((MAX_BLOCKS + 100) * BLOCK));
}

// === who holds what ===

#[test]
fn task_2_2_matches_from_the_beginning_and_without_a_gap() {
    let mut index = PrefixIndex::new(100);
    let prompt = chain(0..8);
    index.record(A, &prompt);
    expect_eq("recorded at A: 8 blocks; A", 8, index.matched(A, &prompt));
    expect_eq("recorded at A: 8 blocks; B", 0, index.matched(B, &prompt));
    let longer = chain(0..12);
    expect_eq("a prompt of 12 that begins with those 8", 8, index.matched(A, &longer));
    let other = chain([50, 1, 2, 3]);
    expect_eq("another first block, then three that A has", 0, index.matched(A, &other));
    index.held_by(A).remove(prompt[3]);
    expect_eq("block 3 of 8 is gone", 3, index.matched(A, &prompt));
}

#[test]
fn task_2_2_forgets_the_end_of_a_prompt_before_its_beginning() {
    let mut index = PrefixIndex::new(6);
    let (first, second) = (chain(0..4), chain(10..14));
    index.record(A, &first);
    index.record(A, &second);
    let saw = (index.matched(A, &first), index.matched(A, &second));
    expect_eq("room for 6; two prompts of 4 blocks: matched", (2, 4), saw);
    let huge = chain(100..120);
    index.record(A, &huge);
    expect_eq("room for 6; a prompt of 20 blocks: matched", 6, index.matched(A, &huge));
}

#[test]
fn task_2_2_keeps_what_is_used_and_forgets_what_is_not() {
    let mut index = PrefixIndex::new(8);
    let (used, unused, new) = (chain(0..4), chain(10..14), chain(20..24));
    index.record(A, &used);
    index.record(A, &unused);
    index.record(A, &used);
    index.record(A, &new);
    let saw = [&used, &unused, &new].map(|prompt| index.matched(A, prompt));
    expect_eq("room for 8; used, unused, used again, new (4 blocks each): matched", [4, 0, 4], saw);
}

#[test]
fn task_2_2_does_not_take_looking_for_using() {
    let mut index = PrefixIndex::new(8);
    let (looked_at, other, new) = (chain(0..4), chain(10..14), chain(20..24));
    index.record(A, &looked_at);
    index.record(A, &other);
    let _looked = index.matched(A, &looked_at);
    index.record(A, &new);
    let saw = [&looked_at, &other, &new].map(|prompt| index.matched(A, prompt));
    expect_eq("room for 8; one, two, a look at one, three: matched", [0, 4, 4], saw);
}

#[test]
fn task_2_2_stays_bounded_whatever_is_asked() {
    let mut random = rng("adversary");
    let mut index = PrefixIndex::new(50);
    for number in 0..4_000u64 {
        let endpoint = EndpointId(random.random_range(0..20));
        let from = number * 1_000;
        index.record(endpoint, &chain(from..from + random.random_range(1..120)));
    }
    expect(
        "20 endpoints with room for 50, 4000 prompts: blocks",
        index.len() <= 1_000,
        "at most 1000",
        index.len(),
    );
    for id in 0..2 * MAX_ENDPOINTS as u32 {
        index.record(EndpointId(id), &chain(0..1));
    }
    let most = MAX_ENDPOINTS * 50;
    expect("2048 endpoints, one after the other: blocks", index.len() <= most, most, index.len());
}

#[test]
fn task_2_2_forgets_an_endpoint_that_is_gone() {
    let mut policy = PrefixAware::new(Limits::default(), seed())
        .with_affinity(Affinity { exploration: 0.0, ..Affinity::default() });
    let prompt = vec![b'x'; 4_096];
    let request = RouteRequest { prompt: &prompt, ..RouteRequest::new(0) };
    let two = [A, B].map(EndpointView::unknown);
    let chosen = policy.choose(&request, &two, Duration::ZERO);
    let again = policy.choose(&request, &two, Duration::ZERO);
    expect_eq("the same prompt twice: second choice", chosen, again);
    let first = two[chosen.unwrap_or(0)].id;
    policy.forget(first);
    expect_eq("the endpoint is gone: blocks in the index", 0, policy.index().len());
    let other: Vec<_> = two.into_iter().filter(|view| view.id != first).collect();
    expect_eq(
        "only the other endpoint is left",
        Some(0),
        policy.choose(&request, &other, Duration::ZERO),
    );
    expect(
        "it is warm now: blocks in the index",
        !policy.index().is_empty(),
        "more than 0",
        policy.index().len(),
    );
}

// === endpoints that tell ===

const TOKENS: usize = BLOCK / TOKEN_BYTES;

fn stored(blocks: &[u64], parent: Option<u64>, tokens: &[u32]) -> KvEvent {
    KvEvent::Stored {
        blocks: blocks.iter().map(|block| KvBlock(*block)).collect(),
        parent: parent.map(KvBlock),
        tokens: tokens.to_vec(),
        block_size: TOKENS,
    }
}

fn removed(blocks: &[u64]) -> KvEvent {
    KvEvent::Removed { blocks: blocks.iter().map(|block| KvBlock(*block)).collect() }
}

/// What is known after these events, and of a prompt of six blocks.
struct Told {
    names: KvNames,
    held: Recency,
    prompt: Vec<u32>,
    ours: Vec<BlockName>,
}

impl Told {
    fn new(capacity: usize) -> Self {
        let mut random = rng("tokens");
        let prompt: Vec<u32> = (0..6 * TOKENS).map(|_| random.random_range(0..150_000)).collect();
        let bytes: Vec<u8> = prompt.iter().flat_map(|token| token.to_le_bytes()).collect();
        let ours = names_of(&bytes);
        Self { names: KvNames::default(), held: Recency::new(capacity), prompt, ours }
    }

    fn tell(&mut self, event: &KvEvent) {
        self.names.apply(event, &PrefixBlocks::new(BLOCK), &mut self.held);
    }

    /// Which of the six blocks are held.
    fn holds(&self) -> [bool; 6] {
        std::array::from_fn(|block| self.held.contains(self.ours[block]))
    }
}

#[test]
fn task_2_2_finds_its_own_names_for_an_engines_blocks() {
    let mut told = Told::new(100);
    let prompt = told.prompt.clone();
    told.tell(&stored(&[71, 72], None, &prompt[..2 * TOKENS]));
    expect_eq("two blocks of six stored", [true, true, false, false, false, false], told.holds());
    told.tell(&stored(&[73, 74, 75], Some(72), &prompt[2 * TOKENS..5 * TOKENS]));
    expect_eq("three more behind them", [true, true, true, true, true, false], told.holds());
}

#[test]
fn task_2_2_makes_nothing_of_blocks_whose_beginning_it_missed() {
    let mut told = Told::new(100);
    let prompt = told.prompt.clone();
    told.tell(&stored(&[73], Some(72), &prompt[2 * TOKENS..3 * TOKENS]));
    expect_eq("block 3, its parent never told: blocks held", 0, told.held.len());
    let other_size = KvEvent::Stored {
        blocks: vec![KvBlock(9)],
        parent: None,
        tokens: prompt[..2 * TOKENS].to_vec(),
        block_size: 2 * TOKENS,
    };
    told.tell(&other_size);
    expect_eq("a block of another size: blocks held", 0, told.held.len());
}

#[test]
fn task_2_2_drops_what_an_engine_dropped() {
    let mut told = Told::new(100);
    let prompt = told.prompt.clone();
    told.tell(&stored(&[71, 72, 73, 74], None, &prompt[..4 * TOKENS]));
    told.tell(&removed(&[74, 99, 72]));
    expect_eq(
        "72, 74 and one unknown removed of four",
        [true, false, true, false, false, false],
        told.holds(),
    );
    expect_eq("names that are known then", 2, told.names.len());
    told.tell(&KvEvent::Cleared);
    expect_eq("cleared: names known, blocks held", (0, 0), (told.names.len(), told.held.len()));
    told.tell(&stored(&[75], Some(71), &prompt[4 * TOKENS..5 * TOKENS]));
    expect_eq("a block behind one from before the clearing", 0, told.held.len());
}

#[test]
fn task_2_2_bounds_what_an_engine_may_tell() {
    let mut told = Told::new(40);
    let tokens: Vec<u32> = (0..TOKENS as u32).collect();
    for block in 0..500 {
        told.tell(&stored(&[block], block.checked_sub(1), &tokens));
    }
    let saw = (told.names.len(), told.held.len());
    let bounded = saw.0 <= 40 && saw.1 <= 40;
    expect(
        "room for 40, 500 blocks told: names, blocks held",
        bounded,
        "at most 40 of each",
        format!("{saw:?}"),
    );
}

// === when to stay ===

/// Candidates with these parts of the prompt and these requests.
fn candidates(of: &[(f64, u32)]) -> Vec<Candidate> {
    let candidate = |(index, (matched, in_flight)): (usize, &(f64, u32))| Candidate {
        index,
        view: EndpointView {
            in_flight: *in_flight,
            ..EndpointView::unknown(EndpointId(index as u32))
        },
        load: None,
        matched: *matched,
    };
    of.iter().enumerate().map(candidate).collect()
}

const RULE: Affinity = Affinity { threshold: 0.5, factor: 1.5, slack: 8, exploration: 0.0 };

/// Who is left, and how warm.
fn left(of: &[(f64, u32)], rule: &Affinity) -> (bool, Vec<(usize, f64)>) {
    let mut all = candidates(of);
    let narrowed = keep_warm(&mut all, rule, &mut Rng::with_seed(seed()));
    (narrowed, all.iter().map(|candidate| (candidate.index, candidate.matched)).collect())
}

#[test]
fn task_2_2_stays_where_the_cache_is_warm() {
    let saw = left(&[(0.0, 3), (0.9, 5), (0.49, 0), (0.5, 11)], &RULE);
    let context = "(matched, in flight): (0, 3), (0.9, 5), (0.49, 0), (0.5, 11); warm from 0.5";
    expect_eq(context, (true, vec![(1, 0.9), (3, 0.5)]), saw);
}

#[test]
fn task_2_2_keeps_everybody_where_nobody_is_warm() {
    let saw = left(&[(0.0, 90), (0.3, 0)], &RULE);
    expect_eq(
        "nobody is warm: all stay, with what they have",
        (false, vec![(0, 0.0), (1, 0.3)]),
        saw,
    );
    expect_eq("no candidate at all", (false, vec![]), left(&[], &RULE));
}

#[test]
fn task_2_2_leaves_a_warm_cache_that_is_overloaded() {
    let cold = |saw: &(bool, Vec<(usize, f64)>)| !saw.0 && saw.1 == [(0, 0.0), (1, 0.0)];
    let saw = left(&[(1.0, 30), (0.0, 2)], &RULE);
    expect(
        "warm with 30, cold with 2",
        cold(&saw),
        "both stay, both count as cold",
        format!("{saw:?}"),
    );
    // Far above in requests, not in proportion; and the other way round.
    for (warm, other) in [(130, 100), (9, 1), (8, 0)] {
        let saw = left(&[(1.0, warm), (0.0, other)], &RULE);
        expect_eq(format!("warm with {warm}, cold with {other}"), (true, vec![(0, 1.0)]), saw);
    }
    let saw = left(&[(1.0, 9), (0.0, 0)], &RULE);
    expect(
        "warm with 9, cold with 0",
        cold(&saw),
        "both stay, both count as cold",
        format!("{saw:?}"),
    );
    let saw = left(&[(1.0, 40), (0.8, 4), (0.0, 2)], &RULE);
    let context = "two warm with 40 and 4, cold with 2: one warm one has room";
    expect_eq(context, (true, vec![(0, 1.0), (1, 0.8)]), saw);
}

#[test]
fn task_2_2_believes_an_endpoint_that_says_it_is_busy() {
    let mut all = candidates(&[(1.0, 1), (0.0, 1)]);
    // Other routers sent it forty more.
    all[0].load = Some(Signals { waiting: 10, running: 31, kv_usage: 0.5 });
    let narrowed = keep_warm(&mut all, &RULE, &mut Rng::with_seed(seed()));
    expect_eq(
        "warm with 41 by its own account, cold with 1: narrowed to the warm",
        false,
        narrowed,
    );
}

#[test]
fn task_2_2_explores_as_often_as_it_is_told() {
    let mut random = Rng::with_seed(seed());
    let rule = Affinity { exploration: 0.2, ..RULE };
    let explored = (0..5_000)
        .filter(|_| {
            let mut all = candidates(&[(1.0, 1), (0.0, 1)]);
            !keep_warm(&mut all, &rule, &mut random) && all.iter().all(|c| c.matched == 0.0)
        })
        .count();
    // Six standard deviations are 170.
    expect(
        "exploration 0.2, 5000 requests: explored",
        (830..=1_170).contains(&explored),
        "about 1000",
        explored,
    );
}

#[test]
fn task_2_2_finds_the_warm_endpoint_among_many() {
    let mut policy = PrefixAware::new(Limits::default(), seed()).with_affinity(RULE);
    let mut random = rng("prompts");
    let views: Vec<_> = (0..16)
        .map(|id| EndpointView {
            scrape: Some(Scrape { signals: Signals::default(), at: Duration::ZERO }),
            ..EndpointView::unknown(EndpointId(id))
        })
        .collect();
    let documents: Vec<_> = (0..40).map(|_| random_bytes(4_096, &mut random)).collect();
    let mut choose = |document: &[u8], random: &mut StdRng| {
        let prompt = [document, &random_bytes(300, random)].concat();
        let request = RouteRequest { prompt: &prompt, ..RouteRequest::new(0) };
        policy.choose(&request, &views, Duration::ZERO)
    };
    let first: Vec<_> = documents.iter().map(|document| choose(document, &mut random)).collect();
    let second: Vec<_> = documents.iter().map(|document| choose(document, &mut random)).collect();
    expect_eq("40 documents, two questions each, 16 idle endpoints: choices", first, second);
}
