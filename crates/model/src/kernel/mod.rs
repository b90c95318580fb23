//! The inner loops on the CPU, in f32, vectorised for what the processor has.
//!
//! `pulp` compiles each loop for several instruction sets and picks one at run time, so that one portable
//! build is fast everywhere.

pub(crate) mod code;
pub(crate) mod matmul;

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

/// Positions that are handled together.
pub(crate) const STRIP: usize = 16;

/// Up to [`STRIP`] rows of a cache, wherever they are.
pub(crate) struct Strip<'a> {
    rows: [&'a [f32]; STRIP],
    len: usize,
}

impl<'a> Strip<'a> {
    /// The rows of `width` values that start at these offsets.
    pub(crate) fn new(
        cache: &'a [f32],
        offsets: impl Iterator<Item = usize>,
        width: usize,
    ) -> Self {
        let mut rows: [&[f32]; STRIP] = [&[]; STRIP];
        let mut len = 0;
        for (row, at) in rows.iter_mut().zip(offsets) {
            *row = &cache[at..at + width];
            len += 1;
        }
        Self { rows, len }
    }

    fn rows(&self) -> &[&'a [f32]] {
        &self.rows[..self.len]
    }
}

fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(Arch::new)
}

/// Dot products of every query with every key of the strip:
/// `queries (Q, head_dim), keys (S, head_dim) -> scores (Q, S)`, rows of `scores` being `stride` apart.
pub(crate) fn scores(
    queries: &[f32],
    keys: &Strip<'_>,
    scores: &mut [f32],
    stride: usize,
    head_dim: usize,
) {
    arch().dispatch(Scores { queries, keys, scores, stride, head_dim });
}

/// `exp(scale * (x - max)) / sum`, in place.
pub(crate) fn softmax(scores: &mut [f32], scale: f32) {
    arch().dispatch(Softmax { scores, scale });
}

/// Adds the strip's rows, each times its weight:
/// `out (Q, head_dim) += weights (Q, S) values (S, head_dim)`, rows of `weights` being `stride` apart.
pub(crate) fn weighted_sum(
    weights: &[f32],
    stride: usize,
    values: &Strip<'_>,
    out: &mut [f32],
    head_dim: usize,
) {
    arch().dispatch(WeightedSum { weights, stride, values, out, head_dim });
}

/// SwiGLU: `silu(gate) * up`, into `out`. `silu(x) = x / (1 + exp(-x))`.
pub(crate) fn silu_times(gate: &[f32], up: &[f32], out: &mut [f32]) {
    arch().dispatch(SiluTimes { gate, up, out });
}

// The loops are methods and not closures: a closure may end up as a function of its own, compiled without
// the instruction set.

struct Scores<'a> {
    queries: &'a [f32],
    keys: &'a Strip<'a>,
    scores: &'a mut [f32],
    stride: usize,
    head_dim: usize,
}

impl WithSimd for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let keys = self.keys.rows();
        let queries = self.queries.chunks_exact(self.head_dim);
        for (query, scores) in queries.zip(self.scores.chunks_mut(self.stride)) {
            let (four, rest) = keys.as_chunks::<4>();
            let (scores, last) = scores[..keys.len()].split_at_mut(4 * four.len());
            for (keys, scores) in four.iter().zip(scores.chunks_exact_mut(4)) {
                for ([value], score) in tile(simd, *keys, [query]).iter().zip(scores) {
                    *score = *value;
                }
            }
            for (key, score) in rest.iter().zip(last) {
                [[*score]] = tile(simd, [*key], [query]);
            }
        }
    }
}

struct Softmax<'a> {
    scores: &'a mut [f32],
    scale: f32,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { scores, scale } = self;
        let (lanes, rest) = S::as_simd_f32s(scores);
        let mut largest = simd.splat_f32s(f32::NEG_INFINITY);
        for lanes in lanes {
            largest = simd.max_f32s(largest, *lanes);
        }
        let mut max = simd.reduce_max_f32s(largest);
        for &score in rest {
            max = max.max(score);
        }
        for score in scores.iter_mut() {
            *score = exp(scale * (*score - max));
        }
        let (lanes, rest) = S::as_simd_f32s(scores);
        let mut sums = simd.splat_f32s(0.0);
        for lanes in lanes {
            sums = simd.add_f32s(sums, *lanes);
        }
        let mut sum = simd.reduce_sum_f32s(sums);
        for &score in rest {
            sum += score;
        }
        let inverse = 1.0 / sum;
        for score in scores.iter_mut() {
            *score *= inverse;
        }
    }
}

struct WeightedSum<'a> {
    weights: &'a [f32],
    stride: usize,
    values: &'a Strip<'a>,
    out: &'a mut [f32],
    head_dim: usize,
}

impl WithSimd for WeightedSum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let out = self.out.chunks_exact_mut(self.head_dim);
        for (weights, out) in self.weights.chunks(self.stride).zip(out) {
            let (out_lanes, out_rest) = S::as_mut_simd_f32s(out);
            for (&weight, value) in weights.iter().zip(self.values.rows()) {
                let (lanes, rest) = S::as_simd_f32s(value);
                let factor = simd.splat_f32s(weight);
                for (out, lanes) in out_lanes.iter_mut().zip(lanes) {
                    *out = simd.mul_add_f32s(factor, *lanes, *out);
                }
                for (out, value) in out_rest.iter_mut().zip(rest) {
                    *out += weight * value;
                }
            }
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
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

/// The dot products of each of `R` rows with each of `C`, all of the same length.
///
/// Loops, no closures: a closure that is not inlined would not be compiled for the instruction set.
#[inline(always)]
fn tile<S: Simd, const R: usize, const C: usize>(
    simd: S,
    rows: [&[f32]; R],
    columns: [&[f32]; C],
) -> [[f32; C]; R] {
    let (first, rest) = S::as_simd_f32s(rows[0]);
    let (len, rest) = (first.len(), rest.len());
    let mut row_lanes: [&[S::f32s]; R] = [&[]; R];
    for (lanes, row) in row_lanes.iter_mut().zip(rows) {
        *lanes = &S::as_simd_f32s(row).0[..len];
    }
    let mut column_lanes: [&[S::f32s]; C] = [&[]; C];
    for (lanes, column) in column_lanes.iter_mut().zip(columns) {
        *lanes = &S::as_simd_f32s(column).0[..len];
    }
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    for at in 0..len {
        for (row, sums) in row_lanes.iter().zip(&mut sums) {
            for (column, sum) in column_lanes.iter().zip(sums) {
                *sum = simd.mul_add_f32s(row[at], column[at], *sum);
            }
        }
    }
    let mut out = [[0.0; C]; R];
    for (sums, out) in sums.iter().zip(&mut out) {
        for (sum, out) in sums.iter().zip(out) {
            *out = simd.reduce_sum_f32s(*sum);
        }
    }
    if rest > 0 {
        add_rest(rows, columns, rest, &mut out);
    }
    out
}

/// Adds the products of the last `rest` numbers. Apart, so that the sums above stay in registers.
#[cold]
#[inline(never)]
fn add_rest<const R: usize, const C: usize>(
    rows: [&[f32]; R],
    columns: [&[f32]; C],
    rest: usize,
    out: &mut [[f32; C]; R],
) {
    for (row, out) in rows.iter().zip(out) {
        for (column, out) in columns.iter().zip(out) {
            let from = row.len() - rest;
            *out += row[from..].iter().zip(&column[from..]).map(|(a, b)| a * b).sum::<f32>();
        }
    }
}

/// Adds in pairs, so that it vectorises. `N` is a power of two.
#[inline(always)]
fn sum<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `e^x` within 2e-7 of its value, without a branch or a call, so that it vectorises.
///
/// Cephes' `expf` (Moshier 1989): `x = n ln 2 + r`, a polynomial for `e^r`, and `n` into the exponent.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (p * r * r + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_7_digits() {
        let mut worst = 0f64;
        for step in -8700..8700 {
            let x = step as f32 * 0.01;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2e-7, "worst relative error {worst:e}");
    }

    #[test]
    fn softmax_sums_to_1_for_large_scores_too() {
        let mut scores = vec![1e4, 9.999e3, -1e30, f32::MIN];
        softmax(&mut scores, 0.5);
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{scores:?}");
        assert!(scores[0] > scores[1] && scores[2] == scores[3]);
    }

    #[test]
    fn scores_and_sums_count_the_rest_that_fills_no_lane() {
        const WIDTH: usize = 37;
        let (cache, queries) = (vec![1.0; 5 * WIDTH], vec![2.0; 2 * WIDTH]);
        let strip = Strip::new(&cache, (0..5).map(|row| row * WIDTH), WIDTH);
        let mut found = vec![0.0; 2 * 6];
        scores(&queries, &strip, &mut found, 6, WIDTH);
        let row = [74.0, 74.0, 74.0, 74.0, 74.0, 0.0];
        assert_eq!(found, [row, row].concat());
        let mut out = vec![0.5; 2 * WIDTH];
        weighted_sum(&found, 6, &strip, &mut out, WIDTH);
        assert_eq!(out, vec![5.0 * 74.0 + 0.5; 2 * WIDTH]);
    }
}
