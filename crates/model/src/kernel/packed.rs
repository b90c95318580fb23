//! Weights in 4 or 8 bits, laid out for integer dot products.
//!
//! A weight is `scale * code + offset`, with a scale and an offset for every [`BLOCK`] weights of a row: what
//! GGUF's Q4_0, Q4_1 and Q8_0 store, to the bit. Sixteen rows make a panel; its blocks lie one after the
//! other in the order in which a product reads them, so that the processor only ever reads ahead.

use half::f16;
use rayon::prelude::*;

/// Weights of a row that share a scale and an offset.
pub(crate) const BLOCK: usize = 32;
/// Rows in a panel.
pub(crate) const LANES: usize = 16;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

/// How wide the codes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bits {
    /// `0..=15`.
    Four,
    /// `0..=255`.
    Eight,
}

/// One block of a row: `scale * code + offset`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) scale: f16,
    pub(crate) offset: f16,
    pub(crate) codes: [u8; BLOCK],
}

/// `(out, in)` weights as rows of blocks, before they are packed.
#[derive(Debug, Clone)]
pub(crate) struct Blocks {
    pub(crate) width: usize,
    pub(crate) bits: Bits,
    /// `(out, in / BLOCK)`.
    pub(crate) blocks: Vec<Block>,
}

/// `(out, in)` weights in panels of [`LANES`] rows; a last panel that is not full ends in rows of zeros.
///
/// A panel is `in / BLOCK` blocks. A block is a line with 16 scales and 16 offsets in f16, then its codes:
/// with 8 bits a line for each four weights of the rows, with 4 bits a line for four in the low halves of
/// its bytes and the four that come 16 later in the high ones.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    rows: usize,
    width: usize,
    bits: Bits,
    lines: Vec<Line>,
}

// === impl Bits ===

impl Bits {
    /// Lines of codes in a block of a panel.
    pub(crate) const fn code_lines(self) -> usize {
        match self {
            Self::Four => BLOCK * LANES / 2 / 64,
            Self::Eight => BLOCK * LANES / 64,
        }
    }
}

// === impl Blocks ===

impl Blocks {
    /// The rows of all parts, which have the same width.
    pub(crate) fn concat(parts: Vec<Self>) -> Self {
        let bits = parts.iter().map(|part| part.bits).max().unwrap_or(Bits::Four);
        let width = parts.first().map_or(BLOCK, |part| part.width);
        Self { width, bits, blocks: parts.into_iter().flat_map(|part| part.blocks).collect() }
    }

    fn rows(&self) -> usize {
        self.blocks.len() / (self.width / BLOCK)
    }
}

// === impl Packed ===

impl Packed {
    /// Packs rows in this order: row `i` of the result is row `order(i)` of the blocks.
    pub(crate) fn new(source: &Blocks, order: impl Fn(usize) -> usize + Sync) -> Self {
        let rows = source.rows();
        let (per_row, lines_each) = (source.width / BLOCK, 1 + source.bits.code_lines());
        let panel_lines = per_row * lines_each;
        let mut lines = vec![Line([0; 64]); rows.div_ceil(LANES) * panel_lines];
        lines.par_chunks_exact_mut(panel_lines).enumerate().for_each(|(panel, lines)| {
            for lane in 0..LANES.min(rows - panel * LANES) {
                let row = order(panel * LANES + lane);
                let blocks = &source.blocks[row * per_row..(row + 1) * per_row];
                for (block, lines) in blocks.iter().zip(lines.chunks_exact_mut(lines_each)) {
                    write_block(block, source.bits, lane, lines);
                }
            }
        });
        Self { rows, width: source.width, bits: source.bits, lines }
    }

    pub(crate) fn bits(&self) -> Bits {
        self.bits
    }

    pub(crate) fn num_panels(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// The lines of one panel.
    pub(crate) fn panel(&self, panel: usize) -> &[Line] {
        let len = self.width / BLOCK * (1 + self.bits.code_lines());
        &self.lines[panel * len..(panel + 1) * len]
    }

    /// One row in f32.
    pub(crate) fn decode_row(&self, row: usize, out: &mut [f32]) {
        let (panel, lane) = (self.panel(row / LANES), row % LANES);
        let (out, _) = out.as_chunks_mut::<BLOCK>();
        for (lines, out) in panel.chunks_exact(1 + self.bits.code_lines()).zip(out) {
            let factor = |at: usize| {
                let at = 2 * (at + lane);
                f16::from_le_bytes([lines[0].0[at], lines[0].0[at + 1]]).to_f32()
            };
            let (scale, offset) = (factor(0), factor(LANES));
            for (at, out) in out.iter_mut().enumerate() {
                *out = f32::from(code(&lines[1..], self.bits, lane, at)) * scale + offset;
            }
        }
    }
}

/// Where a code is in the lines of a block: line, byte, and whether in the byte's high half.
fn place(bits: Bits, lane: usize, at: usize) -> (usize, usize, bool) {
    let quad = at / 4;
    match bits {
        Bits::Four => (quad % 4, lane * 4 + at % 4, quad >= 4),
        Bits::Eight => (quad, lane * 4 + at % 4, false),
    }
}

fn code(lines: &[Line], bits: Bits, lane: usize, at: usize) -> u8 {
    let (line, byte, high) = place(bits, lane, at);
    let byte = lines[line].0[byte];
    match bits {
        Bits::Four if high => byte >> 4,
        Bits::Four => byte & 15,
        Bits::Eight => byte,
    }
}

fn write_block(block: &Block, bits: Bits, lane: usize, lines: &mut [Line]) {
    lines[0].0[2 * lane..][..2].copy_from_slice(&block.scale.to_le_bytes());
    lines[0].0[2 * (LANES + lane)..][..2].copy_from_slice(&block.offset.to_le_bytes());
    for (at, &code) in block.codes.iter().enumerate() {
        let (line, byte, high) = place(bits, lane, at);
        lines[1 + line].0[byte] |= if high { code << 4 } else { code };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_row_is_the_row_that_went_in() {
        const WIDTH: usize = 96;
        for (bits, most) in [(Bits::Four, 16), (Bits::Eight, 256)] {
            let blocks = (0..21 * WIDTH / BLOCK).map(|number| Block {
                scale: f16::from_f32(0.01 * number as f32),
                offset: f16::from_f32(0.5 - number as f32),
                codes: std::array::from_fn(|at| ((at * 37 + number * 5) % most) as u8),
            });
            let source = Blocks { width: WIDTH, bits, blocks: blocks.collect() };
            let packed = Packed::new(&source, |row| 20 - row);
            assert_eq!((packed.rows, packed.num_panels()), (21, 2));
            for row in 0..21 {
                let mut out = vec![0.0; WIDTH];
                packed.decode_row(row, &mut out);
                for (at, out) in out.iter().enumerate() {
                    let block = &source.blocks[(20 - row) * WIDTH / BLOCK + at / BLOCK];
                    let code = f32::from(block.codes[at % BLOCK]);
                    assert_eq!(*out, code * block.scale.to_f32() + block.offset.to_f32());
                }
            }
        }
    }
}
