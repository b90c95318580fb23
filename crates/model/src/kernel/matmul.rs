//! A matrix of weights times rows of activations.
//!
//! A general matrix product packs the weights first, which costs more than the product itself while there
//! are few rows, as in decoding. Here each weight is read once, in place, and used for all rows.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{arch, tile};

/// Rows of weights that are multiplied together.
const ROWS: usize = 4;
/// Rows of activations that are multiplied together.
const COLUMNS: usize = 4;
/// Rows of weights in one task of a thread: a multiple of [`ROWS`].
const TASK_ROWS: usize = 64;
/// Rows of activations that stay in the nearest cache while a task's weights pass by: a multiple of
/// [`COLUMNS`].
const PASS_COLUMNS: usize = 16;

/// `x (t, k) W^T (n, k) -> (t, n)`.
///
/// What one row of `x` gives does not depend on the others, to the last bit.
pub(crate) fn matmul(x: &[f32], weights: &[f32], n: usize, k: usize) -> Vec<f32> {
    let t = x.len() / k;
    let mut transposed = vec![0f32; n * t];
    transposed.par_chunks_mut(TASK_ROWS * t).enumerate().for_each(|(task, out)| {
        let first = task * TASK_ROWS;
        let rows = &weights[first * k..(first + out.len() / t) * k];
        for from in (0..t).step_by(PASS_COLUMNS) {
            let columns = from..t.min(from + PASS_COLUMNS);
            for (rows, out) in rows.chunks(ROWS * k).zip(out.chunks_mut(ROWS * t)) {
                arch().dispatch(Product { rows, x, columns: columns.clone(), out, k });
            }
        }
    });
    if t == 1 {
        return transposed;
    }
    let mut out = vec![0f32; n * t];
    for (row, values) in transposed.chunks_exact(t).enumerate() {
        for (column, &value) in values.iter().enumerate() {
            out[column * n + row] = value;
        }
    }
    out
}

/// Up to [`ROWS`] rows of weights times some rows of `x`: columns of `out (rows, t)`.
struct Product<'a> {
    rows: &'a [f32],
    x: &'a [f32],
    columns: Range<usize>,
    out: &'a mut [f32],
    k: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, x, columns, out, k } = self;
        let t = x.len() / k;
        if rows.len() < ROWS * k {
            for (row, out) in rows.chunks_exact(k).zip(out.chunks_exact_mut(t)) {
                for column in columns.clone() {
                    let [[value]] = tile(simd, [row], [&x[column * k..][..k]]);
                    out[column] = value;
                }
            }
            return;
        }
        let mut weights: [&[f32]; ROWS] = [&[]; ROWS];
        for (weights, row) in weights.iter_mut().zip(rows.chunks_exact(k)) {
            *weights = row;
        }
        let mut column = columns.start;
        while column < columns.end {
            let x = &x[column * k..];
            if column + COLUMNS <= columns.end {
                let mut together: [&[f32]; COLUMNS] = [&[]; COLUMNS];
                for (row, x) in together.iter_mut().zip(x.chunks_exact(k)) {
                    *row = x;
                }
                for (row, values) in tile(simd, weights, together).iter().enumerate() {
                    out[row * t + column..][..COLUMNS].copy_from_slice(values);
                }
                column += COLUMNS;
            } else {
                for (row, [value]) in tile(simd, weights, [&x[..k]]).iter().enumerate() {
                    out[row * t + column] = *value;
                }
                column += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u32, len: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn the_product_is_that_of_plain_loops_for_any_number_of_rows() {
        for (t, n, k) in [
            (1, 4, 32),
            (1, 131, 64),
            (2, 64, 96),
            (3, 66, 32),
            (8, 200, 576),
            (35, 130, 64),
            (5, 9, 30),
        ] {
            let (x, w) = (numbers(1, t * k), numbers(2, n * k));
            let found = matmul(&x, &w, n, k);
            for (row, x) in x.chunks(k).enumerate() {
                for (column, w) in w.chunks(k).enumerate() {
                    let exact: f64 =
                        x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    let found = f64::from(found[row * n + column]);
                    assert!((found - exact).abs() < 1e-4, "{found} for {exact}");
                }
            }
        }
    }

    #[test]
    fn a_row_gives_the_same_bits_alone_and_in_company() {
        let (n, k, t) = (150, 64, 23);
        let (x, w) = (numbers(3, t * k), numbers(4, n * k));
        let together = matmul(&x, &w, n, k);
        for (row, x) in x.chunks(k).enumerate() {
            assert_eq!(matmul(x, &w, n, k), together[row * n..][..n]);
        }
    }
}
