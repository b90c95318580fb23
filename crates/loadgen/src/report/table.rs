//! The summary as text of at most 100 columns.

use std::fmt::Write;

use crate::summary::{Figures, Summary};

/// The widest line of prose.
const COLUMNS: usize = 100;

/// The whole summary; words carry the meaning, so that no colour is needed.
#[must_use]
pub fn table(summary: &Summary) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(summary, &mut out);
    out
}

fn write(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let run = &summary.run;
    let stream = if run.stream { "streamed" } else { "in one piece" };
    writeln!(out, "{}{}  model {}  {stream}", run.url, run.path, run.model)?;
    writeln!(out, "{}  input {}  output {}  seed {}", run.load, run.input, run.output, run.seed)?;
    counts(summary, out)?;
    throughput(summary, out)?;
    latencies(summary, out)?;
    errors(summary, out)?;
    arrivals(summary, out)?;
    if !summary.notes.is_empty() {
        writeln!(out)?;
    }
    for note in &summary.notes {
        wrapped("note: ", note, out)?;
    }
    Ok(())
}

/// One paragraph, in lines of at most [`COLUMNS`] columns.
fn wrapped(lead: &str, text: &str, out: &mut String) -> std::fmt::Result {
    let mut column = lead.chars().count();
    let indent = column;
    write!(out, "{lead}")?;
    for (i, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if i > 0 && column + 1 + width > COLUMNS {
            write!(out, "\n{:indent$}{word}", "")?;
            column = indent + width;
        } else {
            write!(out, "{}{word}", if i > 0 { " " } else { "" })?;
            column += width + usize::from(i > 0);
        }
    }
    writeln!(out)
}

fn counts(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let counts = &summary.requests;
    write!(
        out,
        "\nrequests   {} scheduled  {} sent  {} ok  {} failed",
        counts.scheduled, counts.sent, counts.ok, counts.failed
    )?;
    for (count, what) in [(counts.unfinished, "unfinished"), (counts.retried, "sent twice")] {
        if count > 0 {
            write!(out, "  {count} {what}")?;
        }
    }
    writeln!(out, "  in {:.2} s", summary.duration_s)
}

fn throughput(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let throughput = &summary.throughput;
    write!(out, "answered   {}/s", short(throughput.requests_per_s))?;
    if summary.answers.output_tokens > 0.0 {
        write!(
            out,
            "  {} input tokens/s  {} output tokens/s",
            short(throughput.input_tokens_per_s),
            short(throughput.output_tokens_per_s)
        )?;
    }
    writeln!(out, "  {} in flight on average", short(throughput.mean_in_flight))?;
    if let (Some(good), Some(rate), Some(slo)) =
        (summary.requests.good, throughput.goodput_per_s, &summary.run.slo)
    {
        let share =
            100.0 * good as f64 / (summary.requests.ok + summary.requests.failed).max(1) as f64;
        writeln!(out, "goodput    {}/s: {good} requests ({share:.1} %) kept {slo}", short(rate))?;
    }
    Ok(())
}

fn latencies(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let latency = &summary.latency_ms;
    let rows = [
        ("TTFT", &latency.ttft),
        ("  from send", &latency.ttft_from_send),
        ("ITL", &latency.itl),
        ("TPOT", &latency.tpot),
        ("E2E", &latency.e2e),
        ("  from send", &latency.e2e_from_send),
    ];
    if rows.iter().all(|(_, figures)| figures.is_none()) {
        return Ok(());
    }
    heading("ms", out)?;
    rows.iter().try_for_each(|(name, figures)| row(name, figures.as_ref(), out))
}

fn heading(name: &str, out: &mut String) -> std::fmt::Result {
    write!(out, "\n{name:<11}")?;
    for column in ["mean", "min", "p50", "p90", "p95", "p99", "p99.9", "max"] {
        write!(out, "{column:>10}")?;
    }
    writeln!(out)
}

fn row(name: &str, figures: Option<&Figures>, out: &mut String) -> std::fmt::Result {
    let Some(f) = figures else { return Ok(()) };
    write!(out, "{name:<11}")?;
    for value in [f.mean, f.min, f.p50, f.p90, f.p95, f.p99, f.p999, f.max] {
        write!(out, "{:>10}", milliseconds(value))?;
    }
    writeln!(out)
}

fn errors(summary: &Summary, out: &mut String) -> std::fmt::Result {
    if summary.errors.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nerrors")?;
    for (kind, errors) in &summary.errors {
        write!(out, "  {kind:<14}{:>8}", errors.count)?;
        for (status, count) in &errors.statuses {
            write!(out, "  {status} x {count}")?;
        }
        if !errors.example.is_empty() {
            let example: String = errors.example.chars().take(60).collect();
            write!(out, "  e.g. {example}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn arrivals(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let arrivals = &summary.arrivals;
    if summary.run.r#loop == "open" {
        if let (Some(due), Some(sent)) = (arrivals.scheduled, arrivals.sent) {
            writeln!(
                out,
                "\narrivals   due {:.3}/s gap CV {:.3}  sent {:.3}/s gap CV {:.3}",
                due.per_s, due.gap_cv, sent.per_s, sent.gap_cv
            )?;
        }
        if let Some(late) = arrivals.lateness_ms {
            writeln!(
                out,
                "lateness   p50 {} ms  p99 {} ms  max {} ms: the generator's own",
                milliseconds(late.p50),
                milliseconds(late.p99),
                milliseconds(late.max)
            )?;
        }
    } else {
        writeln!(out)?;
    }
    let generator = &summary.generator;
    if let (Some(cpu), Some(each)) = (generator.cpu_s, generator.cpu_us_per_request) {
        write!(out, "generator  {each:.1} us of processor time a request, {cpu:.2} s in all")?;
        write!(out, " ({:.2} s waiting busily)", generator.spun_s)?;
        writeln!(out, "  {} connections", generator.connections)?;
    }
    Ok(())
}

/// Three significant digits, and no more than needed.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn milliseconds(value: f64) -> String {
    match value {
        value if value >= 1000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::summary::{Errors, Plots, Point, Rate, Second};
    use crate::{Description, Outcome, Slo, Tally};

    /// A run as it could have been.
    pub(crate) fn sample() -> Summary {
        let run = Description {
            url: "http://127.0.0.1:8000".into(),
            model: "tiny".into(),
            path: "/v1/completions".into(),
            stream: true,
            r#loop: "open",
            load: "open loop, poisson arrivals, 10 a second".into(),
            input: "512".into(),
            output: "128".into(),
            scheduled: 200,
            seed: 7,
            slo: Some("ttft=500ms,tpot=50ms".into()),
            ..Description::default()
        };
        let nothing = Outcome {
            workers: Vec::new(),
            cpu: None,
            elapsed: std::time::Duration::ZERO,
            lowered_to: None,
        };
        let mut summary = Tally::new(Slo::default()).finish(run, &nothing);
        let figures = Figures {
            count: 197,
            mean: 31.25,
            min: 8.0,
            p50: 29.5,
            p90: 44.0,
            p95: 61.5,
            p99: 180.25,
            p999: 1204.0,
            max: 1204.0,
        };
        summary.duration_s = 21.5;
        summary.requests.sent = 200;
        summary.requests.ok = 197;
        summary.requests.failed = 3;
        summary.requests.good = Some(180);
        summary.throughput.requests_per_s = 9.16;
        summary.throughput.goodput_per_s = Some(8.37);
        summary.throughput.output_tokens_per_s = 1172.5;
        summary.throughput.mean_in_flight = 23.1;
        summary.answers.output_tokens = 128.0;
        summary.latency_ms.ttft = Some(figures);
        summary.latency_ms.ttft_from_send = Some(figures);
        summary.latency_ms.e2e = Some(figures);
        summary.arrivals.scheduled = Some(Rate { per_s: 10.0, gap_cv: 0.98 });
        summary.arrivals.sent = Some(Rate { per_s: 10.0, gap_cv: 0.981 });
        summary.arrivals.lateness_ms = Some(Figures { p50: 0.01, p99: 0.12, max: 0.5, ..figures });
        summary.generator.cpu_s = Some(0.04);
        summary.generator.cpu_us_per_request = Some(200.0);
        summary.generator.connections = 41;
        let errors = Errors {
            count: 3,
            statuses: BTreeMap::from([(503, 3)]),
            example: "{\"error\":\"<full>\"}".into(),
        };
        summary.errors = BTreeMap::from([("status_5xx", errors)]);
        summary.notes = vec!["a note of many words, which goes on and on ".repeat(3).trim().into()];
        summary.plots = plots();
        summary
    }

    fn plots() -> Plots {
        let point = |i: u32| Point {
            due_s: f64::from(i) / 10.0,
            ttft_ms: (!i.is_multiple_of(50)).then_some(20.0 + f64::from(i % 17)),
            e2e_ms: (!i.is_multiple_of(50)).then_some(900.0 + f64::from(i % 31)),
        };
        let second = Second { due: 10, sent: 10, ok: 9, failed: 1 };
        let distribution = (0..=20).map(|i| (20.0 + f64::from(i), f64::from(i) / 20.0)).collect();
        Plots {
            points: (0..200).map(point).collect(),
            seconds: vec![second; 22],
            distributions: vec![("TTFT", distribution)],
        }
    }

    #[test]
    fn a_table_says_what_happened() {
        insta::assert_snapshot!(table(&sample()));
    }

    #[test]
    fn an_empty_run_has_a_short_table() {
        let mut summary = sample();
        summary.latency_ms = crate::summary::Latencies::default();
        summary.errors.clear();
        summary.notes.clear();
        assert!(table(&summary).lines().count() <= 10);
    }
}
