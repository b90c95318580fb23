//! Causal attention of many sequences over one paged cache.
//!
//! On the CPU a kernel of our own reads the cache in place, block table by block table. Elsewhere the
//! context of each sequence is gathered and candle does the arithmetic.

use candle_core::{D, Device, Tensor};
use rayon::prelude::*;

use crate::batch::{Batch, Span};
use crate::kernel::{self, Strip};
use crate::{LlamaConfig, ModelError};

/// Queries of one work item: enough to use each key several times, few enough to spread over threads.
const TILE_ROWS: usize = 16;

/// What one work item computes: some rows of one span, for one key head and its group of query heads.
struct Item<'a> {
    span: &'a Span,
    /// Of the span, not of the batch.
    first_row: usize,
    num_rows: usize,
    kv_head: usize,
}

/// `q (T, heads, head_dim)` over `keys, values (slots, kv_heads, head_dim)` `-> (T, heads * head_dim)`.
///
/// f32 throughout; softmax subtracts the row's maximum.
pub(crate) fn attend_on_cpu(
    q: &Tensor,
    keys: &[f32],
    values: &[f32],
    batch: &Batch,
    block_size: usize,
    config: &LlamaConfig,
) -> Result<Tensor, ModelError> {
    let (head_dim, group) = (config.head_dim, config.group_size());
    let mut items = Vec::new();
    for span in &batch.spans {
        for first_row in (0..span.rows.len()).step_by(TILE_ROWS) {
            let num_rows = TILE_ROWS.min(span.rows.len() - first_row);
            for kv_head in 0..config.num_kv_heads {
                items.push(Item { span, first_row, num_rows, kv_head });
            }
        }
    }
    let q_size = config.q_size();
    let mut out = vec![0f32; batch.tokens.len() * q_size];
    crate::tensor::with_rows(q, |q| {
        let tiles: Vec<Vec<f32>> = items
            .par_iter()
            .map(|item| attend_tile(item, q, keys, values, block_size, config))
            .collect();
        let width = group * head_dim;
        for (item, tile) in items.iter().zip(&tiles) {
            for (row, values) in tile.chunks_exact(width).enumerate() {
                let row = item.span.rows.start + item.first_row + row;
                let at = row * q_size + item.kv_head * width;
                out[at..at + width].copy_from_slice(values);
            }
        }
    })?;
    Ok(Tensor::from_vec(out, (batch.tokens.len(), q_size), &Device::Cpu)?)
}

/// One item: `(num_rows, group, head_dim)`.
fn attend_tile(
    item: &Item<'_>,
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    block_size: usize,
    config: &LlamaConfig,
) -> Vec<f32> {
    let (head_dim, group) = (config.head_dim, config.group_size());
    let (width, kv_size) = (group * head_dim, config.kv_size());
    let first = item.span.start + item.first_row;
    let context = first + item.num_rows;
    let mut queries = Vec::with_capacity(item.num_rows * width);
    for row in 0..item.num_rows {
        let row = item.span.rows.start + item.first_row + row;
        let at = row * config.q_size() + item.kv_head * width;
        queries.extend_from_slice(&q[at..at + width]);
    }
    let strip_at = |cache, from: usize, to: usize| {
        let offsets = (from..to).map(|position| {
            item.span.slot(position, block_size) * kv_size + item.kv_head * head_dim
        });
        Strip::new(cache, offsets, head_dim)
    };
    let num_queries = item.num_rows * group;
    let padded = context.next_multiple_of(kernel::STRIP);
    let mut scores = vec![0f32; num_queries * padded];
    for from in (0..context).step_by(kernel::STRIP) {
        let strip = strip_at(keys, from, context.min(from + kernel::STRIP));
        kernel::scores(&queries, &strip, &mut scores[from..], padded, head_dim);
    }
    let scale = 1.0 / (head_dim as f32).sqrt();
    for (query, scores) in scores.chunks_exact_mut(padded).enumerate() {
        let visible = first + query / group + 1;
        kernel::softmax(&mut scores[..visible], scale);
        scores[visible..].fill(0.0);
    }
    let mut out = vec![0f32; num_queries * head_dim];
    for from in (0..context).step_by(kernel::STRIP) {
        let strip = strip_at(values, from, context.min(from + kernel::STRIP));
        kernel::weighted_sum(&scores[from..], padded, &strip, &mut out, head_dim);
    }
    out
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
