//! A llama of packed weights on the CPU.
//!
//! A step with few rows is bound by reading weights: each matrix is read once, its panels spread over the
//! threads. A step with many rows is bound by arithmetic: the rows are cut into groups, and each thread takes
//! a group from one layer's attention to the next one's, so that threads meet once a layer and what a group
//! computes stays in its core's cache.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::group::{Group, multiply};
use crate::batch::Batch;
use crate::cache::KvCache;
use crate::kernel::activations::Activations;
use crate::kernel::packed::{Blocks, LANES, Packed};
use crate::kernel::rows::rms_norm;
use crate::rope::Rope;
use crate::weights::{LayerWeight, Weight, WeightSource};
use crate::{LlamaConfig, ModelError};

/// Up to this many rows are one group, whose products are spread over the threads.
const MAX_SPREAD_ROWS: usize = 32;
/// Rows of a group otherwise: enough to use each weight often, few enough for the nearest caches.
const GROUP_ROWS: Range<usize> = 16..48;
/// Groups for each thread, so that a thread that ends early finds more to do.
const GROUPS_EACH: usize = 4;

/// The weights.
#[derive(Debug)]
pub(super) struct PackedLlama {
    /// `(vocab, hidden)`.
    embedding: Arc<Packed>,
    layers: Vec<PackedLayer>,
    norm: Vec<f32>,
    /// `(vocab, hidden)`.
    output: Arc<Packed>,
}

/// The weights of a layer.
#[derive(Debug)]
pub(super) struct PackedLayer {
    pub(super) attention_norm: Vec<f32>,
    /// `hidden -> q_size + 2 kv_size`.
    pub(super) qkv: Packed,
    pub(super) attention_output: Packed,
    pub(super) feed_forward_norm: Vec<f32>,
    /// `hidden -> 2 intermediate`: a panel of gates, the panel of their ups, and so on.
    pub(super) gate_up: Packed,
    pub(super) down: Packed,
}

/// What weights are loaded from.
struct Weights<'a> {
    config: &'a LlamaConfig,
    source: &'a mut dyn WeightSource,
}

impl PackedLlama {
    /// Loads all weights, each of which is quantised.
    pub(super) fn new(
        config: &LlamaConfig,
        source: &mut dyn WeightSource,
    ) -> Result<Self, ModelError> {
        let mut weights = Weights { config, source };
        let embedding = Arc::new(weights.matrix(&[Weight::Embedding])?);
        let output = if config.tied_embeddings {
            embedding.clone()
        } else {
            Arc::new(weights.matrix(&[Weight::Output])?)
        };
        let layers = (0..config.num_layers)
            .map(|layer| PackedLayer::new(layer, &mut weights))
            .collect::<Result<_, _>>()?;
        Ok(Self { embedding, layers, norm: weights.vector(Weight::OutputNorm)?, output })
    }

    /// Logits `(S, vocab)` for the `S` rows that sample.
    pub(super) fn forward(
        &self,
        batch: &Batch,
        rope: &Rope,
        cache: &mut KvCache,
        config: &LlamaConfig,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut groups: Vec<Group<'_>> = groups(batch.tokens.len(), rayon::current_num_threads())
            .into_iter()
            .map(|rows| Group::new(rows, batch, rope, config))
            .collect();
        let first = self.layers.first();
        for_each(&mut groups, |group| {
            group.embed(&self.embedding);
            if let Some(first) = first {
                group.project(first);
            }
        });
        for (number, layer) in self.layers.iter().enumerate() {
            let cache = cache.cpu_layer(number)?;
            for group in &groups {
                group.write(cache);
            }
            let (cache, next) = (&*cache, self.layers.get(number + 1));
            for_each(&mut groups, |group| {
                if next.is_none() {
                    group.keep_sampled();
                }
                group.attend(cache);
                group.finish(layer);
                if let Some(next) = next {
                    group.project(next);
                }
            });
        }
        Ok(self.logits(&groups, config))
    }

    /// The output layer on the rows that are left in the groups.
    fn logits(&self, groups: &[Group<'_>], config: &LlamaConfig) -> Vec<Vec<f32>> {
        let rows = groups.iter().flat_map(|group| group.x.chunks_exact(config.hidden_size));
        let rows: Vec<&[f32]> = rows.collect();
        if rows.is_empty() {
            return Vec::new();
        }
        let mut x = Activations::default();
        x.resize(rows.len(), config.hidden_size);
        let mut normed = vec![0f32; config.hidden_size];
        for (column, row) in rows.iter().enumerate() {
            rms_norm(row, &self.norm, config.rms_norm_eps, &mut normed);
            x.quantise_row(column, &normed);
        }
        let mut panels = Vec::new();
        multiply(&self.output, &x, &mut panels, true);
        let row = |column: usize| {
            let mut row: Vec<f32> = Vec::with_capacity(panels.len() / rows.len() * LANES);
            for panel in panels.chunks_exact(rows.len()) {
                row.extend_from_slice(&panel[column]);
            }
            row.truncate(config.vocab_size);
            row
        };
        (0..rows.len()).into_par_iter().map(row).collect()
    }
}

/// Cuts rows into groups.
fn groups(rows: usize, threads: usize) -> Vec<Range<usize>> {
    let most = if rows <= MAX_SPREAD_ROWS {
        rows
    } else {
        rows.div_ceil(GROUPS_EACH * threads)
            .clamp(GROUP_ROWS.start, GROUP_ROWS.end)
            .next_multiple_of(8)
    };
    (0..rows).step_by(most).map(|first| first..rows.min(first + most)).collect()
}

/// Calls a function for each group, at the same time where there are several.
fn for_each(groups: &mut [Group<'_>], call: impl Fn(&mut Group<'_>) + Sync + Send) {
    match groups {
        [only] => call(only),
        _ => groups.par_iter_mut().with_max_len(1).for_each(call),
    }
}

// === impl Weights ===

impl Weights<'_> {
    fn vector(&mut self, weight: Weight) -> Result<Vec<f32>, ModelError> {
        Ok(self.source.load(weight, self.config)?.to_vec1()?)
    }

    /// Several matrices with the same input, one below the other.
    fn blocks(&mut self, weights: &[Weight]) -> Result<Blocks, ModelError> {
        let parts = weights
            .iter()
            .map(|&weight| {
                let blocks = self.source.load_blocks(weight, self.config)?;
                blocks.ok_or_else(|| ModelError::MissingTensor(weight.gguf_name()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Blocks::concat(parts))
    }

    fn matrix(&mut self, weights: &[Weight]) -> Result<Packed, ModelError> {
        Ok(Packed::new(&self.blocks(weights)?, |row| row))
    }
}

// === impl PackedLayer ===

impl PackedLayer {
    fn new(layer: usize, weights: &mut Weights<'_>) -> Result<Self, ModelError> {
        use LayerWeight::{
            AttentionNorm, AttentionOutput, Down, FeedForwardNorm, Gate, Key, Query, Up, Value,
        };
        let of = |weight| Weight::Layer(layer, weight);
        let gate_up = weights.blocks(&[of(Gate), of(Up)])?;
        let ups = weights.config.intermediate_size;
        // Panels of gates and ups in turn: (F / LANES, 2, LANES) from (2, F / LANES, LANES).
        let order = |row: usize| {
            let (panel, lane) = (row / LANES, row % LANES);
            panel % 2 * ups + panel / 2 * LANES + lane
        };
        Ok(Self {
            attention_norm: weights.vector(of(AttentionNorm))?,
            qkv: weights.matrix(&[of(Query), of(Key), of(Value)])?,
            attention_output: weights.matrix(&[of(AttentionOutput)])?,
            feed_forward_norm: weights.vector(of(FeedForwardNorm))?,
            gate_up: Packed::new(&gate_up, order),
            down: weights.matrix(&[of(Down)])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn groups_cover_all_rows_once_and_in_order(rows in 1usize..3000, threads in 1usize..20) {
            let groups = groups(rows, threads);
            let all: Vec<usize> = groups.iter().cloned().flatten().collect();
            prop_assert_eq!(all, (0..rows).collect::<Vec<_>>());
            prop_assert!(groups.len() == 1 || groups.iter().all(|g| g.len() <= GROUP_ROWS.end));
        }
    }
}
