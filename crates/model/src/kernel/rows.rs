//! What a llama does to rows of activations between its matrices: norm, rotation, gate.

use pulp::{Simd, WithSimd};

use super::activations::{Factors, quantise_block};
use super::packed::{BLOCK, LANES};
use super::{arch, exp};

/// RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467): `weight * x / sqrt(mean(x^2) + eps)`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    arch().dispatch(RmsNorm { x, weight, eps, out });
}

/// RoPE on one head, in place: pairs `(i, i + head_dim / 2)` are turned by their angles.
pub(crate) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    arch().dispatch(Rotate { head, cos, sin });
}

/// SwiGLU: `silu(gate) * up`, into `out`. `silu(x) = x / (1 + exp(-x))`.
pub(crate) fn silu_times(gate: &[f32], up: &[f32], out: &mut [f32]) {
    arch().dispatch(SiluTimes { gate, up, out });
}

/// SwiGLU of two panels of gates and the two of ups behind each, `(gate, up, gate, up) (4, T, LANES)`, to a
/// block of 8-bit activations for each of `T` columns.
pub(crate) fn silu_times_to_block(
    panels: &[[f32; LANES]],
    codes: &mut [[i8; BLOCK]],
    factors: &mut [Factors],
) {
    arch().dispatch(SiluTimesToBlock { panels, codes, factors });
}

// The loops are methods and not closures: a closure may end up as a function of its own, compiled without
// the instruction set.

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl WithSimd for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { x, weight, eps, out } = self;
        let (whole, rest) = x.as_chunks::<LANES>();
        let mut squares = [0f32; LANES];
        for x in whole {
            for (square, x) in squares.iter_mut().zip(x) {
                *square += x * x;
            }
        }
        for (square, x) in squares.iter_mut().zip(rest) {
            *square += x * x;
        }
        let scale = 1.0 / (super::sum(squares) / x.len() as f32 + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    }
}

struct Rotate<'a> {
    head: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
}

impl WithSimd for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let (first, second) = self.head.split_at_mut(self.head.len() / 2);
        let angles = self.cos.iter().zip(self.sin);
        for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        }
    }
}

struct SiluTimes<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for SiluTimes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for ((out, &gate), &up) in self.out.iter_mut().zip(self.gate).zip(self.up) {
            *out = silu(gate) * up;
        }
    }
}

struct SiluTimesToBlock<'a> {
    panels: &'a [[f32; LANES]],
    codes: &'a mut [[i8; BLOCK]],
    factors: &'a mut [Factors],
}

impl WithSimd for SiluTimesToBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let columns = self.codes.len();
        for (column, (codes, factors)) in self.codes.iter_mut().zip(self.factors).enumerate() {
            let mut values = [0f32; BLOCK];
            for half in 0..BLOCK / LANES {
                let gate = &self.panels[2 * half * columns + column];
                let up = &self.panels[(2 * half + 1) * columns + column];
                let values = &mut values[half * LANES..(half + 1) * LANES];
                for ((value, &gate), &up) in values.iter_mut().zip(gate).zip(up) {
                    *value = silu(gate) * up;
                }
            }
            (*codes, *factors) = quantise_block(&values);
        }
    }
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_leaves_a_mean_square_of_1() {
        let x: Vec<f32> = (0..37).map(|at| at as f32 - 9.0).collect();
        let mut out = vec![0.0; 37];
        rms_norm(&x, &[1.0; 37], 0.0, &mut out);
        let mean = out.iter().map(|x| x * x).sum::<f32>() / 37.0;
        assert!((mean - 1.0).abs() < 1e-5 && out[0] < 0.0, "{mean}");
    }

    #[test]
    fn a_quarter_turn_swaps_the_halves() {
        let mut head = [1.0, 2.0, 3.0, 4.0];
        rotate(&mut head, &[0.0, 0.0], &[1.0, 1.0]);
        assert_eq!(head, [-3.0, -4.0, 1.0, 2.0]);
    }

    #[test]
    fn gated_blocks_are_the_gated_rows_in_8_bits() {
        const T: usize = 3;
        let panels: Vec<[f32; LANES]> = (0..4 * T)
            .map(|row| std::array::from_fn(|lane| ((row * 7 + lane) % 11) as f32 * 0.5 - 2.0))
            .collect();
        let (mut codes, mut factors) = ([[0; BLOCK]; T], [Factors::default(); T]);
        silu_times_to_block(&panels, &mut codes, &mut factors);
        for column in 0..T {
            for half in 0..2 {
                let mut exact = [0.0; LANES];
                let (gate, up) =
                    (panels[2 * half * T + column], panels[(2 * half + 1) * T + column]);
                silu_times(&gate, &up, &mut exact);
                for (lane, exact) in exact.iter().enumerate() {
                    let found =
                        f32::from(codes[column][half * LANES + lane]) * factors[column].scale;
                    assert!((found - exact).abs() <= 0.51 * factors[column].scale);
                }
            }
        }
    }
}
