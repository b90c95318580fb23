//! The product in plain loops, for processors whose integer instructions we do not use by name.

use half::f16;

use crate::kernel::activations::Activations;
use crate::kernel::packed::{Bits, LANES, Line};

/// See [`super::dot::Product`].
pub(super) fn product(panel: &[Line], bits: Bits, x: &Activations, out: &mut [[f32; LANES]]) {
    out.fill([0.0; LANES]);
    for (block, lines) in panel.chunks_exact(1 + bits.code_lines()).enumerate() {
        let (scales, offsets) = (factors(&lines[0], 0), factors(&lines[0], 1));
        for (column, out) in out.iter_mut().enumerate() {
            let at = block * x.columns() + column;
            let (codes, factors) = (&x.codes[at], x.factors[at]);
            let mut sums = [0i32; LANES];
            for (line, lines) in lines[1..].iter().enumerate() {
                let quad =
                    |number: usize| -> [i8; 4] { std::array::from_fn(|at| codes[4 * number + at]) };
                match bits {
                    Bits::Four => {
                        add(&mut sums, lines, quad(line), |code| code & 15);
                        add(&mut sums, lines, quad(line + 4), |code| code >> 4);
                    }
                    Bits::Eight => add(&mut sums, lines, quad(line), |code| code),
                }
            }
            for lane in 0..LANES {
                out[lane] += sums[lane] as f32 * (scales[lane] * factors.scale);
                out[lane] += offsets[lane] * factors.sum;
            }
        }
    }
}

#[inline(always)]
fn add(sums: &mut [i32; LANES], line: &Line, x: [i8; 4], code: impl Fn(u8) -> u8) {
    let (rows, _) = line.0.as_chunks::<4>();
    for (sum, row) in sums.iter_mut().zip(rows) {
        for (&byte, x) in row.iter().zip(x) {
            *sum += i32::from(code(byte)) * i32::from(x);
        }
    }
}

/// The first or the second 16 numbers of a line.
fn factors(line: &Line, half: usize) -> [f32; LANES] {
    let (pairs, _) = line.0.as_chunks::<2>();
    std::array::from_fn(|lane| f16::from_le_bytes(pairs[half * LANES + lane]).to_f32())
}
