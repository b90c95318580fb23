//! The ladder as a picture: output and time to the first token over the rate, ours as lines, published ones as points.

use std::fmt::Write;

use super::{Fleet, PolicyResult};
use crate::plot::STYLE;

/// The policies that are drawn, each with its class of colours and its published twin.
const DRAWN: [(&str, &str, Option<usize>); 3] =
    [("round-robin", "b", Some(0)), ("prefix", "d", None), ("combined", "a", Some(1))];

/// Sizes in units of the picture.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 330.0;
const LEFT: [f64; 2] = [62.0, 442.0];
const PANEL: f64 = 296.0;
const TOP: f64 = 44.0;
const FOOT: f64 = 256.0;
/// The largest output, in tok/s, and the shortest and longest TTFT, in seconds.
const MOST_TOKENS: f64 = 20_000.0;
const TTFT: [f64; 2] = [0.1, 100.0];
/// The highest rate.
const MOST_RATE: f64 = 62.0;

/// One of the two panels.
#[derive(Clone, Copy)]
enum Panel {
    Output,
    Ttft,
}

/// An SVG file.
#[must_use]
pub fn svg(result: &PolicyResult) -> String {
    let mut body = String::new();
    for panel in [Panel::Output, Panel::Ttft] {
        axes(&mut body, panel);
        lines(&mut body, panel, &result.ladder);
    }
    legend(&mut body);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"pic\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">\n\
         <style>\n{}\n</style>\n{body}</svg>\n",
        STYLE.trim()
    )
}

impl Panel {
    fn left(self) -> f64 {
        match self {
            Self::Output => LEFT[0],
            Self::Ttft => LEFT[1],
        }
    }

    fn x(self, rate: f64) -> f64 {
        self.left() + PANEL * rate / MOST_RATE
    }

    /// Output on a plain scale, TTFT on a logarithmic one.
    fn y(self, value: f64) -> f64 {
        let part = match self {
            Self::Output => value / MOST_TOKENS,
            Self::Ttft => (value / TTFT[0]).log10() / (TTFT[1] / TTFT[0]).log10(),
        };
        FOOT - (FOOT - TOP) * part.clamp(0.0, 1.0)
    }
}

fn axes(out: &mut String, panel: Panel) {
    let (title, marks): (_, &[(f64, &str)]) = match panel {
        Panel::Output => (
            "output, tokens a second",
            &[(0.0, "0"), (5e3, "5,000"), (10e3, "10,000"), (15e3, "15,000"), (20e3, "20,000")],
        ),
        Panel::Ttft => (
            "mean time to the first token",
            &[(0.1, "0.1 s"), (1.0, "1 s"), (10.0, "10 s"), (100.0, "100 s")],
        ),
    };
    let (left, right) = (panel.left(), panel.left() + PANEL);
    let _ = writeln!(out, "<text class=\"bold\" x=\"{left}\" y=\"22\">{title}</text>");
    for (value, name) in marks {
        let y = panel.y(*value);
        let _ = writeln!(out, "<path class=\"rule\" d=\"M{left} {y:.1}L{right} {y:.1}\"/>");
        let (x, y) = (left - 6.0, y + 4.0);
        let _ =
            writeln!(out, "<text class=\"small soft end\" x=\"{x}\" y=\"{y:.1}\">{name}</text>");
    }
    for rate in [0, 20, 40, 60] {
        let (x, y) = (panel.x(f64::from(rate)), FOOT + 18.0);
        let _ =
            writeln!(out, "<text class=\"small soft mid\" x=\"{x:.1}\" y=\"{y}\">{rate}/s</text>");
    }
}

fn lines(out: &mut String, panel: Panel, fleet: &Fleet) {
    for (policy, class, twin) in DRAWN {
        let value = |output: f64, ttft: f64| match panel {
            Panel::Output => output,
            Panel::Ttft => ttft,
        };
        let run = fleet.runs.iter().find(|run| run.policy == policy);
        let points = run.into_iter().flat_map(|run| &run.parts).filter_map(|part| {
            let rate = f64::from(part.rate?);
            Some((rate, value(part.output_tokens_per_s, part.ttft_mean_s)))
        });
        let path: Vec<String> =
            points.map(|(x, y)| format!("{:.1} {:.1}", panel.x(x), panel.y(y))).collect();
        if !path.is_empty() {
            let path = path.join("L");
            let _ = writeln!(
                out,
                "<path class=\"{class}\" style=\"fill:none;stroke-width:2.2\" d=\"M{path}\"/>"
            );
        }
        let arm = twin.and_then(|twin| fleet.published.as_ref()?.get(twin));
        for part in arm.into_iter().flat_map(|arm| &arm.parts) {
            let Some(rate) = part.rate else { continue };
            let (x, y) = (
                panel.x(f64::from(rate)),
                panel.y(value(part.output_tokens_per_s, part.ttft_mean_s)),
            );
            let _ =
                writeln!(out, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.2\"/>");
        }
    }
}

fn legend(out: &mut String) {
    for (index, (policy, class, twin)) in DRAWN.into_iter().enumerate() {
        let x = 62.0 + 236.0 * index as f64;
        let (end, middle, text) = (x + 26.0, x + 13.0, x + 34.0);
        let _ = writeln!(
            out,
            "<path class=\"{class}\" style=\"fill:none;stroke-width:2.2\" d=\"M{x} 298L{end} 298\"/>"
        );
        let mut name = policy.to_owned();
        if let Some(twin) = twin {
            let _ =
                writeln!(out, "<circle class=\"{class}\" cx=\"{middle}\" cy=\"298\" r=\"3.2\"/>");
            name += ["; points: a Service", "; points: llm-d"][twin];
        }
        let _ = writeln!(out, "<text class=\"small\" x=\"{text}\" y=\"302\">{name}</text>");
    }
}
