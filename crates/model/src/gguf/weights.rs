//! The weights of a GGUF file, read one by one and dequantised.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::{Device, Tensor};

use super::Header;
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

impl WeightSource for GgufWeights {
    fn has(&self, weight: Weight) -> bool {
        self.header.tensor(&weight.gguf_name()).is_some()
    }

    fn is_quantised(&self, weight: Weight) -> bool {
        let info = self.header.tensor(&weight.gguf_name());
        info.is_some_and(|info| info.dtype.block_size() > 1)
    }

    fn load(&mut self, weight: Weight, config: &LlamaConfig) -> Result<Tensor, ModelError> {
        let name = weight.gguf_name();
        let Some(info) = self.header.tensor(&name) else {
            return Err(ModelError::MissingTensor(name));
        };
        weight.check_shape(&name, &info.shape, config)?;
        let io = |cause| ModelError::Io { path: self.header.path().to_owned(), cause };
        let mut raw = vec![0; info.size];
        self.file.seek(SeekFrom::Start(info.offset)).map_err(io)?;
        self.file.read_exact(&mut raw).map_err(io)?;
        let stored = qtensor_from_ggml(info.dtype, &raw, info.shape.clone(), &Device::Cpu)?;
        let tensor = stored.dequantize(&Device::Cpu)?;
        match weight {
            Weight::Layer(_, LayerWeight::Query) => unpermute(&tensor, config.num_heads),
            Weight::Layer(_, LayerWeight::Key) => unpermute(&tensor, config.num_kv_heads),
            _ => Ok(tensor),
        }
    }
}

/// Brings the rows of each head from GGUF's order, where RoPE's pairs are neighbours, to Hugging Face's,
/// where they are half a head apart: `(heads, head_dim / 2, 2, in) -> (heads, 2, head_dim / 2, in)`.
fn unpermute(weight: &Tensor, heads: usize) -> Result<Tensor, ModelError> {
    let (out, width) = weight.dims2()?;
    let pairs = weight.reshape((heads, out / heads / 2, 2, width))?;
    Ok(pairs.transpose(1, 2)?.contiguous()?.reshape((out, width))?)
}
