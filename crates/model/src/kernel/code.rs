//! Weights in 8 bits: `scale * code + offset`, with a scale and an offset for every [`BLOCK`] of them.

use pulp::{Simd, WithSimd};

use super::arch;

/// Weights that share a scale and an offset.
pub(crate) const BLOCK: usize = 32;

/// `scale * code + offset`, block by block.
pub(crate) fn decode(codes: &[i8], blocks: &[[f32; 2]], out: &mut [f32]) {
    arch().dispatch(Decode { codes, blocks, out });
}

struct Decode<'a> {
    codes: &'a [i8],
    blocks: &'a [[f32; 2]],
    out: &'a mut [f32],
}

impl WithSimd for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { codes, blocks, out } = self;
        // Two passes: compilers vectorise each of them, but not both in one.
        for (out, code) in out.iter_mut().zip(codes) {
            *out = f32::from(*code);
        }
        let (out, _) = out.as_chunks_mut::<BLOCK>();
        for ([scale, offset], out) in blocks.iter().zip(out) {
            let (scale, offset) = (simd.splat_f32s(*scale), simd.splat_f32s(*offset));
            for lanes in S::as_mut_simd_f32s(out).0 {
                *lanes = simd.mul_add_f32s(*lanes, scale, offset);
            }
        }
    }
}

/// Codes for a row of weights, with each block's scale and offset: around zero as Q8_0 has it, or from the
/// smallest to the largest as Q4_1 has it, whichever is closer.
pub(crate) fn encode(values: &[f32], codes: &mut [i8], blocks: &mut [[f32; 2]]) {
    arch().dispatch(Encode { values, codes, blocks });
}

struct Encode<'a> {
    values: &'a [f32],
    codes: &'a mut [i8],
    blocks: &'a mut [[f32; 2]],
}

impl WithSimd for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let (values, _) = self.values.as_chunks::<BLOCK>();
        let (codes, _) = self.codes.as_chunks_mut::<BLOCK>();
        for ((values, codes), block) in values.iter().zip(codes).zip(self.blocks) {
            let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
            for &value in values {
                min = if value < min { value } else { min };
                max = if value > max { value } else { max };
            }
            let symmetric = [min.abs().max(max.abs()) / 127.0, 0.0];
            let scale = (max - min) / 255.0;
            let affine = [scale, min + 128.0 * scale];
            let closer = error(values, affine) < error(values, symmetric);
            *block = if closer { affine } else { symmetric };
            for (code, value) in codes.iter_mut().zip(rounded(values, *block)) {
                *code = value as i8;
            }
        }
    }
}

/// The codes that are nearest to the values, still as numbers.
#[inline(always)]
fn rounded(values: &[f32; BLOCK], [scale, offset]: [f32; 2]) -> [f32; BLOCK] {
    // Adding 1.5 * 2^23 and taking it away again leaves the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut out = [0.0; BLOCK];
    for (out, value) in out.iter_mut().zip(values) {
        *out = ((value - offset) * inverse + ROUND) - ROUND;
    }
    out
}

/// How far the codes are off, squared and summed.
#[inline(always)]
fn error(values: &[f32; BLOCK], block: [f32; 2]) -> f32 {
    let mut squares = [0.0; BLOCK];
    let codes = rounded(values, block);
    for ((square, value), code) in squares.iter_mut().zip(values).zip(codes) {
        let off = value - (code * block[0] + block[1]);
        *square = off * off;
    }
    super::sum(squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_block_are_exact() {
        let values: Vec<f32> = (0..2 * BLOCK).map(|at| at as f32 * 0.37 - 3.0).collect();
        let (mut codes, mut blocks) = (vec![0; values.len()], vec![[0.0; 2]; 2]);
        encode(&values, &mut codes, &mut blocks);
        assert_eq!((codes[BLOCK], codes[2 * BLOCK - 1]), (-128, 127));
        let mut decoded = vec![0.0; values.len()];
        decode(&codes, &blocks, &mut decoded);
        for (value, decoded) in values.iter().zip(&decoded) {
            assert!((value - decoded).abs() < 0.37 * 32.0 / 500.0, "{decoded} for {value}");
        }
    }
}
