//! Task 2.1, its last step: from scores to one candidate.

use fastrand::Rng;

use crate::two_choices::two_choices;

/// Scores that differ by less are equal: sums of products of the same numbers in another order.
const EQUAL: f64 = 1e-9;

/// How one of several scored candidates is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picker {
    /// The best: `max-score-picker`. Right where one candidate has what no other has, such as a prefix.
    MaxScore,
    /// The better of two at random. Right where the scores are old and others see them too.
    BestOfTwo,
}

// === impl Picker ===

impl Picker {
    /// The place of the picked one; `None` where there is none.
    pub fn pick(self, scores: &[f64], rng: &mut Rng) -> Option<usize> {
        match self {
            Self::MaxScore => max_score(scores, rng),
            Self::BestOfTwo => two_choices(scores.len(), rng, |place| -scores[place]),
        }
    }
}

/// A place with the highest score.
#[must_use]
pub fn max_score(scores: &[f64], rng: &mut Rng) -> Option<usize> {
    // Where several are best (to within `EQUAL`), each of them is as likely. A score that is not a number, from a scorer
    // that divided by zero, is never best; but somebody is picked as long as there is anybody.
    // ANCHOR: task_2_1_max_score
    let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let is_best = |score: f64| score >= best - EQUAL || best == f64::NEG_INFINITY;
    let ties: Vec<usize> = (0..scores.len()).filter(|&place| is_best(scores[place])).collect();
    rng.choice(ties)
    // ANCHOR_END: task_2_1_max_score
}
