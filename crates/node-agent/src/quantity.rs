//! Resource quantities, as far as a node needs them: `500m`, `2Gi`, `1e3`.

/// A quantity in thousandths. `None` if it is none.
pub(crate) fn milli(text: &str) -> Option<i128> {
    let text = text.trim();
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    let (numerator, denominator): (i128, i128) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        other => {
            let exponent: u32 =
                other.strip_prefix(['e', 'E'])?.parse().ok().filter(|e| *e <= 18)?;
            (10_i128.pow(exponent), 1)
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let negative = whole.starts_with('-');
    let whole = whole.trim_start_matches(['+', '-']);
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?) * denominator;
    let value = digits.checked_mul(numerator)?.checked_mul(1000)?;
    // Rounded up, as Kubernetes rounds.
    let value = value.div_euclid(scale) + i128::from(value.rem_euclid(scale) != 0);
    Some(if negative { -value } else { value })
}

/// A quantity in whole units, rounded up.
pub(crate) fn units(text: &str) -> Option<i128> {
    let milli = milli(text)?;
    Some(milli.div_euclid(1000) + i128::from(milli.rem_euclid(1000) != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("100m", Some(100)),
            ("2", Some(2000)),
            ("1.5", Some(1500)),
            ("1Ki", Some(1_024_000)),
            (".5Gi", Some(536_870_912_000)),
            ("1e3", Some(1_000_000)),
            ("-1", Some(-1000)),
            ("1n", Some(1)),
            ("", None),
            ("Gi", None),
            ("1 Gi", None),
            ("one", None),
        ] {
            assert_eq!(milli(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9.a-zA-Z ]{0,40}") {
            let _any_answer = units(&text);
        }
    }
}
