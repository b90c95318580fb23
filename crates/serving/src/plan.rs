//! What one step of the engine computes.

use smallvec::SmallVec;

use crate::{BlockTable, SampledToken, SequenceId, TokenId};

/// Tokens of a chunk. The few of a decode are kept in place: no allocation.
pub type Tokens = SmallVec<[TokenId; 4]>;

/// A run of consecutive tokens of one sequence, to be fed to the model in this step.
#[derive(Debug, Clone, PartialEq, Eq)]
// ANCHOR: book_chunk
pub struct Chunk {
    /// Whose tokens these are.
    pub sequence: SequenceId,
    /// Position of the first token in its sequence; all tokens before it are in the KV cache already.
    pub start: usize,
    /// The tokens to feed: one for a decode, many for a prefill. Never empty.
    pub tokens: Tokens,
    /// The sequence's blocks in order: token `i` lives in `block_table[i / block_size]` at slot
    /// `i % block_size`. Covers at least `start + tokens.len()` tokens.
    pub block_table: BlockTable,
    /// Whether a new token is sampled after the last of these (false while a prefill is incomplete).
    pub samples: bool,
}
// ANCHOR_END: book_chunk

impl Chunk {
    /// One past the position of the last token fed: what the cache holds after this step.
    #[inline]
    #[must_use]
    pub fn end(&self) -> usize {
        self.start + self.tokens.len()
    }
}

/// One step: the chunks that run together, and who had to make room for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepPlan {
    /// At most one chunk a sequence.
    pub chunks: Vec<Chunk>,
    /// Sequences that lost their blocks in this step and wait again.
    pub preempted: Vec<SequenceId>,
}

impl StepPlan {
    /// Whether there is nothing to compute.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// How many tokens the step feeds to the model: what a token budget limits.
    #[inline]
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.tokens.len()).sum()
    }

    /// The chunk of one sequence, if it takes part in this step.
    #[must_use]
    pub fn chunk(&self, id: SequenceId) -> Option<&Chunk> {
        self.chunks.iter().find(|chunk| chunk.sequence == id)
    }

    /// What became of each chunk, with the tokens that the step sampled, one for each chunk that samples, in the
    /// plan's order.
    #[must_use]
    pub fn outcomes<'a>(&'a self, sampled: &'a [SampledToken]) -> Outcomes<'a> {
        Outcomes { chunks: &self.chunks, sampled, next_chunk: 0, next_sample: 0 }
    }
}

/// The chunks of a plan and the tokens that they sampled, by sequence.
///
/// A scheduler plans its sequences in the order in which it keeps them. Who asks in that order finds each at once, and
/// a step takes time in proportion to its size; any other order only takes longer.
#[derive(Debug, Clone)]
pub struct Outcomes<'a> {
    chunks: &'a [Chunk],
    sampled: &'a [SampledToken],
    next_chunk: usize,
    next_sample: usize,
}

impl<'a> Outcomes<'a> {
    /// The chunk of a sequence and its new token, if it took part and if it sampled.
    #[inline]
    pub fn of(&mut self, id: SequenceId) -> Option<(&'a Chunk, Option<TokenId>)> {
        let chunk = find_from(self.chunks, &mut self.next_chunk, |chunk| chunk.sequence == id)?;
        if !chunk.samples {
            return Some((chunk, None));
        }
        let sample = find_from(self.sampled, &mut self.next_sample, |s| s.sequence == id);
        Some((chunk, sample.map(|sample| sample.token)))
    }
}

/// The item that is looked for: at `next`, or else anywhere. `next` moves behind it.
#[inline]
fn find_from<'a, T>(items: &'a [T], next: &mut usize, is_it: impl Fn(&T) -> bool) -> Option<&'a T> {
    let index = match items.get(*next) {
        Some(item) if is_it(item) => *next,
        _ => items.iter().position(is_it)?,
    };
    *next = index + 1;
    items.get(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(ids: &[u64]) -> StepPlan {
        let chunk = |&id: &u64| Chunk {
            sequence: SequenceId(id),
            start: 0,
            tokens: Tokens::from_slice(&[1]),
            block_table: BlockTable::default(),
            samples: id % 2 == 0,
        };
        StepPlan { chunks: ids.iter().map(chunk).collect(), preempted: Vec::new() }
    }

    #[test]
    fn outcomes_are_found_in_any_order() {
        let plan = plan(&[4, 7, 2, 6]);
        let sample = |id: u64| SampledToken { sequence: SequenceId(id), token: 10 + id as TokenId };
        let sampled = [sample(4), sample(2), sample(6)];
        for order in [[4, 7, 2, 6], [6, 2, 7, 4], [2, 4, 6, 7]] {
            let mut outcomes = plan.outcomes(&sampled);
            for id in order {
                let (chunk, token) = outcomes.of(SequenceId(id)).unwrap();
                assert_eq!(chunk.sequence, SequenceId(id));
                assert_eq!(token, (id % 2 == 0).then_some(10 + id as TokenId));
                assert!(outcomes.of(SequenceId(9)).is_none());
            }
        }
    }
}
