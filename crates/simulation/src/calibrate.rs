//! From measured steps to the roofs of a device that has no spec sheet: this machine's CPU, for
//! example.

use std::time::Duration;

/// One measured step: what it asked for, and how long it took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Arithmetic of the step in FLOP.
    pub flops: f64,
    /// Memory traffic of the step in bytes.
    pub bytes: f64,
    /// Sequences that it fed.
    pub sequences: usize,
    /// From plan to sampled tokens.
    pub time: Duration,
}

/// The roofs that explain measured steps best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roofs {
    /// Arithmetic reached, in FLOP/s.
    pub flops: f64,
    /// Bandwidth reached, in bytes/s.
    pub bandwidth: f64,
    /// What every step takes on top.
    pub step: Duration,
    /// What every sequence of a step takes on top.
    pub sequence: Duration,
}

impl Roofs {
    /// How long a step of so many FLOP, bytes and sequences takes under these roofs.
    #[must_use]
    pub fn time(&self, flops: f64, bytes: f64, sequences: usize) -> Duration {
        let busy = (flops / self.flops).max(bytes / self.bandwidth);
        self.step + self.sequence * sequences as u32 + Duration::from_secs_f64(busy)
    }
}

/// Measured steps that say nothing about a roof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// As many unknowns need as many equations.
    #[error("{got} samples are too few: at least {UNKNOWNS} are needed")]
    TooFew {
        /// How many there were.
        got: usize,
    },
    /// A sample that no device can have measured.
    #[error(
        "a step takes time, and asks for FLOP, bytes and a sequence; one of the samples does not"
    )]
    Nothing,
    /// One of the roofs binds no sample, or all samples are alike.
    #[error(
        "the samples do not show both how fast the device computes and how fast it reads memory: \
         measure prompts of several lengths, and single tokens"
    )]
    Blind,
}

/// 1/F and 1/B of the two roofs, then the time of a step and of a sequence.
const UNKNOWNS: usize = 4;
/// Below this, what elimination divides by is rounding.
const SINGULAR: f64 = 1e-10;

/// Times or times per unit, none below 0.
type Solution = [f64; UNKNOWNS];

/// Fits `time = step + sequence x sequences + max(flops / F, bytes / B)` to measured steps, each
/// step weighing the same by its relative error.
///
/// Which of the two roofs binds a step depends on where they meet: at some intensity, in FLOP a
/// byte. There are only as many answers as there are samples between which that can lie. So each is
/// tried, and the one with the least error is taken.
///
/// # Errors
/// [`CalibrationError`] where the samples do not show both roofs.
pub fn calibrate(samples: &[Sample]) -> Result<Roofs, CalibrationError> {
    if samples.len() < UNKNOWNS {
        return Err(CalibrationError::TooFew { got: samples.len() });
    }
    let valid = |s: &Sample| s.flops > 0.0 && s.bytes > 0.0 && s.sequences > 0 && !s.time.is_zero();
    if !samples.iter().all(valid) {
        return Err(CalibrationError::Nothing);
    }
    let fits = samples.iter().filter_map(|last| {
        let ridge = last.flops / last.bytes;
        let solution = fit(samples, |sample| sample.flops / sample.bytes > ridge)?;
        roofs(solution)
    });
    let best = fits.min_by(|one, two| error(samples, one).total_cmp(&error(samples, two)));
    best.ok_or(CalibrationError::Blind)
}

/// `None` where one of the roofs is not there.
fn roofs([per_flop, per_byte, step, sequence]: Solution) -> Option<Roofs> {
    (per_flop > 0.0 && per_byte > 0.0).then(|| Roofs {
        flops: per_flop.recip(),
        bandwidth: per_byte.recip(),
        step: Duration::from_secs_f64(step),
        sequence: Duration::from_secs_f64(sequence),
    })
}

/// Sum of squared relative errors.
fn error(samples: &[Sample], roofs: &Roofs) -> f64 {
    let off = |s: &Sample| {
        roofs.time(s.flops, s.bytes, s.sequences).as_secs_f64() / s.time.as_secs_f64() - 1.0
    };
    samples.iter().map(|sample| off(sample).powi(2)).sum()
}

/// Least squares of the relative error without negative unknowns, given which samples arithmetic
/// binds.
///
/// The least of all solutions that leave some unknowns at 0 and have none below: with four
/// unknowns, sixteen to look at.
fn fit(samples: &[Sample], compute_bound: impl Fn(&Sample) -> bool) -> Option<Solution> {
    let rows: Vec<Solution> = samples
        .iter()
        .map(|sample| {
            let time = sample.time.as_secs_f64();
            let (flops, bytes) =
                if compute_bound(sample) { (sample.flops, 0.0) } else { (0.0, sample.bytes) };
            [flops, bytes, 1.0, sample.sequences as f64].map(|part| part / time)
        })
        .collect();
    let misses = |solution: &Solution| -> f64 {
        let predicted = rows.iter().map(|row| (0..UNKNOWNS).map(|i| row[i] * solution[i]).sum());
        predicted.map(|share: f64| (share - 1.0).powi(2)).sum()
    };
    let supports = (1..1 << UNKNOWNS).map(|bits| std::array::from_fn(|i| bits >> i & 1 == 1));
    let solutions = supports.filter_map(|used| solve(&rows, used));
    let allowed = solutions.filter(|solution| solution.iter().all(|unknown| *unknown >= 0.0));
    allowed.min_by(|one, two| misses(one).total_cmp(&misses(two)))
}

/// Least squares of `row x unknowns = 1` with the used unknowns, by the normal equations; the others
/// are 0. `None` where the rows do not tell the used ones apart.
fn solve(rows: &[Solution], used: [bool; UNKNOWNS]) -> Option<Solution> {
    let mut m = [[0.0; UNKNOWNS + 1]; UNKNOWNS];
    for row in rows {
        for (i, line) in m.iter_mut().enumerate() {
            (0..UNKNOWNS).for_each(|j| line[j] += row[i] * row[j]);
            line[UNKNOWNS] += row[i];
        }
    }
    // Columns of very different size are scaled first.
    let scale: Solution = std::array::from_fn(|i| m[i][i].sqrt());
    for i in (0..UNKNOWNS).filter(|&i| used[i]) {
        if scale[i] <= 0.0 {
            return None;
        }
        (0..UNKNOWNS).filter(|&j| used[j]).for_each(|j| m[i][j] /= scale[i] * scale[j]);
        m[i][UNKNOWNS] /= scale[i];
    }
    for pivot in (0..UNKNOWNS).filter(|&i| used[i]) {
        if m[pivot][pivot].abs() < SINGULAR {
            return None;
        }
        for row in (0..UNKNOWNS).filter(|&row| used[row] && row != pivot) {
            let factor = m[row][pivot] / m[pivot][pivot];
            let line = m[pivot];
            m[row].iter_mut().zip(line).for_each(|(cell, above)| *cell -= factor * above);
        }
    }
    let value = |i: usize| m[i][UNKNOWNS] / m[i][i] / scale[i];
    Some(std::array::from_fn(|i| if used[i] { value(i) } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn measured(roofs: Roofs, steps: &[(f64, f64, usize)]) -> Vec<Sample> {
        let sample = |&(flops, bytes, sequences): &(f64, f64, usize)| {
            let time = roofs.time(flops, bytes, sequences);
            Sample { flops, bytes, sequences, time }
        };
        steps.iter().map(sample).collect()
    }

    /// Decodes and prompts around the ridge of a device: from 1/20 of it to 40 times.
    fn around(roofs: Roofs) -> Vec<(f64, f64, usize)> {
        let bytes = 3e8;
        let at = |(times, sequences): (f64, usize)| {
            let flops = times * roofs.flops / roofs.bandwidth * bytes;
            (flops, bytes * (1.0 + times.min(1.0)), sequences)
        };
        [(0.05, 1), (0.1, 2), (0.2, 8), (0.4, 1), (8.0, 1), (16.0, 3), (40.0, 1)].map(at).to_vec()
    }

    proptest! {
        #[test]
        fn roofs_are_found_again(
            gflops in 1.0f64..1_000.0,
            gb in 1.0f64..200.0,
            step_us in 0u64..2_000,
            sequence_us in 0u64..500,
        ) {
            let roofs = Roofs {
                flops: gflops * 1e9,
                bandwidth: gb * 1e9,
                step: Duration::from_micros(step_us),
                sequence: Duration::from_micros(sequence_us),
            };
            let found = calibrate(&measured(roofs, &around(roofs))).unwrap();
            prop_assert!((found.flops / roofs.flops - 1.0).abs() < 1e-3, "{found:?}");
            prop_assert!((found.bandwidth / roofs.bandwidth - 1.0).abs() < 1e-3, "{found:?}");
            let off = |one: Duration, two: Duration| one.abs_diff(two).as_secs_f64();
            prop_assert!(off(found.sequence, roofs.sequence) < 1e-5, "{found:?}");
            prop_assert!(off(found.step, roofs.step) < 1e-4, "{found:?}");
        }

        #[test]
        fn noise_never_makes_a_negative_or_absent_roof(
            noise in prop::collection::vec(0.7f64..1.4, 7),
        ) {
            let (step, sequence) = (Duration::from_millis(1), Duration::from_micros(100));
            let roofs = Roofs { flops: 5e11, bandwidth: 5e10, step, sequence };
            let mut samples = measured(roofs, &around(roofs));
            for (sample, noise) in samples.iter_mut().zip(noise) {
                sample.time = sample.time.mul_f64(noise);
            }
            if let Ok(found) = calibrate(&samples) {
                prop_assert!(found.flops.is_finite() && found.flops > 0.0);
                prop_assert!(found.bandwidth.is_finite() && found.bandwidth > 0.0);
            }
        }
    }

    #[test]
    fn samples_that_show_one_roof_are_refused() {
        let (step, sequence) = (Duration::from_millis(1), Duration::ZERO);
        let roofs = Roofs { flops: 1e11, bandwidth: 1e10, step, sequence };
        let few = measured(roofs, &[(1e9, 1e9, 1), (1e12, 1e9, 1), (1e12, 1e9, 2)]);
        assert_eq!(calibrate(&few), Err(CalibrationError::TooFew { got: 3 }));
        let alike = measured(roofs, &[(1e9, 1e9, 1); 5]);
        assert_eq!(calibrate(&alike), Err(CalibrationError::Blind));
        let mut timeless = measured(roofs, &around(roofs));
        timeless[2].time = Duration::ZERO;
        assert_eq!(calibrate(&timeless), Err(CalibrationError::Nothing));
    }
}
