//! From candle's tensors to plain slices, for the kernels that are our own.

use candle_core::{Storage, Tensor};

use crate::ModelError;

/// Lends the values of a contiguous f32 tensor on the CPU, without a copy.
pub(crate) fn with_rows<R>(
    tensor: &Tensor,
    use_rows: impl FnOnce(&[f32]) -> R,
) -> Result<R, ModelError> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => {
            let values = storage.as_slice::<f32>()?;
            let start = layout.start_offset();
            Ok(use_rows(&values[start..start + layout.shape().elem_count()]))
        }
        _ => Err(candle_core::Error::Msg("expected a tensor on the CPU".into()).into()),
    }
}
