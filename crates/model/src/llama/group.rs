//! Some rows of a batch on their way through the layers.

use std::ops::Range;

use rayon::prelude::*;

use super::packed::PackedLayer;
use crate::LlamaConfig;
use crate::attention::Tile;
use crate::batch::{Batch, Span};
use crate::cpu_cache::CpuLayer;
use crate::kernel::activations::Activations;
use crate::kernel::dot;
use crate::kernel::packed::{BLOCK, LANES, Packed};
use crate::kernel::rows::{rms_norm, rotate, silu_times_to_block};
use crate::rope::Rope;

/// Tasks for each thread, where a product is spread: a thread that is held up leaves some to the others.
const TASKS_EACH: usize = 4;
/// Panels of gates and ups that give one block of activations.
const BLOCK_PANELS: usize = 2 * BLOCK / LANES;

/// Rows of a batch, with room for what is computed of them.
#[derive(Debug)]
pub(super) struct Group<'a> {
    batch: &'a Batch,
    config: &'a LlamaConfig,
    /// Whether products and attention are spread over the threads, since there is no other group.
    spread: bool,
    /// The batch's rows that are here.
    rows: Vec<usize>,
    /// `(T, hidden)`: the residual stream.
    pub(super) x: Vec<f32>,
    /// `(T, head_dim / 2)`.
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// `(T, q_size)`.
    q: Vec<f32>,
    /// `(T, kv_size)`.
    k: Vec<f32>,
    v: Vec<f32>,
    /// `(T, q_size)`.
    attended: Vec<f32>,
    activations: Activations,
    gated: Activations,
    /// `(P, T, LANES)`: what a product gives.
    panels: Vec<[f32; LANES]>,
}

/// `x (T, in) W^T -> out (P, T, LANES)`, by all threads or by this one.
pub(super) fn multiply(
    weights: &Packed,
    x: &Activations,
    out: &mut Vec<[f32; LANES]>,
    spread: bool,
) {
    out.resize(weights.num_panels() * x.columns(), [0.0; LANES]);
    if !spread {
        return dot::multiply(weights, 0..weights.num_panels(), x, out);
    }
    let panels = task_len(weights.num_panels());
    out.par_chunks_mut(panels * x.columns()).enumerate().for_each(|(task, out)| {
        let first = task * panels;
        dot::multiply(weights, first..first + out.len() / x.columns(), x, out);
    });
}

/// How many of `total` equal pieces make a task.
fn task_len(total: usize) -> usize {
    total.div_ceil(TASKS_EACH * rayon::current_num_threads())
}

impl<'a> Group<'a> {
    pub(super) fn new(
        rows: Range<usize>,
        batch: &'a Batch,
        rope: &Rope,
        config: &'a LlamaConfig,
    ) -> Self {
        let t = rows.len();
        let (cos, sin) = rope.rows(&batch.positions[rows.clone()]);
        Self {
            batch,
            config,
            spread: t == batch.tokens.len(),
            rows: rows.collect(),
            x: vec![0.0; t * config.hidden_size],
            cos,
            sin,
            q: vec![0.0; t * config.q_size()],
            k: vec![0.0; t * config.kv_size()],
            v: vec![0.0; t * config.kv_size()],
            attended: vec![0.0; t * config.q_size()],
            activations: Activations::default(),
            gated: Activations::default(),
            panels: Vec::new(),
        }
    }

    /// The tokens' embeddings.
    pub(super) fn embed(&mut self, embedding: &Packed) {
        for (&row, x) in self.rows.iter().zip(self.x.chunks_exact_mut(self.config.hidden_size)) {
            embedding.decode_row(self.batch.tokens[row] as usize, x);
        }
    }

    /// Queries, keys and values, turned by their positions.
    pub(super) fn project(&mut self, layer: &PackedLayer) {
        self.norm(&layer.attention_norm);
        multiply(&layer.qkv, &self.activations, &mut self.panels, self.spread);
        let (t, half) = (self.rows.len(), self.config.head_dim / 2);
        let (q_size, kv_size) = (self.config.q_size(), self.config.kv_size());
        for row in 0..t {
            let angles = (&self.cos[row * half..][..half], &self.sin[row * half..][..half]);
            for (part, first, size, turned) in [
                (&mut self.q, 0, q_size, true),
                (&mut self.k, q_size, kv_size, true),
                (&mut self.v, q_size + kv_size, kv_size, false),
            ] {
                let part = &mut part[row * size..(row + 1) * size];
                gather(&self.panels, t, row, first, part);
                if turned {
                    for head in part.chunks_exact_mut(2 * half) {
                        rotate(head, angles.0, angles.1);
                    }
                }
            }
        }
    }

    /// Keys and values go to the cache.
    pub(super) fn write(&self, cache: &mut CpuLayer) {
        let slots = &self.batch.slots[self.rows[0]..self.rows[0] + self.rows.len()];
        cache.write(&self.k, &self.v, slots);
    }

    /// Forgets all rows after which no token is sampled. The others' keys and values are in the cache.
    pub(super) fn keep_sampled(&mut self) {
        let sampled = |row: &usize| self.batch.sampled_rows.binary_search(&(*row as u32)).is_ok();
        let kept: Vec<usize> = (0..self.rows.len()).filter(|&at| sampled(&self.rows[at])).collect();
        let keep = |values: &[f32], width: usize| -> Vec<f32> {
            kept.iter().flat_map(|at| &values[at * width..(at + 1) * width]).copied().collect()
        };
        self.x = keep(&self.x, self.config.hidden_size);
        self.q = keep(&self.q, self.config.q_size());
        self.rows = kept.iter().map(|&at| self.rows[at]).collect();
        self.attended.truncate(self.rows.len() * self.config.q_size());
    }

    /// Each row attends to its own sequence.
    pub(super) fn attend(&mut self, cache: &CpuLayer) {
        let tiles: Vec<Tile<'_>> = self.tiles();
        let (q, config) = (&self.q, self.config);
        if self.spread && tiles.len() > 1 {
            let found: Vec<Vec<f32>> =
                tiles.par_iter().map(|tile| tile.attend(q, cache, config)).collect();
            for (tile, values) in tiles.iter().zip(&found) {
                tile.place(values, &mut self.attended, config);
            }
        } else {
            for tile in &tiles {
                tile.place(&tile.attend(q, cache, config), &mut self.attended, config);
            }
        }
    }

    /// The rest of the layer: attention's output, then the feed-forward layer, both added to the stream.
    pub(super) fn finish(&mut self, layer: &PackedLayer) {
        if self.rows.is_empty() {
            return;
        }
        self.activations.quantise(&self.attended, self.config.q_size());
        multiply(&layer.attention_output, &self.activations, &mut self.panels, self.spread);
        self.add_panels();
        self.norm(&layer.feed_forward_norm);
        self.gate(&layer.gate_up);
        multiply(&layer.down, &self.gated, &mut self.panels, self.spread);
        self.add_panels();
    }

    /// Runs of rows that follow each other in one sequence, cut into tiles.
    fn tiles(&self) -> Vec<Tile<'a>> {
        let mut tiles = Vec::new();
        let mut at = 0;
        while at < self.rows.len() {
            let first = self.rows[at];
            let spans = &self.batch.spans;
            let span: &Span = &spans[spans.partition_point(|span| span.rows.end <= first)];
            let follow = |&(row, next): &(usize, &usize)| row == *next && row < span.rows.end;
            let len = (first..).zip(&self.rows[at..]).take_while(follow).count();
            let within = first - span.rows.start;
            tiles.extend(Tile::of_rows(span, within..within + len, at, self.config));
            at += len;
        }
        tiles
    }

    /// The stream, normed, to 8 bits.
    fn norm(&mut self, weight: &[f32]) {
        let (hidden, eps) = (self.config.hidden_size, self.config.rms_norm_eps);
        self.activations.resize(self.rows.len(), hidden);
        let mut normed = vec![0f32; hidden];
        for (column, row) in self.x.chunks_exact(hidden).enumerate() {
            rms_norm(row, weight, eps, &mut normed);
            self.activations.quantise_row(column, &normed);
        }
    }

    /// Gates and ups, and their product in 8 bits.
    fn gate(&mut self, gate_up: &Packed) {
        let t = self.rows.len();
        let blocks = self.config.intermediate_size / BLOCK;
        self.gated.resize(t, self.config.intermediate_size);
        let x = &self.activations;
        let task = if self.spread { task_len(blocks) } else { blocks };
        let gate = |first: usize, codes: &mut [[i8; BLOCK]], factors: &mut [_]| {
            let mut panels = vec![[0f32; LANES]; BLOCK_PANELS * t];
            let blocks = codes.chunks_exact_mut(t).zip(factors.chunks_exact_mut(t));
            for (block, (codes, factors)) in (first..).zip(blocks) {
                let range = block * BLOCK_PANELS..(block + 1) * BLOCK_PANELS;
                dot::multiply(gate_up, range, x, &mut panels);
                silu_times_to_block(&panels, codes, factors);
            }
        };
        if !self.spread {
            return gate(0, &mut self.gated.codes, &mut self.gated.factors);
        }
        let codes = self.gated.codes.par_chunks_mut(task * t);
        let factors = self.gated.factors.par_chunks_mut(task * t);
        codes.zip(factors).enumerate().for_each(|(number, (codes, factors))| {
            gate(number * task, codes, factors);
        });
    }

    /// Adds what a product gave to the stream.
    fn add_panels(&mut self) {
        let t = self.rows.len();
        for (row, x) in self.x.chunks_exact_mut(self.config.hidden_size).enumerate() {
            for (panel, x) in x.chunks_mut(LANES).enumerate() {
                for (x, value) in x.iter_mut().zip(&self.panels[panel * t + row]) {
                    *x += value;
                }
            }
        }
    }
}

/// Columns `first..` of one row of `panels (P, T, LANES)`.
fn gather(panels: &[[f32; LANES]], t: usize, row: usize, first: usize, out: &mut [f32]) {
    let mut at = 0;
    while at < out.len() {
        let column = first + at;
        let values = &panels[column / LANES * t + row][column % LANES..];
        let len = values.len().min(out.len() - at);
        out[at..at + len].copy_from_slice(&values[..len]);
        at += len;
    }
}
