//! What must hold for every step plan, whoever made it.

use std::collections::{BTreeMap, BTreeSet};

use serving::{BlockId, Chunk, Load, SchedulerLimits, SequenceId, StepPlan};

use crate::drive::Tracked;
use crate::{expect, expect_eq, expect_some};

/// Checks one plan against what the driver knows.
#[track_caller]
pub(crate) fn check_plan(
    context: &str,
    plan: &StepPlan,
    tracked: &BTreeMap<SequenceId, Tracked>,
    limits: SchedulerLimits,
    block_size: usize,
    load: Load,
) {
    let mut seen = BTreeSet::new();
    for chunk in &plan.chunks {
        let id = chunk.sequence;
        expect(context, seen.insert(id), format!("one chunk for {id}"), "a second one");
    }
    let budget = limits.max_num_batched_tokens;
    let tokens = plan.num_tokens();
    let at_most = format!("at most {budget} tokens (max_num_batched_tokens)");
    expect(context, tokens <= budget, at_most, format!("{tokens} tokens"));

    let places = limits.max_num_seqs;
    let running = plan.chunks.len().max(load.running);
    let at_most = format!("at most {places} sequences (max_num_seqs)");
    expect(context, running <= places, at_most, format!("{running} sequences"));

    for chunk in &plan.chunks {
        let id = chunk.sequence;
        let sequence = expect_some(
            format!("{context}: the plan runs {id}"),
            "a sequence that was added and is not done",
            tracked.get(&id),
        );
        check_chunk(&format!("{context}: {id}"), chunk, sequence, block_size, load);
    }
    check_turns(context, plan, tracked);
    check_writers(context, plan, block_size);
}

/// Checks one chunk against its sequence.
#[track_caller]
fn check_chunk(context: &str, chunk: &Chunk, sequence: &Tracked, block_size: usize, load: Load) {
    let len = sequence.tokens.len();
    match sequence.computed {
        Some(computed) => {
            expect_eq(format!("{context}: its chunk starts at"), computed, chunk.start);
        }
        None => {
            let whole = chunk.start.is_multiple_of(block_size) && chunk.start < len;
            let expected =
                format!("whole cached blocks of {block_size}, and less than {len} tokens");
            expect(format!("{context} gets a place"), whole, expected, chunk.start);
        }
    }
    expect(context, !chunk.tokens.is_empty(), "at least one token to feed", "an empty chunk");
    let due = sequence.tokens.get(chunk.start..chunk.end());
    let matches = due == Some(chunk.tokens.as_slice());
    let expected = format!("its tokens {} to {} of {len}", chunk.start, chunk.end());
    expect(format!("{context}: what is fed"), matches, expected, format!("{:?}", chunk.tokens));

    let complete = chunk.end() == len;
    let what = format!("{context}: fed up to token {} of {len}: samples", chunk.end());
    expect_eq(what, complete, chunk.samples);

    let slots = chunk.block_table.len() * block_size;
    let what = format!("{context}: its block table");
    expect(&what, slots >= chunk.end(), format!("{} slots or more", chunk.end()), slots);
    let distinct: BTreeSet<BlockId> = chunk.block_table.iter().copied().collect();
    expect_eq(&what, chunk.block_table.len(), distinct.len());
    let inside = distinct.last().is_none_or(|block| (block.0 as usize) < load.blocks_total);
    expect(&what, inside, format!("blocks below {}", load.blocks_total), format!("{distinct:?}"));
}

/// First come, first served: nobody has a place while one that came earlier has none.
#[track_caller]
fn check_turns(context: &str, plan: &StepPlan, tracked: &BTreeMap<SequenceId, Tracked>) {
    let mut waits = None;
    for (id, sequence) in tracked {
        let placed = sequence.computed.is_some() || plan.chunk(*id).is_some();
        if let (true, Some(earlier)) = (placed, waits) {
            let saw = format!("{id} with a place, and {earlier} without one");
            expect(context, false, "first come, first served", saw);
        }
        if !placed && waits.is_none() {
            waits = Some(*id);
        }
    }
}

/// A block that is written in this step is in nobody else's table.
#[track_caller]
fn check_writers(context: &str, plan: &StepPlan, block_size: usize) {
    for writer in &plan.chunks {
        let written =
            &writer.block_table[writer.start / block_size..writer.end().div_ceil(block_size)];
        for other in plan.chunks.iter().filter(|other| other.sequence != writer.sequence) {
            if let Some(block) = written.iter().find(|block| other.block_table.contains(block)) {
                let expected =
                    format!("{} alone to hold {block}, which it writes", writer.sequence);
                expect(context, false, expected, format!("{} holds it, too", other.sequence));
            }
        }
    }
}
