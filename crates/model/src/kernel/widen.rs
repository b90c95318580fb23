//! From f16 to f32, many at a time.

use std::sync::OnceLock;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::attend::LANES;

pub(super) type Widen = fn(&[[u16; LANES]], &[[u16; LANES]], &mut [[f32; LANES]]);

/// Bits of f16 to the same numbers in f32, and a hint that `ahead` is read next. All have the same length.
pub(crate) fn widen(from: &[[u16; LANES]], ahead: &[[u16; LANES]], to: &mut [[f32; LANES]]) {
    static WIDEN: OnceLock<Widen> = OnceLock::new();
    let widen = WIDEN.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        if let Some(widen) = super::x86::widen() {
            return widen;
        }
        plain
    });
    widen(from, ahead, to);
}

fn plain(from: &[[u16; LANES]], _ahead: &[[u16; LANES]], to: &mut [[f32; LANES]]) {
    let from = from.as_flattened().reinterpret_cast::<f16>();
    from.convert_to_f32_slice(to.as_flattened_mut());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_keeps_its_value() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let (rows, _) = all.as_chunks::<LANES>();
        let (mut found, mut expected) =
            (vec![[0.0; LANES]; rows.len()], vec![[0.0; LANES]; rows.len()]);
        widen(rows, rows, &mut found);
        plain(rows, rows, &mut expected);
        for (found, expected) in found.as_flattened().iter().zip(expected.as_flattened()) {
            assert!(found == expected || (found.is_nan() && expected.is_nan()));
        }
    }
}
