//! The notations of Go that Chaos Mesh's fields are written in: durations, percentages, rates, sizes.

use std::time::Duration;

/// A text that is not what its field wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotationError {
    /// Not a duration.
    #[error("{0:?} is not a duration like 300ms or 1m30s")]
    Duration(String),
    /// Not a percentage.
    #[error("{0:?} is not a percentage from 0 to 100")]
    Percentage(String),
    /// Not a rate.
    #[error("{0:?} is not a rate like 1mbps (bytes a second) or 8mbit (bits a second)")]
    Rate(String),
    /// Not a size.
    #[error("{0:?} is not a size like 256MB or 50%")]
    Size(String),
}

/// Units of a duration, longest names first where one begins another, with their nanoseconds.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{b5}s", 1e3),
    ("\u{3bc}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// A duration that is not negative, as `time.ParseDuration` reads it: `300ms`, `1.5h`, `1m30s`, `0`.
///
/// # Errors
/// [`NotationError::Duration`], also for a negative one: no field of a fault has a use for it.
pub fn duration(text: &str) -> Result<Duration, NotationError> {
    let wrong = || NotationError::Duration(text.to_owned());
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, unit) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let (_, each) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        nanoseconds += number * each;
        rest = after;
    }
    Duration::try_from_secs_f64(nanoseconds / 1e9).map_err(|_| wrong())
}

/// A percentage as a fraction from 0 to 1; nothing at all is 0, as with `tc`.
///
/// # Errors
/// [`NotationError::Percentage`].
pub fn fraction(text: Option<&str>) -> Result<f64, NotationError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(0.0) };
    match text.trim().trim_end_matches('%').parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(NotationError::Percentage(text.to_owned())),
    }
}

/// Units of a rate with their bytes a second, as in `tc`: `bps` is bytes, `bit` is bits.
const RATES: [(&str, f64); 10] = [
    ("tbps", 1e12),
    ("gbps", 1e9),
    ("mbps", 1e6),
    ("kbps", 1e3),
    ("bps", 1.0),
    ("tbit", 1e12 / 8.0),
    ("gbit", 1e9 / 8.0),
    ("mbit", 1e6 / 8.0),
    ("kbit", 1e3 / 8.0),
    ("bit", 1.0 / 8.0),
];

/// A rate in bytes a second: `1mbps` is a million, `8mbit` too.
///
/// # Errors
/// [`NotationError::Rate`], also for 0: nothing ever passes such a link, which a partition says better.
pub fn rate(text: &str) -> Result<f64, NotationError> {
    let wrong = || NotationError::Rate(text.to_owned());
    let lower = text.trim().to_ascii_lowercase();
    let (name, each) = RATES.iter().find(|(name, _)| lower.ends_with(name)).ok_or_else(wrong)?;
    let number = lower.trim_end_matches(name).trim();
    match number.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number * each),
        _ => Err(wrong()),
    }
}

/// How much memory is meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// So many bytes.
    Bytes(u64),
    /// This part of what there is, from 0 to 1.
    Fraction(f64),
}

/// Units of a size: decimal ones as in `go-units`' `FromHumanSize`, and binary ones with an `i`.
const SIZES: [(&str, u64); 13] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("t", 1_000_000_000_000),
    ("g", 1_000_000_000),
    ("m", 1_000_000),
    ("k", 1_000),
    ("b", 1),
];

/// A size of memory: `256MB`, `1GiB`, `50%`.
///
/// # Errors
/// [`NotationError::Size`].
pub fn size(text: &str) -> Result<Size, NotationError> {
    let wrong = || NotationError::Size(text.to_owned());
    let lower = text.trim().to_ascii_lowercase();
    if let Some(percent) = lower.strip_suffix('%') {
        return fraction(Some(percent)).map(Size::Fraction).map_err(|_| wrong());
    }
    let unit = SIZES.iter().find(|(name, _)| lower.ends_with(name));
    let (name, each) = unit.copied().unwrap_or(("", 1));
    let number = lower.strip_suffix(name).unwrap_or(&lower).trim();
    match number.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e18 => {
            Ok(Size::Bytes((number * each as f64) as u64))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases = [
            ("300ms", 300_000),
            ("1m30s", 90_000_000),
            ("1.5h", 5_400_000_000),
            ("7us", 7),
            ("0", 0),
        ];
        for (text, micros) in cases {
            assert_eq!(duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1 s", "1d", "1..5s", "1s5"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_rate_counts_bytes_where_tc_does() {
        assert_eq!(rate("1mbps"), Ok(1e6));
        assert_eq!(rate("8mbit"), Ok(1e6));
        assert_eq!(rate("10bps"), Ok(10.0));
        assert!(rate("10").is_err() && rate("0kbps").is_err() && rate("fast").is_err());
    }

    #[test]
    fn sizes_are_decimal_unless_they_say_i() {
        assert_eq!(size("256MB"), Ok(Size::Bytes(256_000_000)));
        assert_eq!(size("1GiB"), Ok(Size::Bytes(1 << 30)));
        assert_eq!(size("50%"), Ok(Size::Fraction(0.5)));
        assert_eq!(size("512"), Ok(Size::Bytes(512)));
        assert!(size("much").is_err() && size("").is_err() && size("150%").is_err());
    }

    #[test]
    fn a_percentage_left_out_is_none() {
        assert_eq!(fraction(None), Ok(0.0));
        assert_eq!(fraction(Some("25")), Ok(0.25));
        assert!(fraction(Some("101")).is_err() && fraction(Some("x")).is_err());
    }
}
