//! The Prometheus text exposition format, version 0.0.4.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{self, Write};

/// What a metric family measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only ever goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
    /// A sum and a count.
    Summary,
}

impl MetricKind {
    /// The word after the name in a `# TYPE` line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// Label names and values, in the order they are printed.
pub type LabelSet = Vec<(String, String)>;

/// One line: `name suffix {labels} value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// `_bucket`, `_sum`, `_count`, or nothing.
    pub suffix: &'static str,
    /// Its labels.
    pub labels: LabelSet,
    /// Its value.
    pub value: f64,
}

/// All samples of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricFamily {
    /// The name without suffix of a histogram's samples; with `_total` for counters that have it.
    pub name: String,
    /// One line that says what it is.
    pub help: String,
    /// What it measures.
    pub kind: MetricKind,
    /// Its samples.
    pub samples: Vec<Sample>,
}

impl MetricFamily {
    /// Adds a plain sample.
    pub fn add(&mut self, labels: LabelSet, value: f64) {
        self.samples.push(Sample { suffix: "", labels, value });
    }

    /// Adds a histogram's samples for one label set.
    ///
    /// `bounds` are the upper bounds of the finite buckets, `cumulative` the number of observations at or
    /// below each; `count` includes those above the last bound.
    pub fn add_histogram(
        &mut self,
        labels: &LabelSet,
        bounds: &[f64],
        cumulative: &[u64],
        sum: f64,
        count: u64,
    ) {
        let last = (f64::INFINITY, count);
        let finite = bounds.iter().copied().zip(cumulative.iter().copied());
        for (bound, value) in finite.chain([last]) {
            let mut labels = labels.clone();
            labels.push(("le".to_owned(), number(bound)));
            self.samples.push(Sample { suffix: "_bucket", labels, value: value as f64 });
        }
        self.samples.push(Sample { suffix: "_sum", labels: labels.clone(), value: sum });
        self.samples.push(Sample { suffix: "_count", labels: labels.clone(), value: count as f64 });
    }
}

impl MetricFamily {
    /// Adds a summary's samples for one label set.
    pub fn add_summary(&mut self, labels: &LabelSet, sum: f64, count: u64) {
        self.samples.push(Sample { suffix: "_count", labels: labels.clone(), value: count as f64 });
        self.samples.push(Sample { suffix: "_sum", labels: labels.clone(), value: sum });
    }
}

impl fmt::Display for MetricFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "# HELP {} ", self.name)?;
        write_escaped(f, &self.help, &['\\', '\n'])?;
        f.write_char('\n')?;
        writeln!(f, "# TYPE {} {}", self.name, self.kind.as_str())?;
        for sample in &self.samples {
            write!(f, "{}{}", self.name, sample.suffix)?;
            for (i, (name, value)) in sample.labels.iter().enumerate() {
                f.write_char(if i == 0 { '{' } else { ',' })?;
                f.write_str(name)?;
                f.write_str("=\"")?;
                write_escaped(f, value, &['\\', '"', '\n'])?;
                f.write_char('"')?;
            }
            f.write_str(if sample.labels.is_empty() { " " } else { "} " })?;
            write_number(f, sample.value)?;
            f.write_char('\n')?;
        }
        Ok(())
    }
}

/// A text in which a backslash stands before each of `special`.
fn write_escaped(f: &mut impl Write, text: &str, special: &[char]) -> fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.find(special) {
        f.write_str(&rest[..at])?;
        f.write_char('\\')?;
        // All of them are one byte long.
        let (escaped, after) = rest[at..].split_at(1);
        f.write_str(if escaped == "\n" { "n" } else { escaped })?;
        rest = after;
    }
    f.write_str(rest)
}

/// A number as Prometheus' Python client prints it: `1.0`, `0.001`, `+Inf`.
#[must_use]
pub fn number(value: f64) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = write_number(&mut text, value);
    text
}

fn write_number(f: &mut impl Write, value: f64) -> fmt::Result {
    match value {
        f64::INFINITY => f.write_str("+Inf"),
        f64::NEG_INFINITY => f.write_str("-Inf"),
        _ => write!(f, "{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_prints_as_prometheus_reads_it() {
        let mut family = MetricFamily {
            name: "x_seconds".into(),
            help: "a \\ and\na line".into(),
            kind: MetricKind::Histogram,
            samples: Vec::new(),
        };
        family.add_histogram(&vec![("m".into(), "a\"b".into())], &[0.3, 1.0], &[1, 2], 9.5, 3);
        assert_eq!(
            family.to_string(),
            "# HELP x_seconds a \\\\ and\\na line\n# TYPE x_seconds histogram\n\
             x_seconds_bucket{m=\"a\\\"b\",le=\"0.3\"} 1.0\n\
             x_seconds_bucket{m=\"a\\\"b\",le=\"1.0\"} 2.0\n\
             x_seconds_bucket{m=\"a\\\"b\",le=\"+Inf\"} 3.0\n\
             x_seconds_sum{m=\"a\\\"b\"} 9.5\nx_seconds_count{m=\"a\\\"b\"} 3.0\n"
        );
    }
}
