//! A result as a picture: for every figure one bar for us and one for each peer, with the ratio beside it.
//!
//! The picture follows the reader's theme by the course's own style sheet, and is legible without colours: each
//! bar carries its program's name and its value.

use std::fmt::Write;

use crate::result::{BenchResult, Row};
use crate::sample::{Better, Spread};
use crate::table::{number, off, times};

/// The one style sheet of the course's pictures; the book's own check compares with the same file.
pub(crate) const STYLE: &str = include_str!("../../../book/theme/picture.css");

/// Sizes in units of the picture, which is as wide as all of the course's.
const WIDTH: usize = 760;
const NAME_WIDTH: usize = 190;
const BAR_WIDTH: usize = 370;
const BAR_HEIGHT: usize = 20;
const LINE: usize = 24;
const ROW_HEAD: usize = 34;
const TOP: usize = 8;
/// Letters of a name that fit into its width.
const NAME_CHARS: usize = 24;
/// From a line's top to the foot of its letters.
const FOOT: usize = 15;
/// Fills of the peers' bars, in turn. Ours is `a`.
const FILLS: [&str; 3] = ["b", "c", "d"];

/// An SVG file.
#[must_use]
pub fn svg(result: &BenchResult) -> String {
    let mut body = String::new();
    let mut y = TOP;
    for row in &result.rows {
        y = push_row(&mut body, row, y);
    }
    let height = y + LINE;
    let machine = escaped(&result.machine.to_string());
    let _ =
        writeln!(body, "<text class=\"small soft\" x=\"20\" y=\"{}\">{machine}</text>", y + FOOT);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"pic\" viewBox=\"0 0 {WIDTH} {height}\">\n\
         <style>\n{}\n</style>\n{body}</svg>\n",
        STYLE.trim()
    )
}

/// One bar.
struct Bar<'a> {
    name: &'a str,
    class: &'a str,
    value: Option<f64>,
    remark: String,
}

fn push_row(out: &mut String, row: &Row, top: usize) -> usize {
    let way = match row.better {
        Better::Higher => "more is better".to_owned(),
        Better::Lower => "less is better".to_owned(),
        Better::Nearest(right) => format!("{} is right", number(right)),
    };
    let (figure, unit) = (escaped(&row.figure), escaped(&row.unit));
    let y = top + FOOT + 4;
    let _ = writeln!(
        out,
        "<text x=\"20\" y=\"{y}\"><tspan class=\"bold\">{figure}</tspan>\
         <tspan class=\"soft\">, {unit}: {way}</tspan></text>"
    );
    let bars = bars(row);
    let right = if let Better::Nearest(right) = row.better { right } else { 0.0 };
    let longest = bars.iter().filter_map(|bar| bar.value).fold(right, f64::max);
    let mut y = top + ROW_HEAD - 6;
    for bar in &bars {
        push_bar(out, bar, longest, y);
        y += LINE;
    }
    y + 6
}

fn bars(row: &Row) -> Vec<Bar<'_>> {
    let value = Spread::of(&row.ours).map(|spread| spread.median);
    let away = |value: Option<f64>| match (row.better, value) {
        (Better::Nearest(right), Some(value)) => format!("{} off", off(value, right)),
        _ => String::new(),
    };
    let mut bars = vec![Bar { name: "ours", class: "a", value, remark: away(value) }];
    for (at, peer) in row.peers.iter().enumerate() {
        let value = peer.median();
        let remark = match peer.ratio {
            Some(ratio) => format!("ours {}", times(ratio.median)),
            None => away(value),
        };
        let class = FILLS[at % FILLS.len()];
        bars.push(Bar { name: &peer.peer, class, value, remark });
    }
    bars
}

fn push_bar(out: &mut String, bar: &Bar<'_>, longest: f64, top: usize) {
    let Bar { name, class, value, remark } = bar;
    let y = top + FOOT;
    let name = escaped(&shortened(name));
    let _ = writeln!(out, "<text class=\"end\" x=\"{}\" y=\"{y}\">{name}</text>", NAME_WIDTH - 8);
    let Some(value) = value.filter(|_| longest > 0.0) else { return };
    // At least a line: a bar that cannot be seen says that there is none.
    let width = (value / longest * BAR_WIDTH as f64).max(1.0);
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{NAME_WIDTH}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"3\"/>"
    );
    let x = NAME_WIDTH as f64 + width + 8.0;
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y}\">{}<tspan class=\"soft\" dx=\"8\">{}</tspan></text>",
        number(value),
        escaped(remark)
    );
}

/// As much of a name as stands beside a bar; the table has all of it.
fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_CHARS {
        return name.to_owned();
    }
    name.chars().take(NAME_CHARS - 1).chain(['\u{2026}']).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_where_it_would_leave_the_picture() {
        assert_eq!(shortened("llama.cpp 0.3.36"), "llama.cpp 0.3.36");
        assert_eq!(shortened("vllm-sr-sim 0.1.0.dev20260713123629"), "vllm-sr-sim 0.1.0.dev20…");
    }
}
