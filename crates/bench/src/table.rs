//! A result as a table: for a terminal, and as Markdown for the book. Both have the same cells.

use std::fmt::Write;

use crate::result::{BenchResult, PeerFigures, Row};
use crate::sample::{Better, Spread};

/// The columns.
const HEAD: [&str; COLUMNS] = ["figure", "unit", "ours", "peer", "theirs", "times as good", "goal"];
const COLUMNS: usize = 7;
/// Columns of numbers, which end at the same place.
const NUMBERS: [usize; 2] = [2, 4];
/// Between two columns.
const GAP: &str = "  ";

type Cells = [String; COLUMNS];

/// For a terminal of any width: nothing is wrapped or cut.
#[must_use]
pub fn terminal(result: &BenchResult) -> String {
    let lines = cells(result);
    let head = HEAD.map(str::to_owned);
    let widths: Vec<usize> = (0..COLUMNS)
        .map(|at| {
            lines.iter().chain([&head]).map(|line| line[at].chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = format!("{}\n\n", result.machine);
    for line in [&head].into_iter().chain(&lines) {
        let mut text = String::new();
        for (at, cell) in line.iter().enumerate() {
            let width = widths[at];
            let padded = if NUMBERS.contains(&at) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            };
            text.push_str(&padded);
            text.push_str(GAP);
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    push_notes(&mut out, result, "");
    out
}

/// For the book: a Markdown table, then the machine, then what a reader must know.
#[must_use]
pub fn markdown(result: &BenchResult) -> String {
    let mut out = format!("| {} |\n|", HEAD.join(" | "));
    for at in 0..COLUMNS {
        out.push_str(if NUMBERS.contains(&at) { "---:|" } else { "---|" });
    }
    out.push('\n');
    for line in cells(result) {
        let _ = writeln!(out, "| {} |", line.map(|cell| plain(&cell)).join(" | "));
    }
    let BenchResult { machine, date, commit, command, .. } = result;
    let commit = commit.as_ref().map_or(String::new(), |commit| format!(", commit {commit}"));
    let _ = write!(
        out,
        "\nMeasured on {machine}, on {date}{commit}, with:\n\n```text\n{command}\n```\n"
    );
    push_notes(&mut out, result, "- ");
    out
}

/// A cell that Markdown takes as text.
fn plain(cell: &str) -> String {
    cell.replace('&', "&amp;").replace('<', "&lt;").replace('|', "\\|")
}

fn push_notes(out: &mut String, result: &BenchResult, bullet: &str) {
    if !result.notes.is_empty() {
        out.push('\n');
    }
    for note in &result.notes {
        let _ = writeln!(out, "{bullet}{note}");
    }
}

/// One line for each figure and peer. What repeats from the line above is left out.
fn cells(result: &BenchResult) -> Vec<Cells> {
    let mut lines = Vec::new();
    for row in &result.rows {
        let ours = Spread::of(&row.ours).map_or("-".to_owned(), |spread| number(spread.median));
        let first = [row.figure.clone(), row.unit.clone(), ours];
        if row.peers.is_empty() {
            let [figure, unit, ours] = first.clone();
            lines.push([
                figure,
                unit,
                ours,
                "none".to_owned(),
                String::new(),
                alone(row),
                String::new(),
            ]);
        }
        for (at, peer) in row.peers.iter().enumerate() {
            let [figure, unit, ours] = if at == 0 { first.clone() } else { Default::default() };
            let theirs = peer.median().map_or("-".to_owned(), number);
            let name = peer.peer.clone();
            lines.push([figure, unit, ours, name, theirs, compared(row, peer), goal(row, peer)]);
        }
    }
    lines
}

/// What stands in the place of a ratio where there is no peer.
fn alone(row: &Row) -> String {
    match (row.better, Spread::of(&row.ours)) {
        (Better::Nearest(right), Some(ours)) => format!("{} off", off(ours.median, right)),
        _ => String::new(),
    }
}

/// The ratio with its extremes, or how far both are from the right value.
fn compared(row: &Row, peer: &PeerFigures) -> String {
    if let Better::Nearest(right) = row.better {
        let (Some(ours), Some(theirs)) = (Spread::of(&row.ours), peer.median()) else {
            return String::new();
        };
        return format!("{} off, theirs {}", off(ours.median, right), off(theirs, right));
    }
    match peer.ratio {
        Some(ratio) if peer.figures.len() > 1 => {
            let (low, high) = (hundredths(ratio.min), hundredths(ratio.max));
            format!("{} ({low} to {high})", times(ratio.median))
        }
        Some(ratio) => times(ratio.median),
        None => "-".to_owned(),
    }
}

fn goal(row: &Row, peer: &PeerFigures) -> String {
    let Some(goal) = row.goal.as_ref().filter(|goal| peer.peer.starts_with(&goal.peer)) else {
        return String::new();
    };
    let verdict = match goal.reached(row) {
        Some(true) => "reached",
        Some(false) => "missed",
        None => "not measured",
    };
    format!("{} {verdict}", times(goal.ratio))
}

/// `1.19x`: hundredths are the finest that a reader can use.
pub(crate) fn times(ratio: f64) -> String {
    format!("{}x", hundredths(ratio))
}

fn hundredths(ratio: f64) -> String {
    if (0.095..9.995).contains(&ratio) { format!("{ratio:.2}") } else { number(ratio) }
}

/// How far from the right value, in per cent of it.
pub(crate) fn off(value: f64, right: f64) -> String {
    format!("{:.1} %", (value / right - 1.0).abs() * 100.0)
}

/// Three significant digits, or all of those before the point, in groups: `0.00123`, `1.19`, `21,504`.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let size = value.abs();
    if size >= 99.95 {
        return grouped(value);
    }
    let digits = if size >= 9.995 {
        1
    } else if size >= 0.995 || size == 0.0 {
        2
    } else {
        // Digits after the point until the third significant one.
        2_usize.saturating_add((-size.log10()).ceil().clamp(0.0, 9.0) as usize)
    };
    format!("{value:.digits$}")
}

fn grouped(value: f64) -> String {
    let whole = format!("{:.0}", value.abs());
    let mut out = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        let cases = [
            (0.0, "0.00"),
            (0.001_234, "0.00123"),
            (0.5, "0.500"),
            (0.85, "0.850"),
            (0.999, "1.00"),
            (1.0, "1.00"),
            (9.99, "9.99"),
            (9.999, "10.0"),
            (12.34, "12.3"),
            (99.96, "100"),
            (987.6, "988"),
            (21_504.4, "21,504"),
            (1_234_567.0, "1,234,567"),
            (f64::NAN, "-"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_wrong_rate_is_off_by_its_share_of_the_right_one() {
        assert_eq!(off(9.0, 10.0), "10.0 %");
    }
}
