//! Task 2.4, fifth part: what an A/B test found. How large a difference is, and how sure one can be, matter more than
//! whether there is one.
//!
//! For an experiment that has *ended*, at a time that was fixed before: these intervals hold for one look. While it runs, look at
//! [`Bet`](crate::evidence::Bet)s.

use std::fmt;

use fastrand::Rng;

/// How many standard deviations a normal variable stays within with probability 95 %.
pub const Z_95: f64 = 1.959_963_984_540_054;
/// A split that is less probable than this has a bug: nothing below it can be trusted. Fabijan et al., Diagnosing Sample Ratio
/// Mismatch in Online Controlled Experiments, KDD 2019, use 0.0005; alarms must be rare because each stops an experiment.
pub const MISMATCH: f64 = 0.001;
/// How often a bootstrap draws.
pub const DRAWS: usize = 400;
/// Observations beyond a quantile that its bootstrap needs.
pub const TAIL: usize = 10;

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proportion {
    /// Those that count.
    pub events: u64,
    /// All.
    pub total: u64,
}

impl Proportion {
    /// The part that counts; `None` of nothing.
    #[must_use]
    pub fn part(self) -> Option<f64> {
        (self.total > 0).then(|| self.events as f64 / self.total as f64)
    }
}

/// Between these two, with 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Not less.
    pub low: f64,
    /// Not more.
    pub high: f64,
}

/// How large a difference is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// The best guess.
    pub estimate: f64,
    /// Where it lies.
    pub interval: Interval,
}

/// Where the true part lies. `None` where there is no observation.
///
/// Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 1927. Unlike the textbook's
/// p +- z sqrt(p (1 - p) / n), it is right for rare events: after no failure among 100 requests that one says "0 to 0".
#[must_use]
pub fn wilson(seen: Proportion) -> Option<Interval> {
    // With n requests, the part p, and z = Z_95: the interval's middle is (p + z^2 / 2n) / (1 + z^2 / n), and it reaches
    // z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n) to both sides; never beyond 0 and 1.
    // ANCHOR: task_2_4_wilson
    let (p, n) = (seen.part()?, seen.total as f64);
    let z2 = Z_95 * Z_95;
    let scale = 1.0 + z2 / n;
    let middle = (p + z2 / (2.0 * n)) / scale;
    let reach = Z_95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / scale;
    Some(Interval { low: (middle - reach).max(0.0), high: (middle + reach).min(1.0) })
    // ANCHOR_END: task_2_4_wilson
}

/// By how much the canary's part is larger. `None` where one of them has no observation.
///
/// Newcombe, Interval Estimation for the Difference Between Independent Proportions, Statistics in Medicine 1998, method
/// 10.
#[must_use]
pub fn difference(canary: Proportion, stable: Proportion) -> Option<Effect> {
    // c and s are the two parts, [cl, ch] and [sl, sh] their Wilson intervals, d = c - s. The difference lies between
    // d - sqrt((c - cl)^2 + (sh - s)^2) and d + sqrt((ch - c)^2 + (s - sl)^2): the canary's lower end meets the stable version's upper
    // one, and the other way round. Squares add up because the two are independent.
    // ANCHOR: task_2_4_difference
    let (c, s) = (canary.part()?, stable.part()?);
    let (of_c, of_s) = (wilson(canary)?, wilson(stable)?);
    let estimate = c - s;
    let low = estimate - (c - of_c.low).hypot(of_s.high - s);
    let high = estimate + (of_c.high - c).hypot(s - of_s.low);
    Some(Effect { estimate, interval: Interval { low, high } })
    // ANCHOR_END: task_2_4_difference
}

/// How many times the stable version's part the canary's is. `None` where one of them has no observation.
///
/// On the logarithm, with half an event added to each: Katz et al., Obtaining Confidence Intervals for the Risk Ratio in Cohort
/// Studies, Biometrics 1978; Walter, 1975.
#[must_use]
pub fn ratio(canary: Proportion, stable: Proportion) -> Option<Effect> {
    if canary.total == 0 || stable.total == 0 {
        return None;
    }
    let half = |seen: Proportion| (seen.events as f64 + 0.5, seen.total as f64 + 0.5);
    let ((ce, ct), (se, st)) = (half(canary), half(stable));
    let log = ((ce / ct) / (se / st)).ln();
    let reach = Z_95 * (1.0 / ce - 1.0 / ct + 1.0 / se - 1.0 / st).sqrt();
    let interval = Interval { low: (log - reach).exp(), high: (log + reach).exp() };
    Some(Effect { estimate: log.exp(), interval })
}

/// How often a request of the canary takes longer than one of the stable version, less how often it takes less: from -1 to 1, and 0 where
/// neither is slower. `None` where one of them has none.
///
/// Cliff, Dominance Statistics, Psychological Bulletin 1993. It needs no bell curve and one outlier moves it by one part in n; latencies
/// have no bell curve and many outliers, so Cohen's d would be mostly about the largest of them.
#[must_use]
pub fn cliffs_delta(canary: &[f64], stable: &[f64]) -> Option<f64> {
    // Over all pairs of one of each: (pairs with the canary's larger - pairs with it smaller) / all pairs. Pairs are too many to look
    // at each: sort one side, and `partition_point` tells how many of it are below and how many above.
    // ANCHOR: task_2_4_delta
    if canary.is_empty() || stable.is_empty() {
        return None;
    }
    let mut sorted = stable.to_vec();
    sorted.sort_by(f64::total_cmp);
    let dominance = |value: &f64| {
        let below = sorted.partition_point(|other| other < value);
        let above = sorted.len() - sorted.partition_point(|other| other <= value);
        below as f64 - above as f64
    };
    let sum: f64 = canary.iter().map(dominance).sum();
    Some(sum / (canary.len() * stable.len()) as f64)
    // ANCHOR_END: task_2_4_delta
}

/// How probable a split as uneven as this, or more, is, if the canary was to get `part`: Pearson's chi-squared test with one degree of
/// freedom. `None` where nothing was split, or nothing was to be.
#[must_use]
pub fn sample_ratio(canary: u64, stable: u64, part: f64) -> Option<f64> {
    // Chi-squared is the sum over both of (seen - expected)^2 / expected, and its probability erfc(sqrt(chi-squared / 2)): `libm::erfc`.
    // ANCHOR: task_2_4_mismatch
    let total = (canary + stable) as f64;
    if total == 0.0 || part <= 0.0 || part >= 1.0 {
        return None;
    }
    let square = |seen: u64, expected: f64| (seen as f64 - expected).powi(2) / expected;
    let chi = square(canary, total * part) + square(stable, total * (1.0 - part));
    Some(libm::erfc((chi / 2.0).sqrt()))
    // ANCHOR_END: task_2_4_mismatch
}

/// How probable it is that ranks are as uneven as this, or more, where neither is slower: the Mann-Whitney test, by its normal
/// approximation with the correction for ties. `None` where one of them has none.
#[must_use]
pub fn mann_whitney(canary: &[f64], stable: &[f64]) -> Option<f64> {
    let delta = cliffs_delta(canary, stable)?;
    let (n, m) = (canary.len() as f64, stable.len() as f64);
    let mut all = [canary, stable].concat();
    all.sort_by(f64::total_cmp);
    let cubed = |ties: f64| ties.powi(3) - ties;
    let ties: f64 = all.chunk_by(|a, b| a == b).map(|ties| cubed(ties.len() as f64)).sum();
    let total = n + m;
    let spread = (n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)).max(1.0))).sqrt();
    // U less its mean is half of delta times the number of pairs.
    let z = if spread > 0.0 { delta * n * m / 2.0 / spread } else { 0.0 };
    Some(libm::erfc(z.abs() / std::f64::consts::SQRT_2))
}

/// By how much the canary's `q`-quantile is larger, by the percentile bootstrap (Efron, 1979), drawn with `rng`. `None` where fewer than
/// [`TAIL`] observations of one of them lie beyond the quantile.
#[must_use]
pub fn quantile_difference(
    canary: &[f64],
    stable: &[f64],
    q: f64,
    rng: &mut Rng,
) -> Option<Effect> {
    let fewest = canary.len().min(stable.len()) as f64 * (1.0 - q).min(q);
    if fewest < TAIL as f64 {
        return None;
    }
    let estimate = quantile(&mut canary.to_vec(), q) - quantile(&mut stable.to_vec(), q);
    let mut drawn = Vec::new();
    let mut again = |of: &[f64], rng: &mut Rng| {
        drawn.clear();
        drawn.extend((0..of.len()).map(|_| of[rng.usize(..of.len())]));
        quantile(&mut drawn, q)
    };
    let mut differences: Vec<f64> =
        (0..DRAWS).map(|_| again(canary, rng) - again(stable, rng)).collect();
    let low = quantile(&mut differences, 0.025);
    let high = quantile(&mut differences, 0.975);
    Some(Effect { estimate, interval: Interval { low, high } })
}

/// The smallest value that a part `q` of them does not exceed. `values` must not be empty.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    let rank = (q * values.len() as f64).ceil() as usize;
    *values.select_nth_unstable_by(rank.clamp(1, values.len()) - 1, f64::total_cmp).1
}

/// What one version did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Requests that failed.
    pub failed: u64,
    /// Latencies of the others, in milliseconds.
    pub latencies_ms: Vec<f64>,
}

impl Sample {
    fn failures(&self) -> Proportion {
        Proportion { events: self.failed, total: self.failed + self.latencies_ms.len() as u64 }
    }
}

/// What an A/B test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// Requests: stable, canary.
    pub requests: [u64; 2],
    /// How probable this split is, if nothing is broken.
    pub sample_ratio: Option<f64>,
    /// By how much more often the canary fails.
    pub failures: Option<Effect>,
    /// How many times as often.
    pub failure_ratio: Option<Effect>,
    /// Cliff's delta of latencies: above 0, the canary is slower.
    pub delta: Option<f64>,
    /// How probable such ranks are if neither is slower.
    pub rank_p: Option<f64>,
    /// By how many milliseconds the canary's median is larger.
    pub median_ms: Option<Effect>,
    /// And its 99th percentile.
    pub p99_ms: Option<Effect>,
}

impl Report {
    /// Compares two samples, of which the canary's was to be `part` of the traffic. Equal seeds give equal reports.
    #[must_use]
    pub fn of(canary: &Sample, stable: &Sample, part: f64, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (of_canary, of_stable) = (canary.failures(), stable.failures());
        let (slow, quick) = (&canary.latencies_ms, &stable.latencies_ms);
        Self {
            requests: [of_stable.total, of_canary.total],
            sample_ratio: sample_ratio(of_canary.total, of_stable.total, part),
            failures: difference(of_canary, of_stable),
            failure_ratio: ratio(of_canary, of_stable),
            delta: cliffs_delta(slow, quick),
            rank_p: mann_whitney(slow, quick),
            median_ms: quantile_difference(slow, quick, 0.5, &mut rng),
            p99_ms: quantile_difference(slow, quick, 0.99, &mut rng),
        }
    }

    /// Whether the traffic was split as planned. If not, requests were lost or moved on the way, and those were hardly
    /// average ones: nothing else in the report can be believed.
    #[must_use]
    pub fn is_trustworthy(&self) -> bool {
        self.sample_ratio.is_some_and(|p| p >= MISMATCH)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [stable, canary] = self.requests;
        let number = |value: Option<f64>, digits: usize| {
            value.map_or("unknown".to_owned(), |value| format!("{value:.digits$}"))
        };
        let effect = |effect: Option<Effect>, scale: f64, digits: usize| {
            let Some(Effect { estimate, interval }) = effect else { return "unknown".to_owned() };
            let [e, l, h] = [estimate, interval.low, interval.high].map(|value| value * scale);
            format!("{e:+.digits$} ({l:+.digits$} to {h:+.digits$})")
        };
        writeln!(f, "requests           stable {stable}, canary {canary}")?;
        let verdict = if self.is_trustworthy() { "as planned" } else { "MISMATCH: do not read on" };
        writeln!(f, "split              {verdict} (p = {})", number(self.sample_ratio, 4))?;
        writeln!(f, "failures, points   {}", effect(self.failures, 100.0, 2))?;
        writeln!(f, "failures, times    {}", effect(self.failure_ratio, 1.0, 2))?;
        writeln!(f, "median, ms         {}", effect(self.median_ms, 1.0, 1))?;
        writeln!(f, "p99, ms            {}", effect(self.p99_ms, 1.0, 1))?;
        let (delta, p) = (number(self.delta, 3), number(self.rank_p, 4));
        write!(f, "Cliff's delta      {delta} (p = {p})")
    }
}
