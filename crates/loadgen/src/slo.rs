//! Service level objectives: what a request must not exceed to count as good.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{LoadError, Record};

/// Limits for one request; it is good when it keeps them all. Written `ttft=500ms,tpot=50ms,e2e=5s`.
///
/// TTFT and E2E count from the moment at which the request was due, not from when it was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slo {
    /// Time to first token.
    pub ttft: Option<Duration>,
    /// Mean time per output token after the first.
    pub tpot: Option<Duration>,
    /// Time to the last token.
    pub e2e: Option<Duration>,
}

impl Slo {
    /// Whether there is any.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.ttft.is_some() || self.tpot.is_some() || self.e2e.is_some()
    }

    /// Whether it can be judged only where tokens are streamed.
    #[must_use]
    pub fn needs_stream(&self) -> bool {
        self.ttft.is_some() || self.tpot.is_some()
    }

    /// Whether a request is good: it was answered, and inside every limit.
    #[must_use]
    pub fn met_by(&self, record: &Record) -> bool {
        let within = |limit: Option<Duration>, value: Option<Duration>| match (limit, value) {
            (None, _) => true,
            (Some(limit), Some(value)) => value <= limit,
            (Some(_), None) => false,
        };
        // An answer of one token has no time between tokens to exceed anything.
        let single = record.output_tokens() <= 1;
        record.failure.is_none()
            && within(self.ttft, record.ttft())
            && (single || within(self.tpot, record.tpot()))
            && within(self.e2e, record.e2e())
    }
}

impl FromStr for Slo {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let wrong = || {
            LoadError::Option(format!(
                "`{text}` is no objective: expected ttft=500ms,tpot=50ms,e2e=5s, or some of these"
            ))
        };
        let mut slo = Self::default();
        for pair in text.split(',') {
            let (name, limit) = pair.split_once('=').ok_or_else(wrong)?;
            let limit = humantime::parse_duration(limit.trim()).map_err(|_| wrong())?;
            let place = match name.trim() {
                "ttft" => &mut slo.ttft,
                "tpot" => &mut slo.tpot,
                "e2e" => &mut slo.e2e,
                _ => return Err(wrong()),
            };
            *place = Some(limit);
        }
        Ok(slo)
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [("ttft", self.ttft), ("tpot", self.tpot), ("e2e", self.e2e)];
        let set = all.iter().filter_map(|(name, limit)| limit.map(|limit| (name, limit)));
        for (i, (name, limit)) in set.enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let limit = humantime::format_duration(limit).to_string().replace(' ', "");
            write!(f, "{comma}{name}={limit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::streamed;

    #[test]
    fn objectives_read_back_as_they_are_printed() {
        for text in ["ttft=500ms,tpot=50ms,e2e=5s", "e2e=1m30s"] {
            assert_eq!(text.parse::<Slo>().unwrap().to_string(), text);
        }
        for text in ["", "ttft", "ttft=5", "itl=5ms", "ttft=-1s"] {
            assert!(text.parse::<Slo>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_limit_must_hold() {
        // Due at 1 s, sent 10 ms late; tokens 100, 140 and 180 ms after sending.
        let record = streamed(&[100, 140, 180]);
        for (text, met) in [
            ("ttft=110ms", true),
            ("ttft=109ms", false),
            ("tpot=40ms", true),
            ("tpot=39ms", false),
            ("e2e=190ms", true),
            ("e2e=189ms", false),
            ("ttft=1s,tpot=39ms,e2e=1s", false),
        ] {
            assert_eq!(text.parse::<Slo>().unwrap().met_by(&record), met, "{text}");
        }
    }

    #[test]
    fn a_single_token_has_no_time_between_tokens() {
        let slo: Slo = "tpot=1ms".parse().unwrap();
        assert!(slo.met_by(&streamed(&[100])));
        let mut failed = streamed(&[100]);
        failed.failure = Some(crate::Failure::new(crate::ErrorKind::Timeout, ""));
        assert!(!slo.met_by(&failed));
    }
}
