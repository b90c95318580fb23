//! A matrix of weights in f32, and how it is multiplied on each device.

use candle_core::{Device, Tensor};

use crate::ModelError;
use crate::kernel::matmul::matmul;

/// `(out, in)` weights, on any device.
#[derive(Debug, Clone)]
pub(crate) struct Matrix(Tensor);

impl Matrix {
    /// Weights from the CPU for a device.
    pub(crate) fn new(weights: &Tensor, device: &Device) -> Result<Self, ModelError> {
        Ok(Self(weights.to_device(device)?.contiguous()?))
    }

    /// The rows of these numbers: `(T) -> (T, in)`.
    pub(crate) fn rows(&self, numbers: &[u32]) -> Result<Tensor, ModelError> {
        Ok(self.0.index_select(&Tensor::new(numbers, self.0.device())?, 0)?)
    }

    /// `y = x W^T`: `(T, in) -> (T, out)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        if !self.0.device().is_cpu() {
            return Ok(x.matmul(&self.0.t()?)?);
        }
        let (rows, width) = self.0.dims2()?;
        let out = crate::tensor::with_rows(&self.0, |weights| {
            crate::tensor::with_rows(x, |x| matmul(x, weights, rows, width))
        })??;
        Ok(Tensor::from_vec(out, (x.dim(0)?, rows), &Device::Cpu)?)
    }
}
