//! Weights into blocks of codes: as GGUF stores them where it can be kept to the bit, else the nearest in
//! 8 bits.

use half::f16;
use pulp::{Simd, WithSimd};

use super::arch;
use super::packed::{BLOCK, Bits, Block};

/// The block types of GGUF that are `scale * code + offset` with at most 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// `d (q - 8)`: d in f16, then two codes a byte, the second 16 in the high halves.
    Q4_0,
    /// `d q + m`: d and m in f16, then codes as above.
    Q4_1,
    /// `d q`: d in f16, then signed codes.
    Q8_0,
}

// === impl Stored ===

impl Stored {
    /// How wide the codes are.
    pub(crate) fn bits(self) -> Bits {
        match self {
            Self::Q4_0 | Self::Q4_1 => Bits::Four,
            Self::Q8_0 => Bits::Eight,
        }
    }

    /// Bytes of one block.
    fn size(self) -> usize {
        match self {
            Self::Q4_0 => 2 + BLOCK / 2,
            Self::Q4_1 => 4 + BLOCK / 2,
            Self::Q8_0 => 2 + BLOCK,
        }
    }

    /// The blocks as they are stored.
    pub(crate) fn blocks(self, bytes: &[u8]) -> Vec<Block> {
        bytes.chunks_exact(self.size()).map(|bytes| self.block(bytes)).collect()
    }

    fn block(self, bytes: &[u8]) -> Block {
        let number = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let scale = number(0);
        // A power of two times an f16 is one, too: no bit is lost.
        let times = |factor: f32| f16::from_f32(scale.to_f32() * factor);
        let (offset, codes) = match self {
            Self::Q4_0 => (times(-8.0), nibbles(&bytes[2..])),
            Self::Q4_1 => (number(2), nibbles(&bytes[4..])),
            Self::Q8_0 => (times(-128.0), std::array::from_fn(|at| bytes[2 + at] ^ 128)),
        };
        Block { scale, offset, codes }
    }
}

fn nibbles(bytes: &[u8]) -> [u8; BLOCK] {
    const HALF: usize = BLOCK / 2;
    std::array::from_fn(|at| if at < HALF { bytes[at] & 15 } else { bytes[at - HALF] >> 4 })
}

/// The nearest codes in 8 bits for rows of weights: around zero, or from the smallest to the largest,
/// whichever is closer block by block.
pub(crate) fn encode(values: &[f32]) -> Vec<Block> {
    arch().dispatch(Encode { values })
}

struct Encode<'a> {
    values: &'a [f32],
}

impl WithSimd for Encode<'_> {
    type Output = Vec<Block>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Vec<Block> {
        let (values, _) = self.values.as_chunks::<BLOCK>();
        let mut blocks = Vec::with_capacity(values.len());
        for values in values {
            let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
            for &value in values {
                min = if value < min { value } else { min };
                max = if value > max { value } else { max };
            }
            let scale = f16::from_f32(min.abs().max(max.abs()) / 127.0);
            let symmetric = (scale, f16::from_f32(scale.to_f32() * -128.0));
            let affine = (f16::from_f32((max - min) / 255.0), f16::from_f32(min));
            let closer = error(values, affine) < error(values, symmetric);
            let (scale, offset) = if closer { affine } else { symmetric };
            let rounded = rounded(values, (scale, offset));
            blocks.push(Block { scale, offset, codes: rounded.map(|code| code as u8) });
        }
        blocks
    }
}

/// The codes that are nearest to the values, still as numbers.
#[inline(always)]
fn rounded(values: &[f32; BLOCK], (scale, offset): (f16, f16)) -> [f32; BLOCK] {
    // Adding 1.5 * 2^23 and taking it away again leaves the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let (scale, offset) = (scale.to_f32(), offset.to_f32());
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut out = [0.0; BLOCK];
    for (out, value) in out.iter_mut().zip(values) {
        *out = (((value - offset) * inverse + ROUND) - ROUND).clamp(0.0, 255.0);
    }
    out
}

/// How far the codes are off, squared and summed.
#[inline(always)]
fn error(values: &[f32; BLOCK], factors: (f16, f16)) -> f32 {
    let mut squares = [0.0; BLOCK];
    let codes = rounded(values, factors);
    let (scale, offset) = (factors.0.to_f32(), factors.1.to_f32());
    for ((square, value), code) in squares.iter_mut().zip(values).zip(codes) {
        let off = value - (code * scale + offset);
        *square = off * off;
    }
    super::sum(squares)
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn random(len: usize) -> Vec<f32> {
        let mut rng = StdRng::seed_from_u64(9);
        (0..len).map(|_| rng.random::<f32>() * rng.random_range(-1.0..1.0)).collect()
    }

    fn decoded(blocks: &[Block]) -> Vec<f32> {
        let decode = |block: &Block| {
            let (scale, offset) = (block.scale.to_f32(), block.offset.to_f32());
            block.codes.map(|code| f32::from(code) * scale + offset)
        };
        blocks.iter().flat_map(decode).collect()
    }

    #[test]
    fn what_gguf_stores_is_kept() {
        let types = [
            (GgmlDType::Q4_0, Some(Stored::Q4_0), 1e-6),
            (GgmlDType::Q4_1, Some(Stored::Q4_1), 1e-6),
            (GgmlDType::Q8_0, Some(Stored::Q8_0), 1e-6),
            (GgmlDType::Q5_0, None, 4e-3),
            (GgmlDType::Q4K, None, 4e-3),
            (GgmlDType::Q6K, None, 4e-3),
        ];
        for (dtype, stored, tolerance) in types {
            let weights = Tensor::from_vec(random(8 * 512), (8, 512), &Device::Cpu).unwrap();
            let quantised = QTensor::quantize(&weights, dtype).unwrap();
            let exact = quantised.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap();
            let exact = exact.to_vec1::<f32>().unwrap();
            let blocks = match stored {
                Some(stored) => stored.blocks(&quantised.data().unwrap()),
                None => encode(&exact),
            };
            let found = decoded(&blocks);
            assert_eq!(found.len(), exact.len());
            for (found, exact) in found.iter().zip(&exact) {
                assert!((found - exact).abs() < tolerance, "{dtype:?}: {found} for {exact}");
            }
        }
    }

    #[test]
    fn the_codes_of_any_block_are_within_a_step() {
        for values in [vec![0.0; BLOCK], vec![0.25; BLOCK], vec![-3.0; BLOCK], random(20 * BLOCK)] {
            let found = decoded(&encode(&values));
            for (found, value) in found.iter().zip(&values) {
                assert!((found - value).abs() < 4e-3, "{found} for {value}");
            }
        }
    }
}
