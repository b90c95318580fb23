//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864): angles by position.

use std::f32::consts::TAU;

use candle_core::{Device, Tensor};

use crate::{LlamaConfig, ModelError, RopeScaling};

/// Turns positions into the cosines and sines that queries and keys are rotated by.
///
/// The pairs are `(i, i + head_dim / 2)`, as Hugging Face stores weights; rows of GGUF files, whose pairs
/// are neighbours, are reordered when they are loaded.
#[derive(Debug)]
pub(crate) struct Rope {
    /// Radians a position, for each of `head_dim / 2` pairs.
    frequencies: Vec<f32>,
}

impl Rope {
    /// `factors`, where the file carries them, divide the frequencies one by one and replace
    /// [`RopeScaling`].
    pub(crate) fn new(config: &LlamaConfig, factors: Option<&[f32]>) -> Self {
        let half = config.head_dim / 2;
        let frequencies = (0..half)
            .map(|pair| {
                let exponent = 2.0 * pair as f32 / config.head_dim as f32;
                let frequency = config.rope_theta.powf(-exponent);
                match factors {
                    Some(factors) => frequency / factors[pair],
                    None => config.rope_scaling.apply(frequency),
                }
            })
            .collect();
        Self { frequencies }
    }

    /// `(T) -> cos (T, head_dim / 2), sin (T, head_dim / 2)`.
    pub(crate) fn angles(
        &self,
        positions: &[u32],
        device: &Device,
    ) -> Result<(Tensor, Tensor), ModelError> {
        let shape = (positions.len(), self.frequencies.len());
        let (cos, sin) = self.rows(positions);
        Ok((Tensor::from_vec(cos, shape, device)?, Tensor::from_vec(sin, shape, device)?))
    }

    /// The same as plain numbers.
    pub(crate) fn rows(&self, positions: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let angles = |&p: &u32| self.frequencies.iter().map(move |f| f64::from(p) * f64::from(*f));
        positions
            .iter()
            .flat_map(angles)
            .map(|angle| (angle.cos() as f32, angle.sin() as f32))
            .unzip()
    }
}

// === impl RopeScaling ===

impl RopeScaling {
    /// The frequency that takes the place of this one.
    fn apply(self, frequency: f32) -> f32 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let turns = original_context * frequency / TAU;
                let high = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let high = high.clamp(0.0, 1.0);
                frequency * (high + (1.0 - high) / factor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192.0,
        };
        assert_eq!(scaling.apply(1.0), 1.0);
        assert_eq!(scaling.apply(1e-4), 1e-4 / 32.0);
        let between = TAU * 2.5 / 8192.0;
        let expected = between * (0.5 + 0.5 / 32.0);
        assert!((scaling.apply(between) - expected).abs() < 1e-9);
    }

    #[test]
    fn position_0_is_not_turned() {
        let config = crate::tiny::config();
        let (cos, sin) = Rope::new(&config, None).angles(&[0, 1], &Device::Cpu).unwrap();
        assert_eq!(cos.to_vec2::<f32>().unwrap()[0], vec![1.0; config.head_dim / 2]);
        assert_eq!(sin.to_vec2::<f32>().unwrap()[0], vec![0.0; config.head_dim / 2]);
        assert!((sin.to_vec2::<f32>().unwrap()[1][0] - 1f32.sin()).abs() < 1e-6);
    }
}
