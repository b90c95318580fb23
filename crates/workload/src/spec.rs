//! How descriptions are written: `kind`, `kind:key=value,key=value`.

use std::str::FromStr;
use std::time::Duration;

use crate::WorkloadError;

/// One description, split into its parts.
pub(crate) struct Spec<'a> {
    what: &'static str,
    text: &'a str,
    /// What stands before the colon.
    pub(crate) kind: &'a str,
    /// What stands behind it, in order.
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Spec<'a> {
    /// Splits `kind:key=value,...`; a text without colon is a kind alone.
    pub(crate) fn parse(what: &'static str, text: &'a str) -> Result<Self, WorkloadError> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut spec = Self { what, text, kind: kind.trim(), pairs: Vec::new() };
        spec.pairs = pairs(rest).ok_or_else(|| spec.wrong("expected key=value,key=value"))?;
        Ok(spec)
    }

    /// Splits `key=value,...`.
    pub(crate) fn parse_pairs(what: &'static str, text: &'a str) -> Result<Self, WorkloadError> {
        let mut spec = Self { what, text, kind: "", pairs: Vec::new() };
        spec.pairs = pairs(text).ok_or_else(|| spec.wrong("expected key=value,key=value"))?;
        Ok(spec)
    }

    /// The error that says `reason`.
    pub(crate) fn wrong(&self, reason: impl Into<String>) -> WorkloadError {
        WorkloadError::spec(self.what, self.text, reason)
    }

    /// Refuses keys that nobody reads: a misspelt key must not be a default.
    pub(crate) fn only(&self, keys: &[&str]) -> Result<(), WorkloadError> {
        match self.pairs.iter().find(|(key, _)| !keys.contains(key)) {
            None => Ok(()),
            Some((key, _)) if keys.is_empty() => Err(self.wrong(format!("`{key}` means nothing"))),
            Some((key, _)) => Err(self.wrong(format!("`{key}` is none of: {}", keys.join(", ")))),
        }
    }

    /// The value of a key, where it is there.
    pub(crate) fn get<T: FromStr>(&self, key: &str) -> Result<Option<T>, WorkloadError> {
        let Some((_, value)) = self.pairs.iter().find(|(k, _)| *k == key) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|_| self.wrong(format!("{key} is no number: {value}")))
    }

    /// The value of a key that must be there.
    pub(crate) fn need<T: FromStr>(&self, key: &str) -> Result<T, WorkloadError> {
        self.get(key)?.ok_or_else(|| self.wrong(format!("{key}=... is missing")))
    }
}

fn pairs(text: &str) -> Option<Vec<(&str, &str)>> {
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    text.split(',')
        .map(|pair| pair.split_once('=').map(|(key, value)| (key.trim(), value.trim())))
        .collect()
}

/// `30s`, `500ms`, `2m`.
pub(crate) fn duration(what: &'static str, text: &str) -> Result<Duration, WorkloadError> {
    humantime::parse_duration(text.trim())
        .map_err(|_| WorkloadError::spec(what, text, "expected a time such as 500ms, 30s or 2m"))
}
