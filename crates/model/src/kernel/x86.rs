//! What only x86 has: dot products of integers with AVX-512 VNNI, else AVX2, and numbers in f16.
//!
//! `unsafe` only to enter code that is compiled for an instruction set, after asking whether the processor
//! has it: no safe wrapper has `vpdpbusd` (pulp 0.22). Inside, every load is of a typed reference.

#![allow(
    unsafe_code,
    reason = "entering code compiled for instructions that were found at run time"
)]

use std::arch::is_x86_feature_detected as has;
use std::arch::x86_64::*;

use bytemuck::cast;

use super::activations::Activations;
use super::dot::Product;
use super::packed::{BLOCK, Bits, LANES, Line};
use super::widen::Widen;

/// Columns that are multiplied together: with their sums, a block's codes, scales and offsets, they fill the
/// registers.
const COLUMNS: usize = 8;
/// Four codes at a time.
const QUADS: usize = BLOCK / 4;

/// What this processor can run, fastest first.
pub(super) fn products() -> Vec<Product> {
    let mut products: Vec<Product> = Vec::new();
    if has!("avx512f") && has!("avx512bw") && has!("avx512vnni") {
        products.push(with_avx512);
    }
    if has!("avx2") && has!("fma") && has!("f16c") {
        products.push(with_avx2);
    }
    products
}

/// The fastest way from f16 to f32 that this processor can run.
pub(super) fn widen() -> Option<Widen> {
    if has!("avx512f") {
        // SAFETY: the processor has the instructions.
        return Some(|from, ahead, to| unsafe { widen_avx512(from, ahead, to) });
    }
    if has!("f16c") {
        // SAFETY: as above.
        return Some(|from, ahead, to| unsafe { widen_f16c(from, ahead, to) });
    }
    None
}

/// Has a row fetched into the nearest cache.
#[inline]
fn fetch(row: &[u16; LANES]) {
    // SAFETY: a hint, which reads nothing; every x86-64 has it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().cast()) };
}

#[target_feature(enable = "avx512f")]
fn widen_avx512(from: &[[u16; LANES]], ahead: &[[u16; LANES]], to: &mut [[f32; LANES]]) {
    for ((from, ahead), to) in from.iter().zip(ahead).zip(to) {
        fetch(ahead);
        *to = cast(_mm512_cvtph_ps(cast(*from)));
    }
}

#[target_feature(enable = "f16c")]
fn widen_f16c(from: &[[u16; LANES]], ahead: &[[u16; LANES]], to: &mut [[f32; LANES]]) {
    for ((from, ahead), to) in from.iter().zip(ahead).zip(to) {
        fetch(ahead);
        let ((from, _), (to, _)) = (from.as_chunks::<8>(), to.as_chunks_mut::<8>());
        for (from, to) in from.iter().zip(to) {
            *to = cast(_mm256_cvtph_ps(cast(*from)));
        }
    }
}

fn with_avx512(panel: &[Line], bits: Bits, x: &Activations, out: &mut [[f32; LANES]]) {
    // SAFETY: `products` offers this function only where the processor has these instructions.
    unsafe {
        match bits {
            Bits::Four => avx512::<{ Bits::Four.code_lines() }>(panel, x, out),
            Bits::Eight => avx512::<{ Bits::Eight.code_lines() }>(panel, x, out),
        }
    }
}

fn with_avx2(panel: &[Line], bits: Bits, x: &Activations, out: &mut [[f32; LANES]]) {
    // SAFETY: as above.
    unsafe {
        match bits {
            Bits::Four => avx2::<{ Bits::Four.code_lines() }>(panel, x, out),
            Bits::Eight => avx2::<{ Bits::Eight.code_lines() }>(panel, x, out),
        }
    }
}

/// All columns, as many at a time as the registers hold.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn avx512<const LINES: usize>(panel: &[Line], x: &Activations, out: &mut [[f32; LANES]]) {
    let mut first = 0;
    while first < out.len() {
        let count = COLUMNS.min(out.len() - first);
        let out = &mut out[first..first + count];
        match count {
            1 => avx512_tile::<LINES, 1>(panel, x, first, out),
            2 => avx512_tile::<LINES, 2>(panel, x, first, out),
            3 => avx512_tile::<LINES, 3>(panel, x, first, out),
            4 => avx512_tile::<LINES, 4>(panel, x, first, out),
            5 => avx512_tile::<LINES, 5>(panel, x, first, out),
            6 => avx512_tile::<LINES, 6>(panel, x, first, out),
            7 => avx512_tile::<LINES, 7>(panel, x, first, out),
            _ => avx512_tile::<LINES, COLUMNS>(panel, x, first, out),
        }
        first += count;
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn avx512_tile<const LINES: usize, const C: usize>(
    panel: &[Line],
    x: &Activations,
    first: usize,
    out: &mut [[f32; LANES]],
) {
    let columns = x.columns();
    let low = _mm512_set1_epi8(15);
    let mut sums = [_mm512_setzero_ps(); C];
    let blocks = x.codes.chunks_exact(columns).zip(x.factors.chunks_exact(columns));
    for (lines, (x_codes, x_factors)) in panel.chunks_exact(1 + LINES).zip(blocks) {
        let (factors, _) = lines[0].0.as_chunks::<32>();
        let scales = _mm512_cvtph_ps(cast(factors[0]));
        let offsets = _mm512_cvtph_ps(cast(factors[1]));
        let mut codes = [_mm512_setzero_si512(); QUADS];
        for (at, line) in lines[1..].iter().enumerate() {
            let line = cast(line.0);
            if LINES == QUADS {
                codes[at] = line;
            } else {
                codes[at] = _mm512_and_si512(line, low);
                codes[at + QUADS / 2] = _mm512_and_si512(_mm512_srli_epi16::<4>(line), low);
            }
        }
        let x_codes: &[[i8; BLOCK]] = &x_codes[first..first + C];
        let x_factors = &x_factors[first..first + C];
        for column in 0..C {
            let quads: [i32; QUADS] = cast(x_codes[column]);
            // Two chains of additions, since each waits for the one before.
            let mut even = _mm512_setzero_si512();
            let mut odd = _mm512_setzero_si512();
            for at in (0..QUADS).step_by(2) {
                even = _mm512_dpbusd_epi32(even, codes[at], _mm512_set1_epi32(quads[at]));
                odd = _mm512_dpbusd_epi32(odd, codes[at + 1], _mm512_set1_epi32(quads[at + 1]));
            }
            let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
            let scales = _mm512_mul_ps(scales, _mm512_set1_ps(x_factors[column].scale));
            let total = _mm512_fmadd_ps(sum, scales, sums[column]);
            sums[column] = _mm512_fmadd_ps(offsets, _mm512_set1_ps(x_factors[column].sum), total);
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = cast(sum);
    }
}

/// All columns, one at a time, each half of the panel on its own.
#[target_feature(enable = "avx2,fma,f16c")]
fn avx2<const LINES: usize>(panel: &[Line], x: &Activations, out: &mut [[f32; LANES]]) {
    let mut first = 0;
    while first < out.len() {
        let count = 4.min(out.len() - first);
        let out = &mut out[first..first + count];
        match count {
            1 => avx2_tile::<LINES, 1>(panel, x, first, out),
            2 => avx2_tile::<LINES, 2>(panel, x, first, out),
            3 => avx2_tile::<LINES, 3>(panel, x, first, out),
            _ => avx2_tile::<LINES, 4>(panel, x, first, out),
        }
        first += count;
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn avx2_tile<const LINES: usize, const C: usize>(
    panel: &[Line],
    x: &Activations,
    first: usize,
    out: &mut [[f32; LANES]],
) {
    let columns = x.columns();
    let (low, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    for half in 0..2 {
        let mut sums = [_mm256_setzero_ps(); C];
        let blocks = x.codes.chunks_exact(columns).zip(x.factors.chunks_exact(columns));
        for (lines, (x_codes, x_factors)) in panel.chunks_exact(1 + LINES).zip(blocks) {
            let (factors, _) = lines[0].0.as_chunks::<16>();
            let scales = _mm256_cvtph_ps(cast(factors[half]));
            let offsets = _mm256_cvtph_ps(cast(factors[2 + half]));
            for column in 0..C {
                let quads: [i32; QUADS] = cast(x_codes[first + column]);
                // Of 8-bit codes each half apart: 255 * 127 * 2 does not fit 16 bits, 15 * 127 * 16 does.
                let mut lows = _mm256_setzero_si256();
                let mut highs = _mm256_setzero_si256();
                for (at, line) in lines[1..].iter().enumerate() {
                    let (halves, _) = line.0.as_chunks::<32>();
                    let line: __m256i = cast(halves[half]);
                    let lower = _mm256_and_si256(line, low);
                    let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(line), low);
                    let late = if LINES == QUADS { at } else { at + QUADS / 2 };
                    let (early, late) =
                        (_mm256_set1_epi32(quads[at]), _mm256_set1_epi32(quads[late]));
                    lows = _mm256_add_epi16(lows, _mm256_maddubs_epi16(lower, early));
                    highs = _mm256_add_epi16(highs, _mm256_maddubs_epi16(upper, late));
                }
                let (lows, highs) = (_mm256_madd_epi16(lows, ones), _mm256_madd_epi16(highs, ones));
                let highs = if LINES == QUADS { _mm256_slli_epi32::<4>(highs) } else { highs };
                let sum = _mm256_cvtepi32_ps(_mm256_add_epi32(lows, highs));
                let factors = x_factors[first + column];
                let scales = _mm256_mul_ps(scales, _mm256_set1_ps(factors.scale));
                let total = _mm256_fmadd_ps(sum, scales, sums[column]);
                sums[column] = _mm256_fmadd_ps(offsets, _mm256_set1_ps(factors.sum), total);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            let (halves, _) = out.as_chunks_mut::<8>();
            halves[half] = cast(sum);
        }
    }
}
