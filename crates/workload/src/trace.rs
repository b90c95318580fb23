//! Requests that were recorded elsewhere: the formats of Azure's and of Mooncake's public traces.

use std::io::{BufRead, Read};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime};
use serde::Deserialize;

use crate::error::in_range;
use crate::mix::{OWN, TRACED, name};
use crate::{MAX_LENGTH, Prompt, Request, Segment, WorkloadError};

/// The most requests of a trace.
pub const MAX_TRACE_REQUESTS: usize = 2_000_000;
/// The longest line of a trace. A million tokens are 2,000 of Mooncake's hashes, 16 KiB.
pub const MAX_LINE_BYTES: u64 = 1 << 20;
/// Tokens that one of Mooncake's hashes stands for (Qin et al. 2024, "Mooncake", section 4).
pub const MOONCAKE_BLOCK: u32 = 512;

/// A request, and when it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedRequest {
    /// Time since the trace's first request.
    pub at: Duration,
    /// What it asks for.
    pub request: Request,
}

/// Requests in order of arrival, the first at 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// In order.
    pub requests: Vec<TimedRequest>,
}

impl Trace {
    /// Reads a trace; the format is seen from each line.
    ///
    /// | format | a line |
    /// |---|---|
    /// | Mooncake, JSONL | `{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}`: milliseconds |
    /// | Azure, CSV | `TIMESTAMP,ContextTokens,GeneratedTokens`, then `2023-11-16 18:15:46.6805900,374,44` |
    /// | Azure, JSONL | `{"TIMESTAMP": "2024-05-10 00:00:00.009930+00:00", "ContextTokens": 2162, "GeneratedTokens": 5}` |
    ///
    /// Requests need not be in order. A length of 0 becomes 1. Each hash stands for [`MOONCAKE_BLOCK`] tokens that
    /// are the same wherever it stands; prompts of Azure's traces share nothing. `seed` sets the prompts' content,
    /// as in [`crate::Mix::requests`].
    ///
    /// # Errors
    /// Where a line is none of these or longer than [`MAX_LINE_BYTES`], or there are no requests or more than
    /// [`MAX_TRACE_REQUESTS`].
    pub fn read(mut lines: impl BufRead, seed: u64) -> Result<Self, WorkloadError> {
        let mut requests: Vec<TimedRequest> = Vec::new();
        let mut columns = None;
        let mut text = String::new();
        for line in 1.. {
            text.clear();
            if lines.by_ref().take(MAX_LINE_BYTES).read_line(&mut text)? == 0 {
                break;
            }
            let wrong = |reason| WorkloadError::TraceLine { line, reason };
            if text.len() as u64 == MAX_LINE_BYTES {
                return Err(wrong(format!("longer than {MAX_LINE_BYTES} bytes")));
            }
            let entry = text.trim().trim_start_matches('\u{feff}');
            if entry.is_empty() {
                continue;
            }
            if !entry.starts_with('{') && columns.is_none() {
                columns = Some(Columns::of(entry).map_err(wrong)?);
                continue;
            }
            if requests.len() == MAX_TRACE_REQUESTS {
                return Err(WorkloadError::TraceTooLong { limit: MAX_TRACE_REQUESTS });
            }
            let entry = match &columns {
                Some(columns) if !entry.starts_with('{') => columns.entry(entry),
                _ => serde_json::from_str(entry).map_err(|error| error.to_string()),
            };
            requests.push(entry.and_then(|entry| entry.timed(seed, line)).map_err(wrong)?);
        }
        Self::in_order(requests)
    }

    fn in_order(mut requests: Vec<TimedRequest>) -> Result<Self, WorkloadError> {
        requests.sort_by_key(|request| request.at);
        let Some(first) = requests.first().map(|request| request.at) else {
            return Err(WorkloadError::EmptyTrace);
        };
        for request in &mut requests {
            request.at -= first;
        }
        Ok(Self { requests })
    }

    /// The same requests in `1/factor` of the time.
    ///
    /// # Errors
    /// Unless the factor is between a thousandth and a million.
    pub fn speed_up(mut self, factor: f64) -> Result<Self, WorkloadError> {
        in_range("the speedup", factor, 1e-3, 1e6, "0.001 to 1,000,000")?;
        for request in &mut self.requests {
            request.at = request.at.div_f64(factor);
        }
        Ok(self)
    }
}

/// One line. Timestamps are milliseconds, or a date with a time.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(alias = "TIMESTAMP")]
    timestamp: Timestamp,
    #[serde(alias = "ContextTokens")]
    input_length: u32,
    #[serde(alias = "GeneratedTokens")]
    output_length: u32,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Timestamp {
    Milliseconds(f64),
    Date(String),
}

impl Timestamp {
    /// Time since some moment, which is the same for all lines of a trace.
    fn time(&self) -> Result<Duration, String> {
        match self {
            Self::Milliseconds(ms) => Duration::try_from_secs_f64(ms / 1000.0)
                .map_err(|_| format!("{ms} is no time in milliseconds")),
            Self::Date(text) => date(text).ok_or_else(|| format!("`{text}` is no date and time")),
        }
    }
}

/// `2023-11-16 18:15:46.6805900`, with or without an offset.
fn date(text: &str) -> Option<Duration> {
    let text = text.trim().replacen('T', " ", 1);
    let date = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").map(|d| d.and_utc());
    let date = date.or_else(|_| {
        DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f%#z").map(|d| d.to_utc())
    });
    let nanoseconds = date.ok()?.timestamp_nanos_opt()?;
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

impl Entry {
    fn timed(self, seed: u64, line: usize) -> Result<TimedRequest, String> {
        let at = self.timestamp.time()?;
        let length = |tokens: u32| {
            if tokens <= MAX_LENGTH { Ok(tokens.max(1)) } else { Err(format!("{tokens} tokens")) }
        };
        let (input, output_tokens) = (length(self.input_length)?, length(self.output_length)?);
        let mut left = input;
        let mut segments = Vec::with_capacity(self.hash_ids.len().min(8192) + 1);
        for hash in self.hash_ids {
            let tokens = left.min(MOONCAKE_BLOCK);
            if tokens > 0 {
                segments.push(Segment { id: name(seed, TRACED, hash), tokens });
            }
            left -= tokens;
        }
        if left > 0 {
            segments.push(Segment { id: name(seed, OWN, line as u64), tokens: left });
        }
        let request = Request { prompt: Prompt { segments }, output_tokens };
        Ok(TimedRequest { at, request })
    }
}

/// Where the columns of a CSV file stand.
struct Columns {
    time: usize,
    input: usize,
    output: usize,
}

impl Columns {
    fn of(header: &str) -> Result<Self, String> {
        let names: Vec<_> = header.split(',').map(str::trim).collect();
        let place = |wanted: &str| {
            names.iter().position(|name| name.eq_ignore_ascii_case(wanted)).ok_or_else(|| {
                format!(
                    "expected a JSON object, or a first line with TIMESTAMP,ContextTokens,\
                     GeneratedTokens; {wanted} is not there"
                )
            })
        };
        Ok(Self {
            time: place("TIMESTAMP")?,
            input: place("ContextTokens")?,
            output: place("GeneratedTokens")?,
        })
    }

    fn entry(&self, line: &str) -> Result<Entry, String> {
        let fields: Vec<_> = line.split(',').map(str::trim).collect();
        let field = |place: usize| {
            fields.get(place).copied().ok_or_else(|| "a column is missing".to_owned())
        };
        let number = |place: usize| {
            let text = field(place)?;
            text.parse().map_err(|_| format!("`{text}` is no number of tokens"))
        };
        Ok(Entry {
            timestamp: Timestamp::Date(field(self.time)?.to_owned()),
            input_length: number(self.input)?,
            output_length: number(self.output)?,
            hash_ids: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Trace, WorkloadError> {
        Trace::read(text.as_bytes(), 7)
    }

    fn shape(trace: &Trace) -> Vec<(u128, usize, u32)> {
        let shape = |r: &TimedRequest| {
            (r.at.as_micros(), r.request.prompt.tokens(), r.request.output_tokens)
        };
        trace.requests.iter().map(shape).collect()
    }

    #[test]
    fn azures_csv_is_read() {
        let trace = read(
            "\u{feff}TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
             2023-11-16 18:15:46.6805900,374,44\r\n\
             2023-11-16 18:15:50.9951690,396,109\r\n",
        );
        assert_eq!(shape(&trace.unwrap()), [(0, 374, 44), (4_314_579, 396, 109)]);
    }

    #[test]
    fn azures_times_with_an_offset_are_read_from_both_forms() {
        let csv = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                   2024-05-10 00:00:00.009930+00:00,2162,5\n\
                   2024-05-10 00:00:01+00:00,2399,6\n";
        let json = r#"{"TIMESTAMP":"2024-05-10T00:00:00.009930+00:00","ContextTokens":2162,"GeneratedTokens":5}
                      {"TIMESTAMP":"2024-05-10T00:00:01Z","ContextTokens":2399,"GeneratedTokens":6}"#;
        let expected = [(0, 2162, 5), (990_070, 2399, 6)];
        assert_eq!(shape(&read(csv).unwrap()), expected);
        assert_eq!(shape(&read(json).unwrap()), expected);
    }

    #[test]
    fn mooncakes_hashes_become_blocks_that_prompts_share() {
        let trace = read(
            r#"{"timestamp": 3000, "input_length": 1100, "output_length": 52, "hash_ids": [46, 47, 49]}
               {"timestamp": 1000, "input_length": 1030, "output_length": 0, "hash_ids": [46, 47]}"#,
        )
        .unwrap();
        assert_eq!(shape(&trace), [(0, 1030, 1), (2_000_000, 1100, 52)]);
        let [first, second] = [0, 1].map(|i| &trace.requests[i].request.prompt.segments);
        assert_eq!(first.iter().map(|s| s.tokens).collect::<Vec<_>>(), [512, 512, 6]);
        assert_eq!(second.iter().map(|s| s.tokens).collect::<Vec<_>>(), [512, 512, 76]);
        assert_eq!(first[..2], second[..2]);
        assert_ne!(first[2].id, second[2].id);
    }

    #[test]
    fn a_speedup_shortens_the_gaps() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00,1,1\n2023-11-16 18:00:10,1,1";
        assert_eq!(shape(&read(text).unwrap().speed_up(4.0).unwrap())[1].0, 2_500_000);
        assert!(read(text).unwrap().speed_up(0.0).is_err());
    }

    #[test]
    fn a_line_that_is_no_request_is_named() {
        for (text, says) in [
            ("", "no request"),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "no request"),
            ("when,what\n", "line 1"),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00,1", "line 2"),
            ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1", "yesterday"),
            (r#"{"timestamp": -1, "input_length": 1, "output_length": 1}"#, "line 1"),
            (r#"{"timestamp": 1, "input_length": 4000000000, "output_length": 1}"#, "4000000000"),
            (r#"{"timestamp": 1e300, "input_length": 4, "output_length": 1}"#, "line 1"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\{|TIMESTAMP,ContextTokens,GeneratedTokens\n)?\\PC{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn blocks_add_up_to_the_prompt(input in 1u32..5_000, hashes in 0u64..12) {
            let hashes: Vec<u64> = (0..hashes).collect();
            let line = format!(
                r#"{{"timestamp":5,"input_length":{input},"output_length":1,"hash_ids":{hashes:?}}}"#
            );
            prop_assert_eq!(shape(&read(&line).unwrap()), [(0, input as usize, 1)]);
        }
    }
}
