//! A step plan as the model wants it: all tokens in one row, and a span for each chunk.

use std::ops::Range;

use serving::{StepPlan, TokenId, blocks_for};

use crate::ModelError;

/// The tokens of one chunk: where they are in the batch, in their sequence and in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Rows of the batch.
    pub(crate) rows: Range<usize>,
    /// Position of the first row in its sequence; all before it are in the cache.
    pub(crate) start: usize,
    /// The sequence's blocks, in order.
    pub(crate) table: Vec<u32>,
}

/// All chunks of a step.
#[derive(Debug)]
pub(crate) struct Batch {
    /// `(T)`: all tokens, chunk after chunk.
    pub(crate) tokens: Vec<TokenId>,
    /// `(T)`: the position of each in its sequence.
    pub(crate) positions: Vec<u32>,
    /// `(T)`: the slot of each in the cache, `block * block_size + offset`.
    pub(crate) slots: Vec<u32>,
    /// One a chunk.
    pub(crate) spans: Vec<Span>,
    /// The rows after which a token is sampled.
    pub(crate) sampled_rows: Vec<u32>,
}

/// What a plan must fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) vocab_size: usize,
    pub(crate) max_position: usize,
    pub(crate) num_blocks: usize,
    pub(crate) block_size: usize,
}

impl Span {
    /// Tokens of the sequence in the cache once this step's own are written.
    pub(crate) fn context(&self) -> usize {
        self.start + self.rows.len()
    }

    /// The block of a position.
    pub(crate) fn block(&self, position: usize, block_size: usize) -> u32 {
        self.table[position / block_size]
    }

    /// The cache slot of a position.
    pub(crate) fn slot(&self, position: usize, block_size: usize) -> usize {
        self.table[position / block_size] as usize * block_size + position % block_size
    }
}

impl Batch {
    /// Lays out a plan, and refuses one that would read or write where it must not.
    pub(crate) fn new(plan: &StepPlan, limits: Limits) -> Result<Self, ModelError> {
        let total = plan.num_tokens();
        let mut batch = Self {
            tokens: Vec::with_capacity(total),
            positions: Vec::with_capacity(total),
            slots: Vec::with_capacity(total),
            spans: Vec::with_capacity(plan.chunks.len()),
            sampled_rows: Vec::new(),
        };
        for chunk in &plan.chunks {
            let wrong = |reason: String| Err(ModelError::Plan { sequence: chunk.sequence, reason });
            if chunk.tokens.is_empty() {
                return wrong("its chunk is empty".into());
            }
            if chunk.end() > limits.max_position {
                let limit = limits.max_position;
                return wrong(format!("position {} is beyond the model's {limit}", chunk.end()));
            }
            let blocks = blocks_for(chunk.end(), limits.block_size);
            if chunk.block_table.len() < blocks {
                let has = chunk.block_table.len();
                return wrong(format!("{} tokens need {blocks} blocks, not {has}", chunk.end()));
            }
            let table: Vec<u32> = chunk.block_table[..blocks].iter().map(|block| block.0).collect();
            if let Some(block) = table.iter().find(|&&block| block as usize >= limits.num_blocks) {
                return wrong(format!(
                    "block {block} is outside the cache's {}",
                    limits.num_blocks
                ));
            }
            if let Some(token) = chunk.tokens.iter().find(|&&t| t as usize >= limits.vocab_size) {
                let size = limits.vocab_size;
                return wrong(format!("token {token} is outside the vocabulary of {size}"));
            }
            let first = batch.tokens.len();
            let span = Span { rows: first..first + chunk.tokens.len(), start: chunk.start, table };
            for position in chunk.start..chunk.end() {
                batch.positions.push(position as u32);
                batch.slots.push(span.slot(position, limits.block_size) as u32);
            }
            batch.tokens.extend(&chunk.tokens);
            if chunk.samples {
                batch.sampled_rows.push(span.rows.end as u32 - 1);
            }
            batch.spans.push(span);
        }
        Ok(batch)
    }
}
