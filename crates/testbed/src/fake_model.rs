//! A model without weights: it reads its whole context back from a fake KV cache, as attention
//! would.

use std::collections::HashMap;

use serving::{BlockId, Chunk, TokenId};

use crate::expect;

/// Everything up to one token, as one number: two prefixes have the same state only if they are
/// equal (but for collisions of 64 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    const EMPTY: Self = Self(0x9e37_79b9_7f4a_7c15);

    /// The state after one more token (splitmix64's finaliser).
    fn after(self, token: TokenId) -> Self {
        let mut z = (self.0 ^ u64::from(token)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(z ^ (z >> 31))
    }

    /// The next token: greedy, so a function of the context alone.
    fn sample(self) -> TokenId {
        (self.0 % 50_000) as TokenId
    }
}

/// What the model would answer to `prompt` if it ran alone.
#[must_use]
pub fn answer(prompt: &[TokenId], len: usize) -> Vec<TokenId> {
    let mut state = prompt.iter().fold(State::EMPTY, |state, token| state.after(*token));
    let mut tokens = Vec::with_capacity(len);
    for _ in 0..len {
        let token = state.sample();
        tokens.push(token);
        state = state.after(token);
    }
    tokens
}

/// The slots of a KV cache. Each holds the state that was written there last.
#[derive(Debug)]
pub(crate) struct FakeCache {
    block_size: usize,
    slots: HashMap<(BlockId, usize), State>,
}

impl FakeCache {
    pub(crate) fn new(block_size: usize) -> Self {
        Self { block_size, slots: HashMap::new() }
    }

    /// Runs one chunk: reads all slots before it, writes its own, and returns the token it would
    /// sample. `tokens` are those of the whole sequence.
    ///
    /// Fails where a slot before the chunk does not hold what attention needs: never computed,
    /// overwritten by somebody else, or computed for another prefix.
    #[track_caller]
    pub(crate) fn run(&mut self, context: &str, chunk: &Chunk, tokens: &[TokenId]) -> TokenId {
        let mut state = State::EMPTY;
        for (position, token) in tokens[..chunk.end()].iter().enumerate() {
            state = state.after(*token);
            let block = chunk.block_table[position / self.block_size];
            let slot = (block, position % self.block_size);
            if position >= chunk.start {
                self.slots.insert(slot, state);
            } else {
                let held = self.slots.get(&slot);
                let saw = if held.is_some() { "those of another context" } else { "an empty slot" };
                expect(
                    format!("{context}: reads the keys and values of its token {position}"),
                    held == Some(&state),
                    format!("them in {block}, slot {}", slot.1),
                    saw,
                );
            }
        }
        state.sample()
    }
}
