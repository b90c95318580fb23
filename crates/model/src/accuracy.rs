//! How far the format that weights are served in is from the weights themselves.

use serving::{BlockId, BlockTable, Chunk, SequenceId, StepPlan, TokenId};

use crate::{CandleExecutor, ModelError};

/// What [`compare`] reads: prose, numbers, a list and code, as requests have them.
pub const TEXT: &str = include_str!("accuracy.txt");

/// How two forms of one model judge the same text. Logarithms are natural.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Tokens that were judged: all but the first.
    pub tokens: usize,
    /// Mean difference between the log-probabilities of the text's own tokens, without sign.
    pub mean: f64,
    /// The largest such difference.
    pub max: f64,
    /// Share of the positions at which both find the same token the likeliest.
    pub top_1: f64,
    /// Perplexity of the text under each.
    pub perplexity: [f64; 2],
}

/// Log-probabilities of each token of a text but the first, given those before it, and the likeliest token at
/// each place. Uses the first blocks of the cache, as many as the text needs.
///
/// # Errors
/// [`ModelError::Plan`] where the text is longer than the model or the cache.
pub fn judge(
    executor: &mut CandleExecutor,
    text: &[TokenId],
) -> Result<Vec<(f64, TokenId)>, ModelError> {
    let blocks = serving::blocks_for(text.len(), executor.block_size());
    let table: BlockTable = (0..blocks as u32).map(BlockId).collect::<Vec<_>>().into();
    let mut judged = Vec::with_capacity(text.len());
    // A chunk for each token, so that there are logits at each; all of one sequence.
    let chunk = |at: usize| Chunk {
        sequence: SequenceId(0),
        start: at,
        tokens: [text[at]].into_iter().collect(),
        block_table: table.clone(),
        samples: true,
    };
    let all: Vec<usize> = (0..text.len().saturating_sub(1)).collect();
    for part in all.chunks(STEP) {
        let chunks = part.iter().map(|&at| chunk(at)).collect();
        let rows = executor.logits(&StepPlan { chunks, preempted: Vec::new() })?;
        for (&at, logits) in part.iter().zip(&rows) {
            judged.push(judge_row(logits, text[at + 1]));
        }
    }
    Ok(judged)
}

/// Tokens of one step: their logits are all in memory at once.
const STEP: usize = 64;

/// Compares what two models find in the same text.
#[must_use]
pub fn compare(one: &[(f64, TokenId)], two: &[(f64, TokenId)]) -> Agreement {
    let count = one.len() as f64;
    let off = || one.iter().zip(two).map(|(one, two)| (one.0 - two.0).abs());
    let same = one.iter().zip(two).filter(|(one, two)| one.1 == two.1).count();
    let perplexity =
        |judged: &[(f64, TokenId)]| (-judged.iter().map(|(log, _)| log).sum::<f64>() / count).exp();
    Agreement {
        tokens: one.len(),
        mean: off().sum::<f64>() / count,
        max: off().fold(0.0, f64::max),
        top_1: same as f64 / count,
        perplexity: [perplexity(one), perplexity(two)],
    }
}

/// The log-probability of a token, and the likeliest token.
fn judge_row(logits: &[f32], token: TokenId) -> (f64, TokenId) {
    let mut best = 0;
    for (at, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = at;
        }
    }
    let max = f64::from(logits[best]);
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    (f64::from(logits[token as usize]) - max - sum.ln(), best as TokenId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_judged_by_its_softmax() {
        let (log, best) = judge_row(&[0.0, 2f32.ln(), 5f32.ln()], 1);
        assert!((log.exp() - 0.25).abs() < 1e-6 && best == 2);
    }

    #[test]
    fn differences_are_without_sign() {
        let found = compare(&[(-1.0, 3), (-2.0, 4)], &[(-1.5, 3), (-1.9, 5)]);
        assert!((found.mean - 0.3).abs() < 1e-9 && (found.max - 0.5).abs() < 1e-9);
        assert_eq!((found.tokens, found.top_1), (2, 0.5));
        assert!((found.perplexity[0] - 1.5f64.exp()).abs() < 1e-9);
    }
}
