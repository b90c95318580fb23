//! A matrix of weights, in f32 or in 8 bits, and how it is multiplied on each device.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::ModelError;
use crate::kernel::code::{BLOCK, decode, encode};
use crate::kernel::matmul::{Rows, matmul};

/// `(out, in)` weights.
#[derive(Debug, Clone)]
pub(crate) enum Matrix {
    /// As they are, on any device.
    Dense(Tensor),
    /// In 8 bits, on the CPU: a quarter of the memory to read for each token.
    Coded(CodedMatrix),
}

/// `scale * code + offset`, with a scale and an offset for every [`BLOCK`] weights of a row.
///
/// Exact to f32's rounding for what GGUF stores in Q8_0 and Q4_1, and off by less than 0.2 % of a block's
/// range otherwise.
#[derive(Debug, Clone)]
pub(crate) struct CodedMatrix {
    rows: usize,
    width: usize,
    codes: Vec<i8>,
    blocks: Vec<[f32; 2]>,
}

impl Matrix {
    /// Weights from the CPU for a device, in 8 bits where that is wanted and possible.
    pub(crate) fn new(weights: &Tensor, device: &Device, coded: bool) -> Result<Self, ModelError> {
        if coded && device.is_cpu() && weights.dim(1)?.is_multiple_of(BLOCK) {
            return Ok(Self::Coded(CodedMatrix::new(weights)?));
        }
        Ok(Self::Dense(weights.to_device(device)?.contiguous()?))
    }

    /// The rows of these numbers: `(T) -> (T, in)`.
    pub(crate) fn rows(&self, numbers: &[u32], device: &Device) -> Result<Tensor, ModelError> {
        match self {
            Self::Dense(weights) => Ok(weights.index_select(&Tensor::new(numbers, device)?, 0)?),
            Self::Coded(matrix) => {
                let mut out = vec![0f32; numbers.len() * matrix.width];
                for (&number, out) in numbers.iter().zip(out.chunks_exact_mut(matrix.width)) {
                    matrix.decode_rows(number as usize, out);
                }
                Ok(Tensor::from_vec(out, (numbers.len(), matrix.width), &Device::Cpu)?)
            }
        }
    }

    /// `y = x W^T`: `(T, in) -> (T, out)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        match self {
            Self::Dense(weights) if weights.device().is_cpu() => {
                let (rows, width) = weights.dims2()?;
                crate::tensor::with_rows(weights, |weights| {
                    in_place(x, Rows::Dense(weights), rows, width)
                })?
            }
            Self::Dense(weights) => Ok(x.matmul(&weights.t()?)?),
            Self::Coded(matrix) => {
                let weights = Rows::Coded { codes: &matrix.codes, blocks: &matrix.blocks };
                in_place(x, weights, matrix.rows, matrix.width)
            }
        }
    }
}

fn in_place(
    x: &Tensor,
    weights: Rows<'_>,
    rows: usize,
    width: usize,
) -> Result<Tensor, ModelError> {
    let out = crate::tensor::with_rows(x, |x| matmul(x, weights, rows, width))?;
    Ok(Tensor::from_vec(out, (x.dim(0)?, rows), &Device::Cpu)?)
}

// === impl CodedMatrix ===

impl CodedMatrix {
    fn new(weights: &Tensor) -> Result<Self, ModelError> {
        let (rows, width) = weights.dims2()?;
        let mut codes = vec![0i8; rows * width];
        let mut blocks = vec![[0f32; 2]; rows * width / BLOCK];
        crate::tensor::with_rows(weights, |values| {
            values
                .par_chunks_exact(width)
                .zip(codes.par_chunks_exact_mut(width))
                .zip(blocks.par_chunks_exact_mut(width / BLOCK))
                .for_each(|((values, codes), blocks)| encode(values, codes, blocks));
        })?;
        Ok(Self { rows, width, codes, blocks })
    }

    /// Rows from `first` on, as many as `out` has room for.
    fn decode_rows(&self, first: usize, out: &mut [f32]) {
        let range = first * self.width..first * self.width + out.len();
        let blocks = &self.blocks[range.start / BLOCK..range.end / BLOCK];
        decode(&self.codes[range], blocks, out);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn decoded(matrix: &CodedMatrix) -> Tensor {
        let all: Vec<u32> = (0..matrix.rows as u32).collect();
        Matrix::Coded(matrix.clone()).rows(&all, &Device::Cpu).unwrap()
    }

    fn random(rows: usize, width: usize) -> Tensor {
        let mut rng = StdRng::seed_from_u64(9);
        let values: Vec<f32> =
            (0..rows * width).map(|_| rng.random::<f32>() * rng.random_range(-1.0..1.0)).collect();
        Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
    }

    fn worst(a: &Tensor, b: &Tensor) -> f32 {
        let difference = (a - b).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn what_gguf_stores_is_kept_in_8_bits() {
        for (dtype, tolerance) in [
            (GgmlDType::Q8_0, 1e-6),
            (GgmlDType::Q4_1, 1e-6),
            (GgmlDType::Q4_0, 4e-3),
            (GgmlDType::Q4K, 4e-3),
            (GgmlDType::Q6K, 4e-3),
        ] {
            let stored = QTensor::quantize(&random(8, 512), dtype).unwrap();
            let weights = stored.dequantize(&Device::Cpu).unwrap();
            let decoded = decoded(&CodedMatrix::new(&weights).unwrap());
            let off = worst(&weights, &decoded);
            assert!(off < tolerance, "{dtype:?} is off by {off:e}");
        }
    }

    #[test]
    fn a_block_of_equal_weights_and_one_of_zeros_are_exact() {
        for value in [0.0, 0.25, -3.0] {
            let weights = Tensor::full(value, (2, BLOCK), &Device::Cpu).unwrap();
            let weights = weights.to_dtype(candle_core::DType::F32).unwrap();
            let decoded = decoded(&CodedMatrix::new(&weights).unwrap());
            assert!(worst(&weights, &decoded) < 1e-6);
        }
    }

    #[test]
    fn each_form_gives_the_same_product_and_rows() {
        let (weights, x) = (random(48, 64), random(33, 64));
        let expected = x.matmul(&weights.t().unwrap()).unwrap();
        for (coded, tolerance) in [(false, 1e-5), (true, 5e-2)] {
            let matrix = Matrix::new(&weights, &Device::Cpu, coded).unwrap();
            assert!(worst(&matrix.forward(&x).unwrap(), &expected) < tolerance);
            let rows = matrix.rows(&[7, 0, 7], &Device::Cpu).unwrap();
            assert!(
                worst(&rows.narrow(0, 0, 1).unwrap(), &weights.narrow(0, 7, 1).unwrap()) < 4e-3
            );
        }
    }

    #[test]
    fn a_width_that_fills_no_block_stays_in_f32() {
        let (weights, x) = (random(5, 30), random(3, 30));
        let matrix = Matrix::new(&weights, &Device::Cpu, true).unwrap();
        assert!(matches!(matrix, Matrix::Dense(_)));
        let expected = x.matmul(&weights.t().unwrap()).unwrap();
        assert!(worst(&matrix.forward(&x).unwrap(), &expected) < 1e-5);
    }
}
