//! The summary as one page that needs nothing from the network.

use std::fmt::Write;

use super::plot::{Mark, Plot, Scale, Series, escape};
use super::table::table;
use crate::summary::{Point, Summary};

/// Stretches of time over which percentiles are drawn.
const STRETCHES: usize = 60;
/// Requests below which a stretch has no 99th percentile worth drawing.
const FEW: usize = 5;
/// The longest latency of a distribution over the shortest that is drawn.
const DISTRIBUTION_SPAN: f64 = 1e4;

const STYLE: &str = "
:root { color-scheme: light dark; --bg: #fff; --fg: #1b1f24; --soft: #57606a; --grid: #d8dee4;
  --s0: #0b62c4; --s1: #b4470b; --s2: #0a7a55; --s3: #8a3ffc; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171a; --fg: #e6e9ec; --soft: #9aa4af;
  --grid: #2e353c; --s0: #6cb2ff; --s1: #ffa15e; --s2: #57d3a0; --s3: #c4a5ff; } }
body { background: var(--bg); color: var(--fg); font: 16px/1.5 system-ui, sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
pre { overflow-x: auto; white-space: pre-wrap; font-size: .82rem; line-height: 1.4; }
figure { margin: 2rem 0; } figcaption { color: var(--soft); }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
.middle { text-anchor: middle; } .end { text-anchor: end; }
.grid { stroke: var(--grid); } .line { fill: none; stroke-width: 2; }
.dots { stroke-width: 3; stroke-linecap: round; stroke-opacity: .45; }
.s0 { stroke: var(--s0); } .s1 { stroke: var(--s1); } .s2 { stroke: var(--s2); } .s3 { stroke: var(--s3); }
.s0.key { fill: var(--s0); } .s1.key { fill: var(--s1); } .s2.key { fill: var(--s2); } .s3.key { fill: var(--s3); }
";

/// The page.
#[must_use]
pub fn html(summary: &Summary) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(summary, &mut out);
    out
}

fn write(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let run = &summary.run;
    let title = escape(&format!("{} under load: {}", run.model, run.load));
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>"
    )?;
    writeln!(out, "<pre tabindex=\"0\">{}</pre>", pre(&table(summary)))?;
    let ttft = over_time(summary, "Time to first token over time", |point| point.ttft_ms);
    let e2e = over_time(summary, "Time to the last token over time", |point| point.e2e_ms);
    for (plot, caption) in [
        (ttft, "Each dot is a request, at the time it was due: TTFT from then on."),
        (e2e, "The same to the last token (E2E)."),
        (distributions(summary), "Share of requests (ITL: of gaps) at or below a latency."),
        (load(summary), "What was asked of the server each second, and what came back."),
    ] {
        if plot.series.iter().any(|series| !series.points.is_empty()) {
            writeln!(out, "<figure>\n<h2>{}</h2>", escape(plot.title))?;
            writeln!(out, "{}<figcaption>{}</figcaption>\n</figure>", plot.svg(), escape(caption))?;
        }
    }
    writeln!(out, "</main>\n</body>\n</html>")
}

/// As `escape`, with line breaks.
fn pre(text: &str) -> String {
    text.lines().map(|line| escape(line) + "\n").collect()
}

fn over_time<'a>(
    summary: &Summary,
    title: &'a str,
    latency: impl Fn(&Point) -> Option<f64>,
) -> Plot<'a> {
    let points = summary.plots.points.iter();
    let points: Vec<(f64, f64)> = points.filter_map(|p| Some((p.due_s, latency(p)?))).collect();
    let end = points.last().map_or(0.0, |point| point.0);
    let width = (end / STRETCHES as f64).max(1e-9);
    let (mut median, mut tail) = (Vec::new(), Vec::new());
    // The last request is at the very end of the last stretch.
    let stretch_of = |point: &(f64, f64)| (point.0 / width).floor().min(STRETCHES as f64 - 1.0);
    for stretch in points.chunk_by(|a, b| stretch_of(a) == stretch_of(b)) {
        let mut values: Vec<f64> = stretch.iter().map(|point| point.1).collect();
        values.sort_by(f64::total_cmp);
        let middle = (stretch_of(&stretch[0]) + 0.5) * width;
        let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        median.push((middle, at(0.5)));
        if values.len() >= FEW {
            tail.push((middle, at(0.99)));
        }
    }
    Plot {
        title,
        x_label: "due, seconds since the start",
        y_label: "ms",
        x_scale: Scale::Linear,
        y_scale: Scale::Logarithmic,
        series: vec![
            Series { name: "requests", mark: Mark::Dots, points },
            Series { name: "p99", mark: Mark::Line, points: tail },
            Series { name: "median", mark: Mark::Line, points: median },
        ],
    }
}

fn distributions(summary: &Summary) -> Plot<'_> {
    let all = summary.plots.distributions.iter().flat_map(|(_, points)| points);
    // Gaps of coalesced tokens are zero and have no place on a logarithmic axis: it spans this much.
    let least = all.map(|point| point.0).fold(0.0, f64::max) / DISTRIBUTION_SPAN;
    let series = summary.plots.distributions.iter().map(|(name, points)| {
        let points = points.iter().copied().filter(|point| point.0 >= least).collect();
        Series { name, mark: Mark::Line, points }
    });
    Plot {
        title: "Distribution of latencies",
        x_label: "ms",
        y_label: "share",
        x_scale: Scale::Logarithmic,
        y_scale: Scale::Linear,
        series: series.collect(),
    }
}

fn load(summary: &Summary) -> Plot<'_> {
    let seconds = &summary.plots.seconds;
    let (mut due, mut answered, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut in_flight, mut sent, mut ended) = (Vec::new(), 0u64, 0u64);
    for (at, second) in seconds.iter().enumerate() {
        let middle = at as f64 + 0.5;
        due.push((middle, f64::from(second.due)));
        answered.push((middle, f64::from(second.ok)));
        failed.push((middle, f64::from(second.failed)));
        sent += u64::from(second.sent);
        ended += u64::from(second.ok) + u64::from(second.failed);
        in_flight.push((at as f64 + 1.0, sent.saturating_sub(ended) as f64));
    }
    let any_failed = failed.iter().any(|point| point.1 > 0.0);
    let mut series = vec![
        Series { name: "due", mark: Mark::Line, points: due },
        Series { name: "failed", mark: Mark::Line, points: failed },
        Series { name: "answered", mark: Mark::Line, points: answered },
        Series { name: "in flight", mark: Mark::Line, points: in_flight },
    ];
    if !any_failed {
        series.retain(|series| series.name != "failed");
    }
    Plot {
        title: "Load",
        x_label: "seconds since the start",
        y_label: "requests",
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        series,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::sample;
    use super::*;

    #[test]
    fn a_page_is_whole_and_asks_the_network_for_nothing() {
        let page = html(&sample());
        assert_eq!(page.matches("<svg").count(), 4);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        for word in ["src=", "href=", "url(", "@import", "<script"] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.contains("&lt;full&gt;") && !page.contains("<full>"));
    }

    #[test]
    fn a_run_without_answers_is_a_page_without_latencies() {
        let mut summary = sample();
        summary.plots.points.clear();
        summary.plots.distributions.clear();
        assert_eq!(html(&summary).matches("<svg").count(), 1);
        summary.plots.seconds.clear();
        assert_eq!(html(&summary).matches("<svg").count(), 0);
    }
}
