//! Packed weights times 8-bit activations, with the integer instructions that the processor has.
//!
//! The sum over a block is exact in integers; blocks are added up in f32, in the order of the row. So what
//! one row of activations gives does not depend on the others, to the last bit.

use std::ops::Range;
use std::sync::OnceLock;

use super::activations::Activations;
use super::packed::{Bits, LANES, Line, Packed};
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::x86;

/// One panel times all columns: `(T, LANES)`.
pub(super) type Product = fn(&[Line], Bits, &Activations, &mut [[f32; LANES]]);

/// The product of some panels: `panels (P, LANES, in), x (T, in) -> out (P, T, LANES)`.
pub(crate) fn multiply(
    matrix: &Packed,
    panels: Range<usize>,
    x: &Activations,
    out: &mut [[f32; LANES]],
) {
    let product = product();
    for (panel, out) in panels.zip(out.chunks_exact_mut(x.columns())) {
        product(matrix.panel(panel), matrix.bits(), x, out);
    }
}

/// The fastest that this processor can run.
fn product() -> Product {
    static PRODUCT: OnceLock<Product> = OnceLock::new();
    *PRODUCT.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        if let Some(product) = x86::products().into_iter().next() {
            return product;
        }
        portable::product
    })
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::kernel::packed::{BLOCK, Block, Blocks};

    fn matrix(bits: Bits, rows: usize, width: usize) -> Packed {
        let most = if bits == Bits::Four { 16 } else { 256 };
        let blocks = (0..rows * width / BLOCK).map(|number| Block {
            scale: f16::from_f32(0.001 * (1 + number % 13) as f32),
            offset: f16::from_f32(0.01 * (number % 7) as f32 - 0.03),
            // The largest codes, too, next to each other: sums in 16 bits would overflow.
            codes: std::array::from_fn(|at| match number % 3 {
                0 => (most - 1) as u8,
                _ => ((at * 101 + number * 17) % most) as u8,
            }),
        });
        Packed::new(&Blocks { width, bits, blocks: blocks.collect() }, |row| row)
    }

    fn activations(columns: usize, width: usize) -> (Vec<f32>, Activations) {
        let value =
            |at: usize| if at.is_multiple_of(5) { -3.0 } else { (at * 31 % 61) as f32 * 0.1 - 3.0 };
        let rows: Vec<f32> = (0..columns * width).map(value).collect();
        let mut x = Activations::default();
        x.quantise(&rows, width);
        (rows, x)
    }

    fn products() -> Vec<Product> {
        let mut all: Vec<Product> = vec![portable::product];
        #[cfg(target_arch = "x86_64")]
        all.extend(x86::products());
        all
    }

    #[test]
    fn every_instruction_set_gives_the_product_of_plain_loops() {
        for bits in [Bits::Four, Bits::Eight] {
            for (rows, width, columns) in [(16, 32, 1), (48, 96, 3), (21, 64, 8), (16, 576, 29)] {
                let packed = matrix(bits, rows, width);
                let (_, x) = activations(columns, width);
                for (number, product) in products().into_iter().enumerate() {
                    let mut out = vec![[0.0; LANES]; columns];
                    product(packed.panel(0), bits, &x, &mut out);
                    for (column, out) in out.iter().enumerate() {
                        for (row, found) in out.iter().enumerate() {
                            let mut weights = vec![0.0; width];
                            packed.decode_row(row, &mut weights);
                            let exact: f64 = (0..width)
                                .map(|at| {
                                    let block = at / BLOCK * columns + column;
                                    let code = f64::from(x.codes[block][at % BLOCK]);
                                    code * f64::from(x.factors[block].scale)
                                        * f64::from(weights[at])
                                })
                                .sum();
                            let off = (f64::from(*found) - exact).abs();
                            assert!(off < 1e-3, "product {number}: {found} for {exact}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_column_gives_the_same_bits_alone_and_in_company() {
        const WIDTH: usize = 192;
        for bits in [Bits::Four, Bits::Eight] {
            let packed = matrix(bits, LANES, WIDTH);
            let (rows, x) = activations(27, WIDTH);
            for product in products() {
                let mut together = vec![[0.0; LANES]; 27];
                product(packed.panel(0), bits, &x, &mut together);
                for (row, expected) in rows.chunks(WIDTH).zip(&together) {
                    let mut alone = Activations::default();
                    alone.quantise(row, WIDTH);
                    let mut out = [[0.0; LANES]];
                    product(packed.panel(0), bits, &alone, &mut out);
                    assert_eq!(out[0], *expected);
                }
            }
        }
    }
}
