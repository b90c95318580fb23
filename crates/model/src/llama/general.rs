//! A llama of f32 tensors, on any device.
//!
//! One forward takes all tokens of a step through each linear layer as one matrix; only attention looks
//! at sequences one by one.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use candle_nn::ops::rms_norm;
use candle_nn::rotary_emb::rope_thd;
use rayon::prelude::*;

use crate::batch::Batch;
use crate::cache::KvCache;
use crate::kernel;
use crate::matrix::Matrix;
use crate::weights::{LayerWeight, Weight, WeightSource};
use crate::{LlamaConfig, ModelError};

/// The weights.
#[derive(Debug)]
pub(super) struct GeneralLlama {
    /// `(vocab, hidden)`.
    embedding: Arc<Matrix>,
    layers: Vec<Layer>,
    norm: Tensor,
    output: Arc<Matrix>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    /// `hidden -> q_size + 2 kv_size`.
    qkv: Matrix,
    attention_output: Matrix,
    feed_forward_norm: Tensor,
    /// `hidden -> 2 intermediate`.
    gate_up: Matrix,
    down: Matrix,
}

/// What weights are loaded from, and how.
struct Weights<'a> {
    config: &'a LlamaConfig,
    source: &'a mut dyn WeightSource,
    device: &'a Device,
}

impl GeneralLlama {
    /// Loads all weights to the device.
    pub(super) fn new(
        config: &LlamaConfig,
        source: &mut dyn WeightSource,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut weights = Weights { config, source, device };
        let embedding = Arc::new(weights.matrix(&[Weight::Embedding])?);
        let output = if config.tied_embeddings {
            embedding.clone()
        } else {
            Arc::new(weights.matrix(&[Weight::Output])?)
        };
        let layers = (0..config.num_layers)
            .map(|layer| Layer::new(layer, &mut weights))
            .collect::<Result<_, _>>()?;
        Ok(Self { embedding, layers, norm: weights.vector(Weight::OutputNorm)?, output })
    }

    /// Logits `(S, vocab)` for the `S` rows that sample; `None` where none does.
    pub(super) fn forward(
        &self,
        batch: &Batch,
        angles: &(Tensor, Tensor),
        cache: &mut KvCache,
        config: &LlamaConfig,
    ) -> Result<Option<Tensor>, ModelError> {
        let mut x = self.embedding.rows(&batch.tokens)?;
        for (number, layer) in self.layers.iter().enumerate() {
            x = layer.forward(number, &x, angles, batch, cache, config)?;
        }
        if batch.sampled_rows.is_empty() {
            return Ok(None);
        }
        let rows = Tensor::new(batch.sampled_rows.as_slice(), x.device())?;
        let x = x.index_select(&rows, 0)?;
        let x = rms_norm(&x, &self.norm, config.rms_norm_eps)?;
        Ok(Some(self.output.forward(&x)?))
    }
}

// === impl Weights ===

impl Weights<'_> {
    fn vector(&mut self, weight: Weight) -> Result<Tensor, ModelError> {
        Ok(self.source.load(weight, self.config)?.to_device(self.device)?)
    }

    /// One matrix of several with the same input, one below the other.
    fn matrix(&mut self, weights: &[Weight]) -> Result<Matrix, ModelError> {
        let parts = weights
            .iter()
            .map(|&weight| self.source.load(weight, self.config))
            .collect::<Result<Vec<_>, _>>()?;
        Matrix::new(&Tensor::cat(&parts, 0)?, self.device)
    }
}

// === impl Layer ===

impl Layer {
    fn new(layer: usize, weights: &mut Weights<'_>) -> Result<Self, ModelError> {
        use LayerWeight::{
            AttentionNorm, AttentionOutput, Down, FeedForwardNorm, Gate, Key, Query, Up, Value,
        };
        let of = |weight| Weight::Layer(layer, weight);
        Ok(Self {
            attention_norm: weights.vector(of(AttentionNorm))?,
            qkv: weights.matrix(&[of(Query), of(Key), of(Value)])?,
            attention_output: weights.matrix(&[of(AttentionOutput)])?,
            feed_forward_norm: weights.vector(of(FeedForwardNorm))?,
            gate_up: weights.matrix(&[of(Gate), of(Up)])?,
            down: weights.matrix(&[of(Down)])?,
        })
    }

    /// `x (T, hidden) -> (T, hidden)`.
    fn forward(
        &self,
        number: usize,
        x: &Tensor,
        (cos, sin): &(Tensor, Tensor),
        batch: &Batch,
        cache: &mut KvCache,
        config: &LlamaConfig,
    ) -> Result<Tensor, ModelError> {
        let rows = x.dim(0)?;
        let (q_size, kv_size) = (config.q_size(), config.kv_size());
        let normed = rms_norm(x, &self.attention_norm, config.rms_norm_eps)?;
        let qkv = self.qkv.forward(&normed)?;
        // (T, heads * head_dim) -> (T, heads, head_dim)
        let heads = |from: usize, width: usize| -> candle_core::Result<Tensor> {
            let shape = (1, rows, width / config.head_dim, config.head_dim);
            qkv.narrow(1, from, width)?.contiguous()?.reshape(shape)
        };
        let q = rope_thd(&heads(0, q_size)?, cos, sin)?.squeeze(0)?;
        let k = rope_thd(&heads(q_size, kv_size)?, cos, sin)?.squeeze(0)?;
        let v = heads(q_size + kv_size, kv_size)?.squeeze(0)?;
        let attended = cache.write_and_attend(number, (&q, &k, &v), batch, config)?;
        let x = (x + self.attention_output.forward(&attended)?)?;
        let normed = rms_norm(&x, &self.feed_forward_norm, config.rms_norm_eps)?;
        let gated = swiglu(&self.gate_up.forward(&normed)?, config.intermediate_size)?;
        Ok((x + self.down.forward(&gated)?)?)
    }
}

/// `(T, 2 F) -> (T, F)`: `silu(gate) * up`, the gate being the first half of each row.
fn swiglu(gate_up: &Tensor, width: usize) -> Result<Tensor, ModelError> {
    if !gate_up.device().is_cpu() {
        let gate = gate_up.narrow(1, 0, width)?.contiguous()?;
        let up = gate_up.narrow(1, width, width)?.contiguous()?;
        return Ok((gate.silu()? * up)?);
    }
    let rows = gate_up.dim(0)?;
    let mut out = vec![0f32; rows * width];
    crate::tensor::with_rows(gate_up, |gate_up| {
        out.par_chunks_exact_mut(width).zip(gate_up.par_chunks_exact(2 * width)).for_each(
            |(out, row)| {
                let (gate, up) = row.split_at(width);
                kernel::rows::silu_times(gate, up, out);
            },
        );
    })?;
    Ok(Tensor::from_vec(out, (rows, width), &Device::Cpu)?)
}
