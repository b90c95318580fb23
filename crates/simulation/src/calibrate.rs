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
}

/// Measured steps that say nothing about a roof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// Three unknowns need three equations.
    #[error("{got} samples are too few: at least 3 are needed")]
    TooFew {
        /// How many there were.
        got: usize,
    },
    /// One of the roofs binds no sample, or all samples are alike.
    #[error(
        "the samples do not show {what}: measure prompts of several lengths, and single tokens"
    )]
    Blind {
        /// What they do not show.
        what: &'static str,
    },
}

/// Rounds of asking which roof binds each sample. It settles after two or three.
const MAX_ROUNDS: usize = 32;

/// Fits `time = step + max(flops / F, bytes / B)` to measured steps, each step weighing the same by
/// its relative error.
///
/// Which of the two binds a step depends on the roofs, and the roofs on that: so it starts with the
/// steps of above and below the median intensity (FLOP a byte), fits, and asks again until the
/// answer stays the same.
///
/// # Errors
/// [`CalibrationError`] where the samples do not show both roofs.
pub fn calibrate(samples: &[Sample]) -> Result<Roofs, CalibrationError> {
    if samples.len() < 3 {
        return Err(CalibrationError::TooFew { got: samples.len() });
    }
    let mut intensities: Vec<f64> = samples.iter().map(|step| step.flops / step.bytes).collect();
    intensities.sort_by(f64::total_cmp);
    // Between the two in the middle: equal ones stay together.
    let ridge = (intensities[(samples.len() - 1) / 2] * intensities[samples.len() / 2]).sqrt();
    let mut bound: Vec<bool> = samples.iter().map(|s| s.flops / s.bytes > ridge).collect();
    let mut roofs = fit(samples, &bound)?;
    for _ in 0..MAX_ROUNDS {
        let ridge = roofs.flops / roofs.bandwidth;
        let next: Vec<bool> = samples.iter().map(|s| s.flops / s.bytes > ridge).collect();
        if next == bound {
            break;
        }
        bound = next;
        roofs = fit(samples, &bound)?;
    }
    Ok(roofs)
}

/// Least squares of the relative error, given which samples arithmetic binds.
fn fit(samples: &[Sample], compute_bound: &[bool]) -> Result<Roofs, CalibrationError> {
    let mut normal = [[0.0; 4]; 3];
    for (sample, &compute) in samples.iter().zip(compute_bound) {
        let time = sample.time.as_secs_f64();
        let (flops, bytes) = if compute { (sample.flops, 0.0) } else { (0.0, sample.bytes) };
        let row = [flops / time, bytes / time, 1.0 / time, 1.0];
        for (i, line) in normal.iter_mut().enumerate() {
            (0..4).for_each(|j| line[j] += row[i] * row[j]);
        }
    }
    let [per_flop, per_byte, step] = solve(normal)?;
    let positive = |value: f64, what| {
        if value > 0.0 { Ok(value.recip()) } else { Err(CalibrationError::Blind { what }) }
    };
    Ok(Roofs {
        flops: positive(per_flop, "how fast the device computes")?,
        bandwidth: positive(per_byte, "how fast it reads memory")?,
        // A line may meet the axis a little below 0.
        step: Duration::from_secs_f64(step.max(0.0)),
    })
}

/// Solves three equations by elimination. Columns of very different size are scaled first.
fn solve(mut m: [[f64; 4]; 3]) -> Result<[f64; 3], CalibrationError> {
    let blind = CalibrationError::Blind { what: "more than one kind of step" };
    let scale: [f64; 3] = std::array::from_fn(|i| m[i][i].sqrt());
    if scale.iter().any(|scale| *scale <= 0.0) {
        return Err(blind);
    }
    for i in 0..3 {
        (0..3).for_each(|j| m[i][j] /= scale[i] * scale[j]);
        m[i][3] /= scale[i];
    }
    for pivot in 0..3 {
        if m[pivot][pivot].abs() < 1e-12 {
            return Err(blind);
        }
        for row in (0..3).filter(|row| *row != pivot) {
            let factor = m[row][pivot] / m[pivot][pivot];
            let line = m[pivot];
            m[row].iter_mut().zip(line).for_each(|(cell, above)| *cell -= factor * above);
        }
    }
    Ok(std::array::from_fn(|i| m[i][3] / m[i][i] / scale[i]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn measured(roofs: Roofs, steps: &[(f64, f64)]) -> Vec<Sample> {
        let time = |flops: f64, bytes: f64| {
            roofs.step + Duration::from_secs_f64((flops / roofs.flops).max(bytes / roofs.bandwidth))
        };
        steps
            .iter()
            .map(|&(flops, bytes)| Sample { flops, bytes, time: time(flops, bytes) })
            .collect()
    }

    proptest! {
        #[test]
        fn roofs_are_found_again(
            gflops in 1.0f64..1_000.0,
            gb in 1.0f64..200.0,
            step_us in 0u64..2_000,
        ) {
            let roofs = Roofs {
                flops: gflops * 1e9,
                bandwidth: gb * 1e9,
                step: Duration::from_micros(step_us),
            };
            // Around the ridge of this device: from 1/8 of it to 8 times.
            let bytes = 3e8;
            let at = |times: f64| (times * roofs.flops / roofs.bandwidth * bytes, bytes * (1.0 + times.min(1.0)));
            let steps: Vec<_> = [0.05, 0.1, 0.2, 8.0, 16.0, 40.0].map(at).to_vec();
            let found = calibrate(&measured(roofs, &steps)).unwrap();
            prop_assert!((found.flops / roofs.flops - 1.0).abs() < 1e-3, "{found:?}");
            prop_assert!((found.bandwidth / roofs.bandwidth - 1.0).abs() < 1e-3, "{found:?}");
        }
    }

    #[test]
    fn samples_that_show_one_roof_are_refused() {
        let roofs = Roofs { flops: 1e11, bandwidth: 1e10, step: Duration::from_millis(1) };
        let two = measured(roofs, &[(1e9, 1e9), (1e12, 1e9)]);
        assert_eq!(calibrate(&two), Err(CalibrationError::TooFew { got: 2 }));
        let alike = measured(roofs, &[(1e9, 1e9); 5]);
        assert!(matches!(calibrate(&alike), Err(CalibrationError::Blind { .. })));
    }
}
