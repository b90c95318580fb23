//! Reads a `/metrics` page: the Prometheus text format, as far as an engine's page uses it.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>. Comments, help texts and
//! types are skipped; timestamps are not supported.

use std::collections::BTreeMap;

/// A line that is no sample.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the metrics page is no sample: {text:?}")]
pub struct ScrapeError {
    /// Which line, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Scraped {
    /// Its name with suffix, like `vllm:time_to_first_token_seconds_bucket`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All samples of a page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// In the order of the page.
    pub samples: Vec<Scraped>,
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// [`ScrapeError`] names the first line that is neither blank, nor a comment, nor a sample.
    pub fn parse(text: &str) -> Result<Self, ScrapeError> {
        let mut samples = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let sample = parse_sample(line)
                .ok_or_else(|| ScrapeError { line: index + 1, text: line.to_owned() })?;
            samples.push(sample);
        }
        Ok(Self { samples })
    }

    /// The sum of all samples of this name; `None` where there are none.
    #[must_use]
    pub fn total(&self, name: &str) -> Option<f64> {
        let mut values = self.samples.iter().filter(|sample| sample.name == name).peekable();
        values.peek()?;
        Some(values.map(|sample| sample.value).sum())
    }

    /// A histogram's buckets, as bound and cumulative count, in the order of the page.
    #[must_use]
    pub fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let bucket = format!("{name}_bucket");
        let samples = self.samples.iter().filter(|sample| sample.name == bucket);
        samples
            .filter_map(|sample| Some((number(sample.labels.get("le")?)?, sample.value)))
            .collect()
    }
}

/// `name{label="value",...} value`.
fn parse_sample(line: &str) -> Option<Scraped> {
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(name_end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => parse_labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    let value = number(rest.trim())?;
    (!name.is_empty()).then(|| Scraped { name: name.to_owned(), labels, value })
}

/// The labels up to the closing brace, and what follows it.
fn parse_labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = parse_quoted(quoted)?;
        labels.insert(name.trim().to_owned(), value);
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// A label's value up to its closing quote, and what follows it. `\\`, `\"` and `\n` are escapes.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let at = rest.find(['"', '\\'])?;
        value.push_str(&rest[..at]);
        let (found, after) = rest[at..].split_at(1);
        if found == "\"" {
            return Some((value, after));
        }
        let escaped = after.chars().next()?;
        value.push(if escaped == 'n' { '\n' } else { escaped });
        rest = &after[escaped.len_utf8()..];
    }
}

/// A value: Rust reads all of Prometheus' spellings, `+Inf` and `NaN` included.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::exposition::{MetricFamily, MetricKind};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_a_page_of_vllm() {
        let text = "# HELP vllm:x Help.\n# TYPE vllm:x histogram\n\
                    vllm:x_bucket{engine=\"0\",le=\"0.3\",model_name=\"a \\\"b\\\"\"} 168.0\n\
                    vllm:x_bucket{engine=\"0\",le=\"+Inf\",model_name=\"c,d}\"} 178.0\n\nup 1.5e+09\n";
        let page = Page::parse(text).unwrap();
        assert_eq!(page.buckets("vllm:x"), [(0.3, 168.0), (f64::INFINITY, 178.0)]);
        assert_eq!(page.samples[0].labels["model_name"], "a \"b\"");
        assert_eq!(page.total("up"), Some(1.5e9));
        assert_eq!(page.total("down"), None);
    }

    #[test]
    fn names_the_line_that_is_no_sample() {
        let error = Page::parse("up 1\nx{a=\"b} 2\n").unwrap_err();
        assert_eq!(error, ScrapeError { line: 2, text: "x{a=\"b} 2".into() });
    }

    proptest! {
        #[test]
        fn reads_back_whatever_protocol_prints(
            labels in proptest::collection::vec(("[a-z_]{1,8}", "(?s).{0,12}"), 0..4),
            value in proptest::num::f64::NORMAL,
        ) {
            let unique: BTreeMap<String, String> = labels.into_iter().collect();
            let mut family = MetricFamily {
                name: "a:b_total".into(),
                help: "x".into(),
                kind: MetricKind::Counter,
                samples: Vec::new(),
            };
            family.add(unique.clone().into_iter().collect(), value);
            let text = family.to_string();
            // A line break of Unicode or a carriage return inside a value is not escaped by the
            // format.
            prop_assume!(text.lines().count() == 3);
            let page = Page::parse(&text).unwrap();
            prop_assert_eq!(page.samples.len(), 1);
            prop_assert_eq!(&page.samples[0].labels, &unique);
            prop_assert_eq!(page.samples[0].value, value);
        }

        #[test]
        fn never_panics(text in "(?s).{0,200}") {
            let _ = Page::parse(&text);
        }
    }
}
