//! The llama decoder: RMSNorm, RoPE, grouped-query attention, SwiGLU (Touvron et al. 2023), in two forms.
//!
//! Quantised weights on the CPU are multiplied as they are, by kernels of our own: see [`packed`]. All other
//! weights, on any device, are tensors of f32: see [`general`].

mod general;
mod group;
mod packed;

use candle_core::Device;

use self::general::GeneralLlama;
use self::packed::PackedLlama;
use crate::batch::Batch;
use crate::cache::{CachePrecision, KvCache};
use crate::load::WeightFormat;
use crate::rope::Rope;
use crate::weights::{LayerWeight, Weight, WeightSource};
use crate::{LlamaConfig, ModelError};

/// A llama with its weights on one device.
#[derive(Debug)]
pub(crate) struct Llama {
    config: LlamaConfig,
    device: Device,
    rope: Rope,
    body: Body,
}

#[derive(Debug)]
enum Body {
    General(GeneralLlama),
    Packed(PackedLlama),
}

impl Llama {
    /// Loads all weights to the device.
    pub(crate) fn new(
        config: &LlamaConfig,
        source: &mut dyn WeightSource,
        device: &Device,
        format: WeightFormat,
    ) -> Result<Self, ModelError> {
        let factors = if source.has(Weight::RopeFactors) {
            Some(source.load(Weight::RopeFactors, config)?.to_vec1::<f32>()?)
        } else {
            None
        };
        let quantised = matrices(config).all(|weight| source.is_quantised(weight));
        let body = if device.is_cpu() && format == WeightFormat::Auto && quantised {
            Body::Packed(PackedLlama::new(config, source)?)
        } else {
            Body::General(GeneralLlama::new(config, source, device)?)
        };
        let rope = Rope::new(config, factors.as_deref());
        Ok(Self { config: config.clone(), device: device.clone(), rope, body })
    }

    pub(crate) fn config(&self) -> &LlamaConfig {
        &self.config
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// How precise the cache on the CPU has to be: no more than the weights.
    pub(crate) fn cache_precision(&self) -> CachePrecision {
        match self.body {
            Body::General(_) => CachePrecision::Full,
            Body::Packed(_) => CachePrecision::Half,
        }
    }

    /// Computes all tokens of the batch and writes their keys and values into the cache.
    /// Logits `(S, vocab)` for the `S` rows that sample.
    pub(crate) fn forward(
        &self,
        batch: &Batch,
        cache: &mut KvCache,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        match &self.body {
            Body::General(llama) => {
                let angles = self.rope.angles(&batch.positions, &self.device)?;
                let logits = llama.forward(batch, &angles, cache, &self.config)?;
                Ok(logits.map(|logits| logits.to_vec2()).transpose()?.unwrap_or_default())
            }
            Body::Packed(llama) => llama.forward(batch, &self.rope, cache, &self.config),
        }
    }
}

/// All matrices that a llama of this shape multiplies by.
fn matrices(config: &LlamaConfig) -> impl Iterator<Item = Weight> {
    use LayerWeight::{AttentionOutput, Down, Gate, Key, Query, Up, Value};
    let output = (!config.tied_embeddings).then_some(Weight::Output);
    let layers = (0..config.num_layers).flat_map(|layer| {
        [Query, Key, Value, AttentionOutput, Gate, Up, Down]
            .map(|weight| Weight::Layer(layer, weight))
    });
    [Weight::Embedding].into_iter().chain(output).chain(layers)
}
