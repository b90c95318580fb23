//! Activations in 8 bits, which integer dot products multiply with the weights.

use pulp::{Simd, WithSimd};

use super::arch;
use super::packed::BLOCK;

/// Some rows of activations: `scale * code`, with a scale for every [`BLOCK`] of a row.
///
/// Block by block, not row by row: `(in / BLOCK, T)`, which is the order in which a product reads them.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    columns: usize,
    pub(crate) codes: Vec<[i8; BLOCK]>,
    pub(crate) factors: Vec<Factors>,
}

/// What a block of activations is multiplied by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Factors {
    /// Of the codes.
    pub(crate) scale: f32,
    /// The sum of the activations: what an offset of the weights is multiplied by.
    pub(crate) sum: f32,
}

impl Activations {
    /// Room for `columns` rows of `width` values.
    pub(crate) fn resize(&mut self, columns: usize, width: usize) {
        self.columns = columns;
        self.codes.resize(columns * width / BLOCK, [0; BLOCK]);
        self.factors.resize(columns * width / BLOCK, Factors::default());
    }

    /// Rows of the batch.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Takes rows `(T, width)`.
    pub(crate) fn quantise(&mut self, rows: &[f32], width: usize) {
        self.resize(rows.len() / width, width);
        for (column, row) in rows.chunks_exact(width).enumerate() {
            self.quantise_row(column, row);
        }
    }

    /// Takes one row.
    pub(crate) fn quantise_row(&mut self, column: usize, row: &[f32]) {
        let stride = self.columns;
        let (codes, factors) = (&mut self.codes[column..], &mut self.factors[column..]);
        arch().dispatch(Quantise { row, stride, codes, factors });
    }
}

struct Quantise<'a> {
    row: &'a [f32],
    /// From one block's place to the next one's.
    stride: usize,
    codes: &'a mut [[i8; BLOCK]],
    factors: &'a mut [Factors],
}

impl WithSimd for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let (blocks, _) = self.row.as_chunks::<BLOCK>();
        let codes = self.codes.iter_mut().step_by(self.stride);
        let factors = self.factors.iter_mut().step_by(self.stride);
        for ((values, codes), factors) in blocks.iter().zip(codes).zip(factors) {
            (*codes, *factors) = quantise_block(values);
        }
    }
}

/// The nearest codes, the largest value being 127 or -127.
#[inline(always)]
pub(super) fn quantise_block(values: &[f32; BLOCK]) -> ([i8; BLOCK], Factors) {
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let mut largest = [0f32; BLOCK];
    for (largest, value) in largest.iter_mut().zip(values) {
        *largest = value.abs();
    }
    let largest = max(largest);
    let scale = largest / 127.0;
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let mut rounded = [0f32; BLOCK];
    for (rounded, value) in rounded.iter_mut().zip(values) {
        *rounded = value * inverse + ROUND;
    }
    let mut codes = [0i8; BLOCK];
    for (code, rounded) in codes.iter_mut().zip(&rounded) {
        *code = rounded.to_bits() as i8;
    }
    for rounded in &mut rounded {
        *rounded -= ROUND;
    }
    (codes, Factors { scale, sum: scale * super::sum(rounded) })
}

/// The largest, found in pairs so that it vectorises. `N` is a power of two.
#[inline(always)]
fn max<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for lane in 0..width {
            let (a, b) = (lanes[lane], lanes[lane + width]);
            lanes[lane] = if b > a { b } else { a };
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn codes_are_within_half_a_step_of_the_values(
            rows in prop::collection::vec(prop::collection::vec(-50f32..50.0, 2 * BLOCK), 1..6),
        ) {
            let mut x = Activations::default();
            x.quantise(&rows.concat(), 2 * BLOCK);
            prop_assert_eq!(x.columns(), rows.len());
            for (column, row) in rows.iter().enumerate() {
                for (block, values) in row.chunks(BLOCK).enumerate() {
                    let at = block * rows.len() + column;
                    let Factors { scale, sum } = x.factors[at];
                    let decoded = x.codes[at].map(|code| f32::from(code) * scale);
                    for (value, decoded) in values.iter().zip(&decoded) {
                        prop_assert!((value - decoded).abs() <= 0.501 * scale);
                    }
                    prop_assert!((decoded.iter().sum::<f32>() - sum).abs() < 1e-2);
                }
            }
        }
    }

    #[test]
    fn a_block_of_zeros_is_zero() {
        let mut x = Activations::default();
        x.quantise(&[0.0; BLOCK], BLOCK);
        assert_eq!((x.codes[0], x.factors[0]), ([0; BLOCK], Factors::default()));
    }
}
