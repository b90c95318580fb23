//! Causal attention of many sequences over one paged cache.
//!
//! On the CPU a kernel of our own reads the cache block table by block table. Elsewhere the context of each
//! sequence is gathered and candle does the arithmetic.

use std::cell::RefCell;

use candle_core::{D, Device, Tensor};
use rayon::prelude::*;

use crate::batch::{Batch, Span};
use crate::cpu_cache::CpuLayer;
use crate::kernel::attend::{QUERIES, Queries, Strip};
use crate::{LlamaConfig, ModelError};

/// Rows of one tile: enough to use each key several times, few enough to spread over threads.
const TILE_ROWS: usize = 16;

/// Some rows of one span, for one key head and its group of query heads.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    pub(crate) span: &'a Span,
    /// Of the span, not of the batch.
    pub(crate) first_row: usize,
    pub(crate) num_rows: usize,
    /// Where the rows begin in what holds the queries.
    pub(crate) at: usize,
    pub(crate) kv_head: usize,
}

thread_local! {
    /// The strip that a thread reads the cache through: as large as the nearest cache, so not made anew.
    static STRIP: RefCell<Strip> = RefCell::default();
}

impl<'a> Tile<'a> {
    /// All tiles of some rows of a span; the first row is row `at` of what holds the queries.
    pub(crate) fn of_rows(
        span: &'a Span,
        rows: std::ops::Range<usize>,
        at: usize,
        config: &LlamaConfig,
    ) -> impl Iterator<Item = Self> + use<'a> {
        let kv_heads = config.num_kv_heads;
        rows.clone().step_by(TILE_ROWS).flat_map(move |first_row| {
            let num_rows = TILE_ROWS.min(rows.end - first_row);
            let at = at + first_row - rows.start;
            (0..kv_heads).map(move |kv_head| Self { span, first_row, num_rows, at, kv_head })
        })
    }

    /// `q (.., heads * head_dim) -> (num_rows, group, head_dim)`: softmax subtracts the largest score.
    pub(crate) fn attend(&self, q: &[f32], cache: &CpuLayer, config: &LlamaConfig) -> Vec<f32> {
        let (head_dim, group) = (config.head_dim, config.group_size());
        let query = |number: usize| {
            let (row, head) = (self.at + number / group, number % group);
            let at = row * config.q_size() + (self.kv_head * group + head) * head_dim;
            &q[at..at + head_dim]
        };
        let count = self.num_rows * group;
        let mut queries: Vec<Queries> = (0..count)
            .step_by(QUERIES)
            .map(|first| Queries::new((first..count.min(first + QUERIES)).map(query)))
            .collect();
        let first = self.span.start + self.first_row;
        STRIP.with_borrow_mut(|strip| {
            let context = first + self.num_rows;
            cache.strips(self.span, self.kv_head, context, strip, |position, strip| {
                for (number, queries) in queries.iter_mut().enumerate() {
                    let visible = std::array::from_fn(|at| {
                        let row = (number * QUERIES + at) / group;
                        (first + row + 1).saturating_sub(position)
                    });
                    queries.attend(strip, &visible);
                }
            });
        });
        let mut out = vec![0f32; count * head_dim];
        for (number, out) in out.chunks_exact_mut(head_dim).enumerate() {
            queries[number / QUERIES].finish(number % QUERIES, out);
        }
        out
    }

    /// Puts what [`Tile::attend`] returned to its place: `(.., heads * head_dim)`.
    pub(crate) fn place(&self, values: &[f32], out: &mut [f32], config: &LlamaConfig) {
        let width = config.group_size() * config.head_dim;
        for (row, values) in values.chunks_exact(width).enumerate() {
            let at = (self.at + row) * config.q_size() + self.kv_head * width;
            out[at..at + width].copy_from_slice(values);
        }
    }
}

/// `q (T, heads, head_dim) -> (T, heads * head_dim)`.
pub(crate) fn attend_on_cpu(
    q: &Tensor,
    cache: &CpuLayer,
    batch: &Batch,
    config: &LlamaConfig,
) -> Result<Tensor, ModelError> {
    let spans = batch.spans.iter();
    let tiles: Vec<Tile<'_>> = spans
        .flat_map(|span| Tile::of_rows(span, 0..span.rows.len(), span.rows.start, config))
        .collect();
    let mut out = vec![0f32; batch.tokens.len() * config.q_size()];
    crate::tensor::with_rows(q, |q| {
        let attend = |tile: &Tile<'_>| tile.attend(q, cache, config);
        let found: Vec<Vec<f32>> = tiles.par_iter().map(attend).collect();
        for (tile, values) in tiles.iter().zip(&found) {
            tile.place(values, &mut out, config);
        }
    })?;
    Ok(Tensor::from_vec(out, (batch.tokens.len(), config.q_size()), &Device::Cpu)?)
}

/// The same with candle's operations: gathers each sequence's context, one sequence after the other.
pub(crate) fn attend_with_gather(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    batch: &Batch,
    block_size: usize,
    config: &LlamaConfig,
) -> Result<Tensor, ModelError> {
    let device = q.device();
    let (heads, group) = (config.num_kv_heads, config.group_size());
    let head_dim = config.head_dim;
    let scale = 1.0 / (head_dim as f64).sqrt();
    let mut outputs = Vec::with_capacity(batch.spans.len());
    for span in &batch.spans {
        let (rows, context) = (span.rows.len(), span.context());
        let slots: Vec<u32> =
            (0..context).map(|position| span.slot(position, block_size) as u32).collect();
        let slots = Tensor::new(slots, device)?;
        // (context, kv_heads, head_dim) -> (kv_heads, context, head_dim)
        let k = keys.index_select(&slots, 0)?.transpose(0, 1)?.contiguous()?;
        let v = values.index_select(&slots, 0)?.transpose(0, 1)?.contiguous()?;
        // (rows, heads, head_dim) -> (kv_heads, rows * group, head_dim)
        let queries = q
            .narrow(0, span.rows.start, rows)?
            .reshape((rows, heads, group, head_dim))?
            .transpose(0, 1)?
            .reshape((heads, rows * group, head_dim))?
            .contiguous()?;
        let scores = (queries.matmul(&k.t()?)? * scale)?;
        let hidden: Vec<f32> = (0..rows * group)
            .flat_map(|query| {
                let visible = span.start + query / group;
                (0..context).map(move |at| if at > visible { f32::NEG_INFINITY } else { 0.0 })
            })
            .collect();
        let mask = Tensor::from_vec(hidden, (1, rows * group, context), device)?;
        let scores = scores.broadcast_add(&mask)?;
        let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
        // (kv_heads, rows * group, head_dim) -> (rows, heads * head_dim)
        let out = weights
            .matmul(&v)?
            .reshape((heads, rows, group, head_dim))?
            .transpose(0, 1)?
            .reshape((rows, config.q_size()))?;
        outputs.push(out);
    }
    Ok(Tensor::cat(&outputs, 0)?)
}
