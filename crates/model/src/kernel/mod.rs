//! The inner loops on the CPU, in f32, vectorised for what the processor has.
//!
//! `pulp` compiles each loop for several instruction sets and picks one at run time, so that one portable
//! build is fast everywhere.

pub(crate) mod activations;
pub(crate) mod attend;
pub(crate) mod dot;
pub(crate) mod encode;
pub(crate) mod matmul;
pub(crate) mod packed;
mod portable;
pub(crate) mod rows;
pub(crate) mod widen;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use pulp::{Arch, Simd};

fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(Arch::new)
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
}
