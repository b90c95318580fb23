//! The paged KV cache: one pool of slots for all sequences, addressed by block tables.

use candle_core::{DType, Device, Tensor};

use crate::attention::{attend_on_cpu, attend_with_gather};
use crate::batch::Batch;
pub(crate) use crate::cpu_cache::CachePrecision;
use crate::cpu_cache::CpuLayer;
use crate::tensor::with_rows;
use crate::{LlamaConfig, ModelError};

/// Keys and values of all layers, `num_blocks * block_size` positions each.
#[derive(Debug)]
pub(crate) struct KvCache {
    layers: Vec<LayerCache>,
    num_blocks: usize,
    block_size: usize,
}

/// Keys and values of one layer.
#[derive(Debug)]
enum LayerCache {
    /// Plain memory that our own kernel reads.
    Cpu(CpuLayer),
    /// In f32, `(slots, kv_heads, head_dim)` on any device, gathered with candle's operations.
    Gathered { keys: Tensor, values: Tensor },
}

impl KvCache {
    /// An empty cache. On the CPU, memory is taken from the system as slots are first written.
    pub(crate) fn new(
        config: &LlamaConfig,
        num_blocks: usize,
        block_size: usize,
        device: &Device,
        precision: CachePrecision,
    ) -> Result<Self, ModelError> {
        let wrong =
            |reason: &str| ModelError::Cache { num_blocks, block_size, reason: reason.to_owned() };
        if num_blocks == 0 || block_size == 0 {
            return Err(wrong("empty"));
        }
        let slots = num_blocks
            .checked_mul(block_size)
            .filter(|&slots| u32::try_from(slots).is_ok())
            .ok_or_else(|| wrong("larger than 2^32 tokens"))?;
        let layers = (0..config.num_layers)
            .map(|_| {
                if device.is_cpu() {
                    let layer = CpuLayer::new(config, num_blocks, block_size, precision);
                    return Ok(LayerCache::Cpu(layer.ok_or_else(|| wrong("larger than memory"))?));
                }
                Ok(LayerCache::gathered(config, slots, device)?)
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Self { layers, num_blocks, block_size })
    }

    /// A cache that is gathered with candle's operations even on the CPU, to test that path.
    #[cfg(test)]
    pub(crate) fn new_gathered(
        config: &LlamaConfig,
        num_blocks: usize,
        block_size: usize,
    ) -> Result<Self, ModelError> {
        let layers = (0..config.num_layers)
            .map(|_| LayerCache::gathered(config, num_blocks * block_size, &Device::Cpu))
            .collect::<candle_core::Result<_>>()?;
        Ok(Self { layers, num_blocks, block_size })
    }

    pub(crate) fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    pub(crate) fn block_size(&self) -> usize {
        self.block_size
    }

    /// A layer in plain memory.
    pub(crate) fn cpu_layer(&mut self, layer: usize) -> Result<&mut CpuLayer, ModelError> {
        match &mut self.layers[layer] {
            LayerCache::Cpu(layer) => Ok(layer),
            LayerCache::Gathered { .. } => {
                Err(candle_core::Error::Msg("expected a cache on the CPU".into()).into())
            }
        }
    }

    /// Writes this step's keys and values into their slots, then lets every query attend to its own
    /// sequence: `q (T, heads, head_dim), k, v (T, kv_heads, head_dim) -> (T, heads * head_dim)`.
    pub(crate) fn write_and_attend(
        &mut self,
        layer: usize,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
        batch: &Batch,
        config: &LlamaConfig,
    ) -> Result<Tensor, ModelError> {
        let block_size = self.block_size;
        match &mut self.layers[layer] {
            LayerCache::Cpu(layer) => {
                with_rows(k, |k| with_rows(v, |v| layer.write(k, v, &batch.slots)))??;
                attend_on_cpu(q, layer, batch, config)
            }
            LayerCache::Gathered { keys, values } => {
                let rows = batch.slots.len();
                let index = Tensor::new(batch.slots.as_slice(), q.device())?
                    .reshape((rows, 1, 1))?
                    .broadcast_as(k.shape())?
                    .contiguous()?;
                keys.scatter_set(&index, &k.contiguous()?, 0)?;
                values.scatter_set(&index, &v.contiguous()?, 0)?;
                attend_with_gather(q, keys, values, batch, block_size, config)
            }
        }
    }
}

// === impl LayerCache ===

impl LayerCache {
    fn gathered(config: &LlamaConfig, slots: usize, device: &Device) -> candle_core::Result<Self> {
        let shape = (slots, config.num_kv_heads, config.head_dim);
        Ok(Self::Gathered {
            keys: Tensor::zeros(shape, DType::F32, device)?,
            values: Tensor::zeros(shape, DType::F32, device)?,
        })
    }
}
