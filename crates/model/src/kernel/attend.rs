//! The inner loops of attention: a strip of cached positions times a few queries, with online softmax
//! (Milakov and Gimelshein 2018, arXiv 1805.02867; as FlashAttention uses it, Dao et al. 2022).
//!
//! Everything is in rows of [`LANES`] numbers, so that every instruction set finds whole vectors.

use pulp::{Simd, WithSimd};

use super::{arch, exp};

/// Numbers in a row: positions of keys, dimensions of values.
pub(crate) const LANES: usize = 16;
/// Parts of a strip, each of up to [`LANES`] positions of one block of the cache.
pub(crate) const PARTS: usize = 4;
/// Queries that are handled together: with a row of keys they fill half the registers of AVX-512.
pub(crate) const QUERIES: usize = 8;

/// Some positions of a sequence, for one head of keys.
#[derive(Debug, Default)]
pub(crate) struct Strip {
    /// `(PARTS, head_dim, LANES)`: a row for each dimension of the keys.
    pub(crate) keys: Vec<[f32; LANES]>,
    /// `(PARTS, LANES, head_dim / LANES)`.
    pub(crate) values: Vec<[f32; LANES]>,
    /// Positions in each part; the lanes behind them are no one's.
    pub(crate) lens: [usize; PARTS],
}

/// Up to [`QUERIES`] queries, and what they have attended to so far.
#[derive(Debug)]
pub(crate) struct Queries {
    count: usize,
    /// `(head_dim, count)`, times the softmax's scale.
    queries: Vec<f32>,
    /// The largest score of each.
    max: [f32; QUERIES],
    /// The sum of each one's weights.
    sum: [f32; QUERIES],
    /// `(count, head_dim / LANES)`: values times their weights.
    out: Vec<[f32; LANES]>,
}

// === impl Queries ===

impl Queries {
    /// Queries of `head_dim` numbers each.
    pub(crate) fn new<'a>(queries: impl Iterator<Item = &'a [f32]> + Clone) -> Self {
        let count = queries.clone().count();
        let head_dim = queries.clone().next().map_or(0, <[f32]>::len);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let mut transposed = vec![0.0; head_dim * count];
        for (number, query) in queries.enumerate() {
            for (at, value) in query.iter().enumerate() {
                transposed[at * count + number] = value * scale;
            }
        }
        Self {
            count,
            queries: transposed,
            max: [f32::NEG_INFINITY; QUERIES],
            sum: [0.0; QUERIES],
            out: vec![[0.0; LANES]; count * head_dim.div_ceil(LANES)],
        }
    }

    /// Attends to a strip. Query `i` sees the first `visible[i]` of its positions.
    pub(crate) fn attend(&mut self, strip: &Strip, visible: &[usize; QUERIES]) {
        match self.count {
            1 => arch().dispatch(Attend::<1> { queries: self, strip, visible }),
            2 => arch().dispatch(Attend::<2> { queries: self, strip, visible }),
            3 => arch().dispatch(Attend::<3> { queries: self, strip, visible }),
            4 => arch().dispatch(Attend::<4> { queries: self, strip, visible }),
            5 => arch().dispatch(Attend::<5> { queries: self, strip, visible }),
            6 => arch().dispatch(Attend::<6> { queries: self, strip, visible }),
            7 => arch().dispatch(Attend::<7> { queries: self, strip, visible }),
            _ => arch().dispatch(Attend::<QUERIES> { queries: self, strip, visible }),
        }
    }

    /// The mean of the values, weighted, for one query.
    pub(crate) fn finish(&self, query: usize, out: &mut [f32]) {
        let rows = self.out.len() / self.count;
        let inverse = 1.0 / self.sum[query];
        let found = self.out[query * rows..(query + 1) * rows].as_flattened();
        for (out, value) in out.iter_mut().zip(found) {
            *out = value * inverse;
        }
    }
}

/// `N` is the number of queries.
struct Attend<'a, const N: usize> {
    queries: &'a mut Queries,
    strip: &'a Strip,
    visible: &'a [usize; QUERIES],
}

impl<const N: usize> WithSimd for Attend<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { queries, strip, visible } = self;
        let mut scores = [[[0f32; LANES]; PARTS]; N];
        let (columns, _) = queries.queries.as_chunks::<N>();
        let used = strip.lens.iter().take_while(|&&len| len > 0).count();
        for (part, keys) in strip.keys.chunks_exact(columns.len()).take(used).enumerate() {
            score(simd, columns, keys, part, &mut scores);
        }
        for (number, scores) in scores.iter_mut().enumerate() {
            let mut left = visible[number];
            let mut shown = [0; PARTS];
            for (shown, &len) in shown.iter_mut().zip(&strip.lens) {
                *shown = left.min(len);
                left -= *shown;
            }
            let (max, sum) = (&mut queries.max[number], &mut queries.sum[number]);
            let shrunk = weigh(scores, &shown, max, sum);
            let rows = queries.out.len() / N;
            for out in &mut queries.out[number * rows..(number + 1) * rows] {
                for out in out {
                    *out *= shrunk;
                }
            }
        }
        add_values(simd, &scores, strip, &mut queries.out);
    }
}

/// Dot products: `queries (head_dim, N), keys (head_dim, LANES) -> scores (N, LANES)`.
#[inline(always)]
fn score<S: Simd, const N: usize>(
    simd: S,
    queries: &[[f32; N]],
    keys: &[[f32; LANES]],
    part: usize,
    scores: &mut [[[f32; LANES]; PARTS]; N],
) {
    let vectors = S::as_simd_f32s(&[0.0; LANES]).0.len();
    for vector in 0..vectors {
        let mut sums = [simd.splat_f32s(0.0); N];
        for (query, keys) in queries.iter().zip(keys) {
            let keys = S::as_simd_f32s(keys).0[vector];
            for (sum, query) in sums.iter_mut().zip(query) {
                *sum = simd.mul_add_f32s(simd.splat_f32s(*query), keys, *sum);
            }
        }
        for (scores, sum) in scores.iter_mut().zip(sums) {
            S::as_mut_simd_f32s(&mut scores[part]).0[vector] = sum;
        }
    }
}

/// Turns one query's scores into weights, 0 where it sees nothing. Returns what all that was summed before
/// shrinks by, since the largest score may be a new one.
#[inline(always)]
fn weigh(
    scores: &mut [[f32; LANES]; PARTS],
    shown: &[usize; PARTS],
    max: &mut f32,
    sum: &mut f32,
) -> f32 {
    if shown[0] == 0 {
        *scores = [[0.0; LANES]; PARTS];
        return 1.0;
    }
    let mut largest = [f32::NEG_INFINITY; LANES];
    for (scores, &shown) in scores.iter_mut().zip(shown) {
        for (lane, (largest, score)) in largest.iter_mut().zip(scores).enumerate() {
            *score = if lane < shown { *score } else { f32::NEG_INFINITY };
            *largest = if *score > *largest { *score } else { *largest };
        }
    }
    let before = *max;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            let (a, b) = (largest[lane], largest[lane + width]);
            largest[lane] = if b > a { b } else { a };
        }
        width /= 2;
    }
    let now = if largest[0] > before { largest[0] } else { before };
    let mut sums = [0f32; LANES];
    for (scores, &shown) in scores.iter_mut().zip(shown) {
        for (lane, (sum, score)) in sums.iter_mut().zip(scores).enumerate() {
            // Exactly 0 and not nearly, so that a row's bits do not depend on rows that see further.
            let weight = exp(*score - now);
            *score = if lane < shown { weight } else { 0.0 };
            *sum += *score;
        }
    }
    let shrunk = exp(before - now);
    *max = now;
    *sum = *sum * shrunk + super::sum(sums);
    shrunk
}

/// `out (N, head_dim) += weights (N, STRIP) values (STRIP, head_dim)`.
#[inline(always)]
fn add_values<S: Simd, const N: usize>(
    simd: S,
    weights: &[[[f32; LANES]; PARTS]; N],
    strip: &Strip,
    out: &mut [[f32; LANES]],
) {
    let rows = out.len() / N;
    let vectors = S::as_simd_f32s(&[0.0; LANES]).0.len();
    for row in 0..rows {
        for vector in 0..vectors {
            let mut sums = [simd.splat_f32s(0.0); N];
            for (number, sum) in sums.iter_mut().enumerate() {
                *sum = S::as_simd_f32s(&out[number * rows + row]).0[vector];
            }
            for (part, &len) in strip.lens.iter().enumerate() {
                let values = strip.values[part * LANES * rows..].chunks_exact(rows);
                for (lane, values) in values.take(len.min(LANES)).enumerate() {
                    let values = S::as_simd_f32s(&values[row]).0[vector];
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        let weight = simd.splat_f32s(weights[part][lane]);
                        *sum = simd.mul_add_f32s(weight, values, *sum);
                    }
                }
            }
            for (number, sum) in sums.iter().enumerate() {
                S::as_mut_simd_f32s(&mut out[number * rows + row]).0[vector] = *sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIP: usize = PARTS * LANES;

    /// A key and its value.
    type Position = (Vec<f32>, Vec<f32>);

    /// A strip with this many positions in each part, and the same as rows.
    fn strip(lens: [usize; PARTS], head_dim: usize) -> (Strip, Vec<Position>) {
        let rows = head_dim.div_ceil(LANES);
        let mut strip = Strip {
            keys: vec![[f32::NAN; LANES]; PARTS * head_dim],
            values: vec![[f32::NAN; LANES]; PARTS * LANES * rows],
            lens,
        };
        let mut plain = Vec::new();
        for (part, len) in lens.into_iter().enumerate() {
            for lane in 0..len {
                let number = |at: usize| ((part * 31 + lane * 7 + at * 3) % 17) as f32 * 0.2 - 1.5;
                let key: Vec<f32> = (0..head_dim).map(number).collect();
                let value: Vec<f32> = (0..head_dim).map(|at| number(at + 5)).collect();
                for at in 0..head_dim {
                    strip.keys[part * head_dim + at][lane] = key[at];
                    let row = (part * LANES + lane) * rows + at / LANES;
                    strip.values[row][at % LANES] = value[at];
                }
                plain.push((key, value));
            }
        }
        (strip, plain)
    }

    #[test]
    fn strips_one_by_one_give_the_softmax_over_all_they_show() {
        const HEAD_DIM: usize = 24;
        let (one, mut plain) = strip([16, 16, 16, 16], HEAD_DIM);
        let (two, more) = strip([5, 5, 3, 0], HEAD_DIM);
        plain.extend(more);
        for count in 1..=QUERIES {
            let query = |number: usize| -> Vec<f32> {
                (0..HEAD_DIM).map(|at| ((at + number) % 5) as f32 - 1.9).collect()
            };
            let queries: Vec<_> = (0..count).map(query).collect();
            let mut found = Queries::new(queries.iter().map(Vec::as_slice));
            let seen: Vec<usize> = (0..count).map(|number| 60 + 2 * number).collect();
            let visible = |from: usize, len: usize| {
                std::array::from_fn(|at| {
                    seen.get(at).map_or(0, |seen| seen.saturating_sub(from).min(len))
                })
            };
            found.attend(&one, &visible(0, STRIP));
            found.attend(&two, &visible(STRIP, 13));
            for (number, query) in queries.iter().enumerate() {
                let plain = &plain[..seen[number]];
                let weight = |key: &[f32]| {
                    let dot: f32 = key.iter().zip(query).map(|(a, b)| a * b).sum();
                    (dot / (HEAD_DIM as f32).sqrt()).exp()
                };
                let sum: f32 = plain.iter().map(|(key, _)| weight(key)).sum();
                let mut out = vec![0.0; HEAD_DIM];
                found.finish(number, &mut out);
                for (at, out) in out.iter().enumerate() {
                    let exact: f32 =
                        plain.iter().map(|(key, value)| weight(key) / sum * value[at]).sum();
                    assert!((out - exact).abs() < 1e-5, "{out} for {exact}");
                }
            }
        }
    }

    #[test]
    fn a_query_gives_the_same_bits_alone_and_beside_one_that_sees_further() {
        let (one, _) = strip([16, 16, 16, 16], 64);
        let (a, b) = (vec![0.3; 64], vec![-0.7; 64]);
        let mut together = Queries::new([&*a, &*b].into_iter());
        together.attend(&one, &[40, 64, 0, 0, 0, 0, 0, 0]);
        together.attend(&one, &[0, 64, 0, 0, 0, 0, 0, 0]);
        let mut alone = Queries::new([&*a].into_iter());
        alone.attend(&one, &[40, 0, 0, 0, 0, 0, 0, 0]);
        let (mut found, mut expected) = (vec![0.0; 64], vec![0.0; 64]);
        together.finish(0, &mut found);
        alone.finish(0, &mut expected);
        assert_eq!(found, expected);
    }
}
