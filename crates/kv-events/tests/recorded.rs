//! What a real vLLM published, as `solutions/02-routing/experiments/real-vllm/kv_events.py` recorded it. That run is known: three prompts
//! that begin alike, two that are equal, one with a salt, one with a long answer, the first again, six others for which there is no room
//! beside them, a reset; and then another vLLM, which names blocks by bytes, and one of the prompts again.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;

use kv_events::{Batch, Told};
use routing::{KvBlock, KvEvent};

const RECORDED: &str = include_str!("recorded/vllm-0.32.0.txt");
/// As the run was set up. One block of an engine is never anybody's: vLLM's null block.
const BLOCK_SIZE: usize = 32;
const MOST_HELD: usize = 24 - 1;

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Numbers and batches, in the order in which they came.
fn recorded() -> Vec<(u64, Batch)> {
    let lines = RECORDED.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let [topic, number, batch] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(topic, "kv@engine@smollm2-135m");
            (number.parse().unwrap(), Batch::decode(&bytes(batch)).unwrap())
        })
        .collect()
}

/// Events of the first engine, and of the second.
fn lives() -> [Vec<Told>; 2] {
    let mut lives = recorded().into_iter().fold(Vec::new(), |mut lives: Vec<Vec<_>>, batch| {
        if batch.0 == 0 {
            lives.push(Vec::new());
        }
        lives.last_mut().unwrap().extend(batch.1.events);
        lives
    });
    let second = lives.pop().unwrap();
    [lives.pop().unwrap(), second]
}

fn stored(told: &Told) -> Option<&[KvBlock]> {
    match &told.event {
        KvEvent::Stored { blocks, .. } => Some(blocks),
        _ => None,
    }
}

#[test]
fn batches_are_numbered_from_0_by_each_engine_and_nothing_in_them_is_unknown() {
    let all = recorded();
    let numbers: Vec<_> = all.iter().map(|(number, _)| *number).collect();
    let last = numbers.iter().rposition(|number| *number == 0).unwrap() as u64;
    let expected: Vec<_> = (0..last).chain(0..all.len() as u64 - last).collect();
    assert_eq!(numbers, expected);
    assert!(all.iter().all(|(_, batch)| batch.unknown == 0 && !batch.events.is_empty()));
    assert!(all.iter().all(|(_, batch)| batch.rank == Some(0)));
    assert!(all.windows(2).all(|pair| pair[0].1.at < pair[1].1.at));
}

#[test]
fn blocks_follow_on_blocks_that_are_there_and_only_those_are_removed() {
    for events in lives() {
        let mut held = BTreeSet::<KvBlock>::new();
        for told in &events {
            match &told.event {
                KvEvent::Stored { blocks, parent, tokens, block_size } => {
                    assert_eq!(*block_size, BLOCK_SIZE);
                    assert_eq!(tokens.len(), blocks.len() * BLOCK_SIZE);
                    assert!(parent.is_none_or(|parent| held.contains(&parent)), "{told:?}");
                    held.extend(blocks);
                }
                KvEvent::Removed { blocks } => {
                    assert!(blocks.iter().all(|block| held.remove(block)), "{told:?}");
                }
                KvEvent::Cleared => held.clear(),
            }
            assert!(held.len() <= MOST_HELD, "{} blocks", held.len());
        }
        // The last prompt of each life, and nothing else: the first cleared its cache before it.
        assert_eq!(held.len(), 5);
    }
}

#[test]
fn blocks_are_stored_removed_and_cleared_as_often_as_they_were() {
    let count = |events: &[Told]| {
        events.iter().fold([0; 3], |[stored, removed, cleared], told| match &told.event {
            KvEvent::Stored { blocks, .. } => [stored + blocks.len(), removed, cleared],
            KvEvent::Removed { blocks } => [stored, removed + blocks.len(), cleared],
            KvEvent::Cleared => [stored, removed, cleared + 1],
        })
    };
    let [first, second] = lives();
    // What msgspec read from the same messages.
    assert_eq!(count(&first), [51, 18, 1]);
    assert_eq!(count(&second), [5, 0, 0]);
}

#[test]
fn prompts_that_begin_alike_share_blocks_that_are_told_once() {
    let [first, _] = lives();
    let sizes: Vec<_> = first[..4].iter().map(|told| stored(told).unwrap().len()).collect();
    // The first prompt whole, the ends of two others behind its beginning, and one prompt for two.
    assert_eq!(sizes, [6, 1, 1, 2]);
    let fifth = stored(&first[0]).unwrap()[4];
    for told in &first[1..3] {
        let KvEvent::Stored { parent, .. } = &told.event else { panic!("{told:?}") };
        assert_eq!(*parent, Some(fifth));
    }
}

#[test]
fn only_the_beginning_behind_a_salt_is_not_plain() {
    let all = lives().concat();
    let salted: Vec<_> = (0..all.len()).filter(|at| !all[*at].plain).collect();
    let [salted] = salted[..] else { panic!("{salted:?}") };
    // What follows on it looks plain: whoever names blocks by tokens has no name for its parent.
    let last = stored(&all[salted]).unwrap().last().copied();
    let KvEvent::Stored { parent, .. } = &all[salted + 1].event else { panic!("no answer") };
    assert_eq!(*parent, last);
}

#[test]
fn who_asks_for_it_is_told_of_blocks_again_that_were_stored_before() {
    let [first, _] = lives();
    let again = first.iter().filter(|told| told.event == first[0].event).count();
    assert_eq!(again, 2);
}

#[test]
fn numbers_and_bytes_are_the_same_names() {
    let [first, second] = lives();
    // The same request, to an engine that names by numbers and to one that names by bytes.
    assert_eq!(first.last(), second.last());
    assert!(stored(&second[0]).unwrap().iter().all(|block| block.0 != 0));
}
