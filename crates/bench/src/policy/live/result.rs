//! What the policies did in both times, saved and as tables.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::result::{load, save};
use crate::{BenchError, Machine};

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveResult {
    /// [`crate::SCHEMA`].
    pub schema: u64,
    /// The day, UTC.
    pub date: String,
    /// Our commit, short; with a `+` where files differed from it.
    pub commit: Option<String>,
    /// What was typed.
    pub command: String,
    /// Where the live half ran.
    pub machine: Machine,
    /// Each workload.
    pub workloads: Vec<LiveWorkload>,
}

/// One workload behind each policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveWorkload {
    /// In words: what is asked, and of whom.
    pub about: String,
    /// Requests behind each policy.
    pub requests: u64,
    /// Tokens of their answers, all together.
    pub output_tokens: u64,
    /// What is good enough, where that is asked.
    pub slo: Option<String>,
    /// Each policy.
    pub rows: Vec<LiveRow>,
}

/// One policy, twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveRow {
    /// Its name.
    pub policy: String,
    /// In virtual time.
    pub simulated: Side,
    /// Through sockets.
    pub live: Side,
    /// Processor time of the router, in seconds, where the system says it.
    pub router_cpu_s: Option<f64>,
}

/// What clients saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Tokens generated a second, from the first request to the last answer.
    pub output_tokens_per_s: f64,
    /// Time to the first token.
    pub ttft_mean_s: f64,
    /// Of ten, nine are below.
    pub ttft_p90_s: f64,
    /// Over all gaps between tokens.
    pub itl_mean_ms: f64,
    /// Requests without a whole answer.
    pub failed: u64,
    /// Part of all requests that met the limits, where there are any.
    pub goodput: Option<f64>,
}

// === impl LiveResult ===

impl LiveResult {
    /// Reads a saved one.
    ///
    /// # Errors
    /// [`BenchError::Io`], [`BenchError::Json`], and [`BenchError::Schema`] for one of another version.
    pub fn load(path: &Path) -> Result<Self, BenchError> {
        load(path)
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`BenchError::Io`], [`BenchError::Json`].
    pub fn save(&self, path: &Path) -> Result<(), BenchError> {
        save(self, path)
    }

    /// As tables, for the book and for terminals.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.workloads.iter().for_each(|workload| workload.write(&mut out));
        let commit = self.commit.as_deref().unwrap_or("an unknown commit");
        let _ =
            writeln!(out, "`{}` on {}, at {commit}; {}.", self.command, self.date, self.machine);
        out
    }
}

impl LiveWorkload {
    fn write(&self, out: &mut String) {
        let Self { about, requests, slo, .. } = self;
        let _ = writeln!(out, "{requests} requests: {about}.\n");
        let good = slo.as_ref().map_or(String::new(), |slo| format!(" within {slo} |"));
        let line = slo.as_ref().map_or("", |_| "---:|");
        let _ = writeln!(
            out,
            "| policy |{good} output, tok/s | TTFT mean | TTFT p90 | ITL mean | router, us CPU a token |\n\
             |---|{line}---:|---:|---:|---:|---:|",
        );
        for row in &self.rows {
            self.write_row(out, row);
        }
        out.push('\n');
    }

    fn write_row(&self, out: &mut String, row: &LiveRow) {
        let LiveRow { policy, simulated, live, router_cpu_s } = row;
        let tokens = self.output_tokens as f64;
        let cpu = router_cpu_s.map_or(String::new(), |cpu| format!("{:.1}", cpu * 1e6 / tokens));
        for (half, side, cpu) in [("simulated", simulated, ""), ("live", live, cpu.as_str())] {
            let failed = match side.failed {
                0 => String::new(),
                failed => format!(", {failed} failed"),
            };
            let good = match (&self.slo, side.goodput) {
                (None, _) => String::new(),
                (Some(_), None) => " |".to_owned(),
                (Some(_), Some(good)) => format!(" {:.1} % |", 100.0 * good),
            };
            let _ = writeln!(
                out,
                "| {policy}, {half}{failed} |{good} {:.0} | {:.2} s | {:.2} s | {:.1} ms | {cpu} |",
                side.output_tokens_per_s, side.ttft_mean_s, side.ttft_p90_s, side.itl_mean_ms,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_which_half_it_is_and_what_failed() {
        let side = Side {
            output_tokens_per_s: 5975.3,
            ttft_mean_s: 1.078,
            ttft_p90_s: 0.868,
            itl_mean_ms: 40.01,
            failed: 0,
            goodput: Some(0.875),
        };
        let row = LiveRow {
            policy: "round-robin".to_owned(),
            simulated: side,
            live: Side { failed: 2, ..side },
            router_cpu_s: Some(4.0),
        };
        let workload = LiveWorkload {
            about: "prompts".to_owned(),
            requests: 400,
            output_tokens: 400_000,
            slo: None,
            rows: vec![row],
        };
        let mut table = String::new();
        workload.write(&mut table);
        assert!(table.contains("| round-robin, simulated | 5975 | 1.08 s | 0.87 s | 40.0 ms |  |"));
        assert!(table.contains("| round-robin, live, 2 failed | 5975 |"), "{table}");
        assert!(table.contains("| 10.0 |"), "{table}");
        let mut table = String::new();
        LiveWorkload { slo: Some("ttft=1s".to_owned()), ..workload }.write(&mut table);
        assert!(table.contains("| policy | within ttft=1s | output"), "{table}");
        assert!(table.contains("| round-robin, simulated | 87.5 % | 5975 |"), "{table}");
    }
}
