//! Amounts of resources: `500m`, `1Gi`, `2e3`.
//!
//! Rules: Kubernetes' `resource.Quantity`: three notations (binary, decimal, exponent), canonical form without fractions
//! and with the largest suffix, smallest unit one nano. Amounts beyond 10^38 nanos are refused, where Kubernetes goes on.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// Nanos in one.
const NANO: i128 = 1_000_000_000;

/// How an amount is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Notation {
    /// `Ki`, `Mi`, ...
    Binary,
    /// `m`, `k`, `M`, ...
    Decimal,
    /// `e3`.
    Exponent,
}

/// An amount, exact to a nano.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    notation: Notation,
}

/// No amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)]
pub struct WrongQuantity;

impl Quantity {
    /// Thousandths, rounded up: what CPU is counted in.
    #[must_use]
    pub fn milli(self) -> i64 {
        clamp(ceil(self.nanos, NANO / 1000))
    }

    /// Whole units, rounded up: bytes, devices.
    #[must_use]
    pub fn value(self) -> i64 {
        clamp(ceil(self.nanos, NANO))
    }

    /// Less than nothing.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// A whole number of units.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// A quantity as objects carry it: a text or a number. `None` for anything else.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        }
    }

    /// So many thousandths.
    #[must_use]
    pub fn of_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * (NANO / 1000), notation: Notation::Decimal }
    }

    /// So many bytes, written in binary notation.
    #[must_use]
    pub fn of_bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * NANO, notation: Notation::Binary }
    }

    /// The sum, in the notation of the first that is not zero.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let notation = if self.is_zero() { other.notation } else { self.notation };
        Self { nanos: self.nanos.saturating_add(other.nanos), notation }
    }

    /// The difference.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { nanos: other.nanos.saturating_neg(), notation: other.notation })
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

fn ceil(nanos: i128, unit: i128) -> i128 {
    nanos.div_euclid(unit) + i128::from(nanos.rem_euclid(unit) != 0)
}

fn clamp(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

/// A suffix: its notation, and what it multiplies by as a power of a base.
fn suffix(text: &str) -> Option<(Notation, i128, i32)> {
    let decimal = |power| Some((Notation::Decimal, 10, power));
    let binary = |power| Some((Notation::Binary, 2, power));
    match text {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let power = text.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
            Some((Notation::Exponent, 10, power))
        }
    }
}

impl FromStr for Quantity {
    type Err = WrongQuantity;

    fn from_str(text: &str) -> Result<Self, WrongQuantity> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, unit) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(WrongQuantity);
        }
        let (notation, base, power) = suffix(unit).ok_or(WrongQuantity)?;
        let nanos = scale(whole, fraction, base, power).ok_or(WrongQuantity)?;
        Ok(Self { nanos: if negative { -nanos } else { nanos }, notation })
    }
}

/// Nanos of `whole.fraction * base^power`, rounded up to a nano.
fn scale(whole: &str, fraction: &str, base: i128, power: i32) -> Option<i128> {
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let mut number: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    if number == 0 {
        return Some(0);
    }
    let mut tens = i32::try_from(fraction.len()).ok()?.checked_neg()?.checked_add(9)?;
    if base == 2 {
        number = number.checked_mul(1_i128.checked_shl(power.unsigned_abs())?)?;
    } else {
        tens = tens.checked_add(power)?;
    }
    if tens >= 0 {
        return number.checked_mul(10_i128.checked_pow(tens.unsigned_abs())?);
    }
    match 10_i128.checked_pow(tens.unsigned_abs()) {
        Some(by) => Some(ceil(number, by)),
        None => Some(1),
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos % NANO == 0;
        if self.notation == Notation::Binary && whole {
            let units = self.nanos / NANO;
            // As in Kubernetes, amounts below 1024 have no binary suffix to use.
            let mut rest = units;
            let mut steps = 0;
            while rest % 1024 == 0 && steps < 6 {
                rest /= 1024;
                steps += 1;
            }
            return write!(f, "{rest}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][steps]);
        }
        let mut rest = self.nanos;
        let mut power = -9;
        while rest % 1000 == 0 && power < 18 {
            rest /= 1000;
            power += 3;
        }
        match (self.notation, power) {
            (_, 0) => write!(f, "{rest}"),
            (Notation::Exponent, power) => write!(f, "{rest}e{power}"),
            (_, power) => {
                let suffix = match power {
                    -9 => "n",
                    -6 => "u",
                    -3 => "m",
                    3 => "k",
                    6 => "M",
                    9 => "G",
                    12 => "T",
                    15 => "P",
                    _ => "E",
                };
                write!(f, "{rest}{suffix}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_canonical_form_is_kubernetes_own() {
        let known = [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("100000", "100k"),
            ("1e3", "1e3"),
            ("1000", "1k"),
            ("0", "0"),
            ("-1", "-1"),
            ("1.5", "1500m"),
            ("0.0001", "100u"),
            ("12345678", "12345678"),
            ("1500Mi", "1500Mi"),
            ("0.5Mi", "512Ki"),
            ("2E", "2E"),
            ("1E3", "1e3"),
            (".5", "500m"),
            ("1.", "1"),
            ("1024", "1024"),
            ("0.1n", "1n"),
            ("1e-3", "1e-3"),
        ];
        for (text, canonical) in known {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), canonical, "{text}");
        }
        for wrong in ["", "x", "1.2.3", "1Kb", "1 Gi", "e3", "--1", "1e", "0x1"] {
            assert!(wrong.parse::<Quantity>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_the_same_amount(number in 0..1_000_000_u64, fraction in 0..1000_u32, unit in "(|m|k|M|G|Ki|Mi|Gi|e3)") {
            let first: Quantity = format!("{number}.{fraction:03}{unit}").parse().unwrap();
            let second: Quantity = first.to_string().parse().unwrap();
            prop_assert_eq!(first, second);
            prop_assert_eq!(first.to_string(), second.to_string());
        }
    }
}
