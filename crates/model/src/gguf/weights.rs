//! The weights of a GGUF file, read one by one and dequantised.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::{Device, Tensor};

use super::header::{Header, TensorInfo};
use crate::kernel::encode::{Stored, encode};
use crate::kernel::packed::{BLOCK, Bits, Blocks};
use crate::weights::{LayerWeight, Weight, WeightSource};
use crate::{LlamaConfig, ModelError};

/// An open GGUF file.
#[derive(Debug)]
pub(crate) struct GgufWeights {
    header: Header,
    file: BufReader<File>,
}

impl GgufWeights {
    pub(crate) fn new(header: Header, file: BufReader<File>) -> Self {
        Self { header, file }
    }
}

impl GgufWeights {
    /// The bytes of a weight, which has the shape that it must have.
    fn read(
        &mut self,
        weight: Weight,
        config: &LlamaConfig,
    ) -> Result<(TensorInfo, Vec<u8>), ModelError> {
        let name = weight.gguf_name();
        let Some(info) = self.header.tensor(&name) else {
            return Err(ModelError::MissingTensor(name));
        };
        weight.check_shape(&name, &info.shape, config)?;
        let io = |cause| ModelError::Io { path: self.header.path().to_owned(), cause };
        let mut raw = vec![0; info.size];
        self.file.seek(SeekFrom::Start(info.offset)).map_err(io)?;
        self.file.read_exact(&mut raw).map_err(io)?;
        Ok((info.clone(), raw))
    }
}

impl WeightSource for GgufWeights {
    fn has(&self, weight: Weight) -> bool {
        self.header.tensor(&weight.gguf_name()).is_some()
    }

    fn is_quantised(&self, weight: Weight) -> bool {
        let info = self.header.tensor(&weight.gguf_name());
        info.is_some_and(|info| {
            let width = info.shape.last().copied().unwrap_or(0);
            info.dtype.block_size() > 1 && width.is_multiple_of(BLOCK)
        })
    }

    fn load(&mut self, weight: Weight, config: &LlamaConfig) -> Result<Tensor, ModelError> {
        let (info, raw) = self.read(weight, config)?;
        let tensor = dequantise(&info, &raw)?;
        match rope_heads(weight, config) {
            Some(heads) => unpermute(&tensor, heads),
            None => Ok(tensor),
        }
    }

    fn load_blocks(
        &mut self,
        weight: Weight,
        config: &LlamaConfig,
    ) -> Result<Option<Blocks>, ModelError> {
        if !self.is_quantised(weight) {
            return Ok(None);
        }
        let (info, raw) = self.read(weight, config)?;
        let stored = match info.dtype {
            GgmlDType::Q4_0 => Some(Stored::Q4_0),
            GgmlDType::Q4_1 => Some(Stored::Q4_1),
            GgmlDType::Q8_0 => Some(Stored::Q8_0),
            _ => None,
        };
        let blocks = match stored {
            Some(stored) => stored.blocks(&raw),
            None => crate::tensor::with_rows(&dequantise(&info, &raw)?, encode)?,
        };
        let bits = stored.map_or(Bits::Eight, Stored::bits);
        let width = info.shape[1];
        let per_row = width / BLOCK;
        let blocks = match rope_heads(weight, config) {
            Some(heads) => {
                let rows = (0..info.shape[0]).map(|row| unpermuted(row, info.shape[0] / heads));
                rows.flat_map(|row| &blocks[row * per_row..(row + 1) * per_row]).copied().collect()
            }
            None => blocks,
        };
        Ok(Some(Blocks { width, bits, blocks }))
    }
}

fn dequantise(info: &TensorInfo, raw: &[u8]) -> Result<Tensor, ModelError> {
    let stored = qtensor_from_ggml(info.dtype, raw, info.shape.clone(), &Device::Cpu)?;
    Ok(stored.dequantize(&Device::Cpu)?)
}

/// The heads of a weight whose rows RoPE turns in pairs.
fn rope_heads(weight: Weight, config: &LlamaConfig) -> Option<usize> {
    match weight {
        Weight::Layer(_, LayerWeight::Query) => Some(config.num_heads),
        Weight::Layer(_, LayerWeight::Key) => Some(config.num_kv_heads),
        _ => None,
    }
}

/// Brings the rows of each head from GGUF's order, where RoPE's pairs are neighbours, to Hugging Face's,
/// where they are half a head apart: `(heads, head_dim / 2, 2, in) -> (heads, 2, head_dim / 2, in)`.
fn unpermute(weight: &Tensor, heads: usize) -> Result<Tensor, ModelError> {
    let (out, width) = weight.dims2()?;
    let pairs = weight.reshape((heads, out / heads / 2, 2, width))?;
    Ok(pairs.transpose(1, 2)?.contiguous()?.reshape((out, width))?)
}

/// The row of the file that [`unpermute`] moves to this one.
fn unpermuted(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    let (half, pair) = (within / (head_dim / 2), within % (head_dim / 2));
    head * head_dim + 2 * pair + half
}
