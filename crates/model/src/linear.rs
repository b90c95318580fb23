//! A linear layer without bias, dense.

use candle_core::{Device, Tensor};

use crate::ModelError;

/// `y = x W^T`.
#[derive(Debug)]
pub(crate) struct Linear {
    /// `(out, in)`.
    weight: Tensor,
}

impl Linear {
    /// Takes `(out, in)` from the CPU to where it is used.
    pub(crate) fn new(weight: &Tensor, device: &Device) -> Result<Self, ModelError> {
        Ok(Self { weight: weight.to_device(device)?.contiguous()? })
    }

    /// Shares a matrix that is there already, as tied embeddings do.
    pub(crate) fn shared(weight: Tensor) -> Self {
        Self { weight }
    }

    /// `(T, in) -> (T, out)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(x.matmul(&self.weight.t()?)?)
    }
}
