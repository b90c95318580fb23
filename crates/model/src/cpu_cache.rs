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
    /// `(num_blocks, kv_heads, parts, head_dim, LANES)`: a row for each dimension, so that a row of scores
    /// needs no sum across lanes.
    keys: Rows,
    /// `(num_blocks, kv_heads, parts, LANES, value_rows, LANES)`: some rows for each position.
    values: Rows,
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
        Some(Self {
            keys: Rows::new(parts.checked_mul(shape.head_dim)?, precision)?,
            values: Rows::new(parts.checked_mul(LANES * shape.value_rows())?, precision)?,
            shape,
        })
    }

    /// Writes `keys, values (T, kv_heads * head_dim)` to their slots, `block * block_size + offset`.
    pub(crate) fn write(&mut self, keys: &[f32], values: &[f32], slots: &[u32]) {
        let Self { keys: key_rows, values: value_rows, shape } = self;
        match (key_rows, value_rows) {
            (Rows::Half(key_rows), Rows::Half(value_rows)) => {
                let narrow = |rows: &[f32]| {
                    let mut bits = vec![0u16; rows.len()];
                    bits.reinterpret_cast_mut::<f16>().convert_from_f32_slice(rows);
                    bits
                };
                write_keys(key_rows, &narrow(keys), slots, *shape);
                write_values(value_rows, &narrow(values), slots, *shape);
            }
            (Rows::Full(key_rows), Rows::Full(value_rows)) => {
                write_keys(key_rows, keys, slots, *shape);
                write_values(value_rows, values, slots, *shape);
            }
            _ => unreachable!("keys and values have the same precision"),
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
        let Shape { block_size, parts, .. } = self.shape;
        strip.keys.resize(PARTS * self.shape.head_dim, [0.0; LANES]);
        strip.values.resize(PARTS * LANES * self.shape.value_rows(), [0.0; LANES]);
        let (mut first, mut position, mut filled) = (0, 0, 0);
        strip.lens = [0; PARTS];
        while position < context {
            let within = position % block_size;
            let len = LANES.min(block_size - within).min(context - position);
            let block = span.block(position, block_size) as usize;
            let part = self.shape.part(block, kv_head, within / LANES);
            debug_assert!(within / LANES < parts);
            self.read(part, filled, len, strip);
            strip.lens[filled] = len;
            (filled, position) = (filled + 1, position + len);
            if filled == PARTS || position == context {
                attend(first, strip);
                (first, filled, strip.lens) = (position, 0, [0; PARTS]);
            }
        }
    }

    /// Reads one part of the cache into one of a strip.
    fn read(&self, part: usize, to: usize, len: usize, strip: &mut Strip) {
        let (head_dim, rows) = (self.shape.head_dim, self.shape.value_rows());
        let keys = &mut strip.keys[to * head_dim..][..head_dim];
        self.keys.read(part * head_dim, keys);
        let values = &mut strip.values[to * LANES * rows..][..len * rows];
        self.values.read(part * LANES * rows, values);
    }
}

// === impl Shape ===

impl Shape {
    /// Rows of a position's values.
    fn value_rows(&self) -> usize {
        self.head_dim.div_ceil(LANES)
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

    fn read(&self, first: usize, to: &mut [[f32; LANES]]) {
        match self {
            Self::Half(rows) => widen(&rows[first..first + to.len()], to),
            Self::Full(rows) => to.copy_from_slice(&rows[first..first + to.len()]),
        }
    }
}

/// A position's key is a lane of `head_dim` rows.
fn write_keys<T: Copy>(cache: &mut [[T; LANES]], rows: &[T], slots: &[u32], shape: Shape) {
    let head_dim = shape.head_dim;
    for (row, &slot) in rows.chunks_exact(shape.kv_heads * head_dim).zip(slots) {
        let (part, lane) = shape.place(slot);
        for (head, key) in row.chunks_exact(head_dim).enumerate() {
            let at = (part + head * shape.parts) * head_dim;
            for (cell, value) in cache[at..at + head_dim].iter_mut().zip(key) {
                cell[lane] = *value;
            }
        }
    }
}

/// A position's value fills rows of its own.
fn write_values<T: Copy>(cache: &mut [[T; LANES]], rows: &[T], slots: &[u32], shape: Shape) {
    let (head_dim, per_value) = (shape.head_dim, shape.value_rows());
    for (row, &slot) in rows.chunks_exact(shape.kv_heads * head_dim).zip(slots) {
        let (part, lane) = shape.place(slot);
        for (head, value) in row.chunks_exact(head_dim).enumerate() {
            let at = ((part + head * shape.parts) * LANES + lane) * per_value;
            cache[at..at + per_value].as_flattened_mut()[..head_dim].copy_from_slice(value);
        }
    }
}
