//! Keys and values of one layer in plain memory, laid out for the kernels that read them.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::LlamaConfig;
use crate::batch::Span;
use crate::kernel::attend::{LANES, PARTS, Strip};
use crate::kernel::widen::widen;

/// How keys and values are kept on the CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CachePrecision {
    /// 16 bits: half the memory to read, off by less than 0.05 % of a value.
    Half,
    /// 32 bits.
    Full,
}

/// Keys and values of one layer.
///
/// Each block is cut into parts of [`LANES`] positions; a block whose size is no multiple of that ends in a
/// part with lanes to spare.
#[derive(Debug)]
pub(crate) struct CpuLayer {
    /// `(num_blocks, kv_heads, parts, part_rows)` rows of [`LANES`]. A part has its keys first, a row for each
    /// dimension, so that a row of scores needs no sum across lanes; then its values, some rows for each
    /// position. What is read together is together: in f16, with heads of 64, a part is a page of memory.
    rows: Rows,
    shape: Shape,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    block_size: usize,
    /// Parts in a block.
    parts: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// Rows of [`LANES`] numbers.
#[derive(Debug)]
enum Rows {
    /// The bits of f16.
    Half(Vec<[u16; LANES]>),
    Full(Vec<[f32; LANES]>),
}

impl CpuLayer {
    /// An empty cache, or `None` where memory does not hold it. Memory is taken from the system as blocks
    /// are first written.
    pub(crate) fn new(
        config: &LlamaConfig,
        num_blocks: usize,
        block_size: usize,
        precision: CachePrecision,
    ) -> Option<Self> {
        let shape = Shape {
            block_size,
            parts: block_size.div_ceil(LANES),
            kv_heads: config.num_kv_heads,
            head_dim: config.head_dim,
        };
        let parts = num_blocks.checked_mul(shape.kv_heads)?.checked_mul(shape.parts)?;
        Some(Self { rows: Rows::new(parts.checked_mul(shape.part_rows())?, precision)?, shape })
    }

    /// Writes `keys, values (T, kv_heads * head_dim)` to their slots, `block * block_size + offset`.
    pub(crate) fn write(&mut self, keys: &[f32], values: &[f32], slots: &[u32]) {
        match &mut self.rows {
            Rows::Half(rows) => {
                let narrow = |rows: &[f32]| {
                    let mut bits = vec![0u16; rows.len()];
                    bits.reinterpret_cast_mut::<f16>().convert_from_f32_slice(rows);
                    bits
                };
                write(rows, &narrow(keys), &narrow(values), slots, self.shape);
            }
            Rows::Full(rows) => write(rows, keys, values, slots, self.shape),
        }
    }

    /// The strips of a sequence's first `context` positions for one head, in order: the position of each
    /// strip's first, and the strip. They begin at the same positions whoever asks.
    pub(crate) fn strips(
        &self,
        span: &Span,
        kv_head: usize,
        context: usize,
        strip: &mut Strip,
        mut attend: impl FnMut(usize, &Strip),
    ) {
        let shape = self.shape;
        strip.keys.resize(PARTS * shape.head_dim, [0.0; LANES]);
        strip.values.resize(PARTS * LANES * shape.value_rows(), [0.0; LANES]);
        let mut parts = Vec::with_capacity(context.div_ceil(LANES));
        let mut position = 0;
        while position < context {
            let within = position % shape.block_size;
            let len = LANES.min(shape.block_size - within).min(context - position);
            let block = span.block(position, shape.block_size) as usize;
            parts.push((shape.part(block, kv_head, within / LANES), len));
            position += len;
        }
        let mut first = 0;
        for (number, together) in parts.chunks(PARTS).enumerate() {
            strip.lens = [0; PARTS];
            for (to, &(part, len)) in together.iter().enumerate() {
                // Reading ahead as far as the next strip hides most of the wait for memory.
                let ahead = parts.get((number + 1) * PARTS + to).map_or(part, |&(part, _)| part);
                self.read(part, ahead, to, strip);
                strip.lens[to] = len;
            }
            attend(first, strip);
            first += strip.lens.iter().sum::<usize>();
        }
    }

    /// Reads one part of the cache into one of a strip, and has another part fetched.
    fn read(&self, part: usize, ahead: usize, to: usize, strip: &mut Strip) {
        let (head_dim, rows) = (self.shape.head_dim, self.shape.value_rows());
        let (first, ahead) = (part * self.shape.part_rows(), ahead * self.shape.part_rows());
        let keys = &mut strip.keys[to * head_dim..][..head_dim];
        self.rows.read(first, ahead, keys);
        let values = &mut strip.values[to * LANES * rows..][..LANES * rows];
        self.rows.read(first + head_dim, ahead + head_dim, values);
    }
}

// === impl Shape ===

impl Shape {
    /// Rows of a position's values.
    fn value_rows(&self) -> usize {
        self.head_dim.div_ceil(LANES)
    }

    /// Rows of a part: its keys, then its values.
    fn part_rows(&self) -> usize {
        self.head_dim + LANES * self.value_rows()
    }

    /// Where a part is, counted in parts.
    fn part(&self, block: usize, kv_head: usize, part: usize) -> usize {
        (block * self.kv_heads + kv_head) * self.parts + part
    }

    /// Part and lane of a slot, for the first head.
    fn place(&self, slot: u32) -> (usize, usize) {
        let (block, within) = (slot as usize / self.block_size, slot as usize % self.block_size);
        (self.part(block, 0, within / LANES), within % LANES)
    }
}

// === impl Rows ===

impl Rows {
    fn new(rows: usize, precision: CachePrecision) -> Option<Self> {
        // `try_reserve` on its own would have to write the zeros; `vec!` gets zeroed pages lazily, but
        // aborts where the system refuses. So ask first, and give the probe back.
        match precision {
            CachePrecision::Half => {
                Vec::<[u16; LANES]>::new().try_reserve_exact(rows).ok()?;
                Some(Self::Half(vec![[0; LANES]; rows]))
            }
            CachePrecision::Full => {
                Vec::<[f32; LANES]>::new().try_reserve_exact(rows).ok()?;
                Some(Self::Full(vec![[0.0; LANES]; rows]))
            }
        }
    }

    fn read(&self, first: usize, ahead: usize, to: &mut [[f32; LANES]]) {
        match self {
            Self::Half(rows) => {
                widen(&rows[first..first + to.len()], &rows[ahead..ahead + to.len()], to);
            }
            Self::Full(rows) => to.copy_from_slice(&rows[first..first + to.len()]),
        }
    }
}

/// A position's key is a lane of `head_dim` rows; its value fills rows of its own.
fn write<T: Copy>(cache: &mut [[T; LANES]], keys: &[T], values: &[T], slots: &[u32], shape: Shape) {
    let (head_dim, per_value) = (shape.head_dim, shape.value_rows());
    let width = shape.kv_heads * head_dim;
    let rows = keys.chunks_exact(width).zip(values.chunks_exact(width));
    for ((keys, values), &slot) in rows.zip(slots) {
        let (part, lane) = shape.place(slot);
        let heads = keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim));
        for (head, (key, value)) in heads.enumerate() {
            let at = (part + head * shape.parts) * shape.part_rows();
            let (key_rows, value_rows) = cache[at..at + shape.part_rows()].split_at_mut(head_dim);
            for (row, number) in key_rows.iter_mut().zip(key) {
                row[lane] = *number;
            }
            let value_rows = &mut value_rows[lane * per_value..(lane + 1) * per_value];
            value_rows.as_flattened_mut()[..head_dim].copy_from_slice(value);
        }
    }
}
