//! Task 2.4, third part: evidence that may be looked at after every request.
//!
//! A gambler bets, coin by coin, that a coin shows heads more often than it should. If it does not, no way of betting makes him rich:
//! the chance that his money *ever* reaches 1/alpha times what he began with is at most alpha (Ville 1939). So his
//! money is evidence, and one may look at it as often as one likes.
//!
//! Sources: Wald, Sequential Tests of Statistical Hypotheses, 1945 ("double dichotomies": two rates, by pairs); Robbins,
//! Statistical Methods Related to the Law of the Iterated Logarithm, 1970 (mixtures); Kulldorff et al., A Maximized Sequential
//! Probability Ratio Test for Drug and Vaccine Safety Surveillance, 2011 (the same coin, for vaccines); Johari et al., Peeking
//! at A/B Tests, KDD 2017 (always-valid p-values); Ramdas et al., Game-Theoretic Statistics and Safe Anytime-Valid
//! Inference, 2023 (betting).

/// How many times the odds of heads the gambler's bets believe in. He spreads his money evenly over them, because he does not know.
pub const RATIOS: [f64; 6] = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// A gambler who bets that heads come more often than `null` says.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bet {
    /// The natural logarithm of what became of one coin that was put on each of [`RATIOS`].
    log_wealth: [f64; RATIOS.len()],
    /// Coins seen.
    coins: u64,
}

impl Bet {
    /// Sees one coin. `null`: how probable heads are at most if nothing is wrong, from 0 to 1, both excluded. It may differ from
    /// coin to coin, but must not depend on how this one falls.
    pub fn observe(&mut self, heads: bool, null: f64) {
        // The bet on a ratio r believes in heads with probability p, whose odds p / (1 - p) are r times those of `null`. It pays p / null for
        // heads and (1 - p) / (1 - null) for tails: a fair price if `null` is true, a loss on average if heads are rarer still.
        // Add the logarithm to each wealth.
        // ANCHOR: task_2_4_bet
        for (log_wealth, ratio) in self.log_wealth.iter_mut().zip(RATIOS) {
            let p = ratio * null / (ratio * null + 1.0 - null);
            *log_wealth += if heads { p / null } else { (1.0 - p) / (1.0 - null) }.ln();
        }
        self.coins += 1;
        // ANCHOR_END: task_2_4_bet
    }

    /// The logarithm of all his money, where he began with 1.
    #[must_use]
    pub fn log_evidence(&self) -> f64 {
        // The mean of what became of the bets, not the best of them: he did not know which it would be. Wealth overflows and
        // underflows, so take the largest logarithm out first: ln(mean(exp(w))) = m + ln(mean(exp(w - m))).
        // ANCHOR: task_2_4_evidence
        let most = self.log_wealth.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.log_wealth.iter().map(|log_wealth| (log_wealth - most).exp()).sum();
        most + (sum / RATIOS.len() as f64).ln()
        // ANCHOR_END: task_2_4_evidence
    }

    /// Whether he has made so much that `null` is not credible: wrongly so with probability `alpha` at most, however often one asks.
    #[must_use]
    pub fn rejects(&self, alpha: f64) -> bool {
        self.log_evidence() >= -alpha.ln()
    }

    /// Coins seen.
    #[must_use]
    pub fn coins(&self) -> u64 {
        self.coins
    }
}
