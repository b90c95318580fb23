//! Task 1.4, its second half: who gives way when the blocks run out.
//!
//! Recompute preemption, as vLLM's V1 engine does it: the victim's blocks are given up, and its
//! tokens, those already generated included, are computed again when it gets its next turn. (The
//! alternative, swapping blocks to host memory, pays on slow prefills and fast buses; Kwon et al.,
//! SOSP 2023, section 4.5.)

use std::collections::VecDeque;

use serving::{BlockPool, Sequence, SequenceId, StepPlan};

/// Takes the blocks of one running sequence away and lets it wait again. Returns who it was; `None`
/// where nobody runs.
///
/// The victim is the one that was scheduled last. The oldest is only hit when it is alone, and then
/// the pool is all its own: it always gets on, so that preemption never turns into a livelock.
pub fn preempt_last<P: BlockPool>(
    pool: &mut P,
    running: &mut Vec<Sequence>,
    waiting: &mut VecDeque<Sequence>,
    plan: &mut StepPlan,
) -> Option<SequenceId> {
    // - Take the last of `running`.
    // - Free its blocks. None of its tokens is computed any more; it keeps the tokens themselves,
    //   also those it generated: the user has seen them.
    // - Count the preemption in the sequence, and note its id in `plan.preempted`.
    // - It goes to the *front* of `waiting`: it came before all that wait there.
    // ANCHOR: task_1_4_preempt
    todo!("task 1.4")
    // ANCHOR_END: task_1_4_preempt
}
