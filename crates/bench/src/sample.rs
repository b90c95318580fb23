//! Repeated figures: what stands for them, and how those of two programs compare.

use serde::{Deserialize, Serialize};

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better: tokens a second.
    Higher,
    /// Less is better: processor time a request.
    Lower,
    /// This value is right: an arrival rate that was asked for.
    Nearest(f64),
}

/// Several figures by one that stands for them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one; the mean of the two middle ones where their number is even.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// `None` for no figures at all, and where one is not a number.
    #[must_use]
    pub fn of(figures: &[f64]) -> Option<Self> {
        if figures.iter().any(|figure| !figure.is_finite()) {
            return None;
        }
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let lower = sorted[(sorted.len() - 1) / 2];
        // Halved first: two large figures may have no sum.
        Some(Self { median: lower / 2.0 + sorted[middle] / 2.0, min, max })
    }
}

/// How many times as good `ours` is as `theirs`: above 1 we are better, whichever way is better. Figures are
/// compared with those of the same round, since rounds differ more than programs do.
///
/// `None` where there is nothing to compare, where a figure is not above 0, and for [`Better::Nearest`].
#[must_use]
pub fn ratio(ours: &[f64], theirs: &[f64], better: Better) -> Option<Spread> {
    let pairs: Option<Vec<f64>> = ours
        .iter()
        .zip(theirs)
        .map(|(&ours, &theirs)| {
            let both = ours > 0.0 && theirs > 0.0;
            match better {
                Better::Higher if both => Some(ours / theirs),
                Better::Lower if both => Some(theirs / ours),
                _ => None,
            }
        })
        .collect();
    Spread::of(&pairs?)
}

/// In which order `sides` programs run in a round: A B, then B A. Whatever changes slowly, heat or a neighbour,
/// then weighs on both alike.
pub fn order(round: usize, sides: usize) -> impl Iterator<Item = usize> {
    let forward = round.is_multiple_of(2);
    (0..sides).map(move |at| if forward { at } else { sides - 1 - at })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_median_of_two_is_their_mean() {
        let spread = Spread::of(&[3.0, 1.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn a_ratio_above_one_means_that_ours_is_better_whichever_way_is_better() {
        let ratio = |better| ratio(&[2.0], &[4.0], better).map(|spread| spread.median);
        assert_eq!(ratio(Better::Higher), Some(0.5));
        assert_eq!(ratio(Better::Lower), Some(2.0));
        assert_eq!(ratio(Better::Nearest(3.0)), None);
    }

    #[test]
    fn programs_change_places_from_round_to_round() {
        assert_eq!(order(0, 3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(order(1, 3).collect::<Vec<_>>(), [2, 1, 0]);
    }

    fn figures() -> impl Strategy<Value = Vec<(f64, f64)>> {
        prop::collection::vec((1e-6..1e9_f64, 1e-6..1e9_f64), 1..9)
    }

    proptest! {
        #[test]
        fn the_median_lies_between_the_extremes(figures in figures()) {
            let (ours, _): (Vec<f64>, Vec<f64>) = figures.into_iter().unzip();
            let Spread { median, min, max } = Spread::of(&ours).unwrap();
            prop_assert!(min <= median && median <= max);
        }

        #[test]
        fn a_program_is_as_good_as_itself(figures in figures()) {
            let (ours, _): (Vec<f64>, Vec<f64>) = figures.into_iter().unzip();
            for better in [Better::Higher, Better::Lower] {
                let same = Spread { median: 1.0, min: 1.0, max: 1.0 };
                prop_assert_eq!(ratio(&ours, &ours, better), Some(same));
            }
        }

        #[test]
        fn swapping_the_sides_inverts_the_extremes(figures in figures()) {
            let (ours, theirs): (Vec<f64>, Vec<f64>) = figures.into_iter().unzip();
            let there = ratio(&ours, &theirs, Better::Higher).unwrap();
            let back = ratio(&theirs, &ours, Better::Higher).unwrap();
            prop_assert!((there.min * back.max - 1.0).abs() < 1e-9);
            prop_assert!((there.max * back.min - 1.0).abs() < 1e-9);
            prop_assert_eq!(ratio(&ours, &theirs, Better::Lower), Some(back));
        }

        #[test]
        fn what_slows_a_whole_round_leaves_the_ratio_alone(figures in figures(), slow in 0.1..10.0_f64) {
            let (ours, theirs): (Vec<f64>, Vec<f64>) = figures.into_iter().unzip();
            let slowed = |figures: &[f64]| figures.iter().map(|figure| figure * slow).collect::<Vec<_>>();
            let before = ratio(&ours, &theirs, Better::Higher).unwrap();
            let after = ratio(&slowed(&ours), &slowed(&theirs), Better::Higher).unwrap();
            prop_assert!((before.median / after.median - 1.0).abs() < 1e-9);
        }

        #[test]
        fn every_program_runs_once_a_round(round in 0..9_usize, sides in 0..5_usize) {
            let mut seen: Vec<usize> = order(round, sides).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..sides).collect::<Vec<_>>());
        }
    }
}
