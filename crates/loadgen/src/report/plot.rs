//! Plots as inline SVG. Colours and fonts come from the page's style sheet, so that they follow light and dark.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 44.0;
/// The most dots of one series.
const MAX_DOTS: usize = 3_000;

/// How values are spread along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Logarithmic,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Dots,
    Line,
}

pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    pub(super) mark: Mark,
    pub(super) points: Vec<(f64, f64)>,
}

pub(super) struct Plot<'a> {
    /// What a reader who does not see it should know.
    pub(super) title: &'a str,
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
    pub(super) x_scale: Scale,
    pub(super) y_scale: Scale,
    pub(super) series: Vec<Series<'a>>,
}

/// One axis: values from `low` to `high` onto pixels from `from` to `to`.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let positive = scale == Scale::Logarithmic;
        let usable = values.filter(|value| value.is_finite() && (!positive || *value > 0.0));
        let (least, most) = (
            usable.clone().fold(f64::INFINITY, f64::min),
            usable.fold(f64::NEG_INFINITY, f64::max),
        );
        if least > most {
            return Self {
                scale: Scale::Linear,
                low: 0.0,
                high: 1.0,
                from,
                to,
                ticks: vec![0.0, 1.0],
            };
        }
        let ticks = match scale {
            Scale::Linear => linear_ticks(most),
            Scale::Logarithmic => decades(least, most),
        };
        let (low, high) = match (ticks.first(), ticks.last()) {
            (Some(low), Some(high)) if low < high => (*low, *high),
            _ => (least, least + 1.0),
        };
        Self { scale, low, high, from, to, ticks }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => {
                (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
            }
        };
        self.from + (self.to - self.from) * share.clamp(0.0, 1.0)
    }
}

/// From 0 to at least `most`, in steps of 1, 2 or 5 times a power of ten.
fn linear_ticks(most: f64) -> Vec<f64> {
    let rough = if most > 0.0 { most / 5.0 } else { 0.2 };
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].iter().map(|factor| factor * power).find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let count = (most / step - 1e-9).ceil().max(1.0) as usize;
    (0..=count).map(|i| i as f64 * step).collect()
}

/// 1, 2 and 5 times powers of ten around the values; powers of ten alone where there are many.
fn decades(least: f64, most: f64) -> Vec<f64> {
    let (first, last) = (least.log10().floor() as i32, most.log10().ceil() as i32);
    let factors: &[f64] = if last - first > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let all = (first..=last)
        .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
    let all: Vec<f64> = all.collect();
    let low = all.iter().rposition(|tick| *tick <= least * (1.0 + 1e-9)).unwrap_or(0);
    let high = all.iter().position(|tick| *tick >= most * (1.0 - 1e-9)).unwrap_or(all.len() - 1);
    all[low..=high.max(low + 1).min(all.len() - 1)].to_vec()
}

impl Plot<'_> {
    /// The plot as an `<svg>` element.
    pub(super) fn svg(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let x = Axis::new(self.x_scale, points().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let y = Axis::new(self.y_scale, points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        writeln!(
            out,
            r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#,
            escape(self.title)
        )?;
        self.axes(&x, &y, out)?;
        for (number, series) in self.series.iter().enumerate() {
            draw(number, series, &x, &y, out)?;
        }
        self.legend(out)?;
        writeln!(out, "</svg>")
    }

    fn axes(&self, x: &Axis, y: &Axis, out: &mut String) -> std::fmt::Result {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in &y.ticks {
            let at = y.place(*tick);
            writeln!(out, r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/>"#)?;
            let (left, base) = (LEFT - 6.0, at + 4.0);
            let text = label(*tick);
            writeln!(out, r#"<text class="end" x="{left}" y="{base:.1}">{text}</text>"#)?;
        }
        for tick in &x.ticks {
            let at = x.place(*tick);
            writeln!(out, r#"<path class="grid" d="M{at:.1} {TOP}V{bottom}"/>"#)?;
            let (base, text) = (bottom + 16.0, label(*tick));
            writeln!(out, r#"<text class="middle" x="{at:.1}" y="{base}">{text}</text>"#)?;
        }
        let (middle, base) = (f64::midpoint(LEFT, right), HEIGHT - 8.0);
        let (x_label, y_label) = (escape(self.x_label), escape(self.y_label));
        writeln!(out, r#"<text class="middle" x="{middle}" y="{base}">{x_label}</text>"#)?;
        writeln!(out, r#"<text x="4" y="14">{y_label}</text>"#)
    }

    fn legend(&self, out: &mut String) -> std::fmt::Result {
        let mut at = WIDTH - RIGHT;
        for (number, series) in self.series.iter().enumerate().rev() {
            let name = escape(series.name);
            writeln!(out, r#"<text class="end" x="{at:.0}" y="14">{name}</text>"#)?;
            // Eight units a character are enough for the page's font at its size.
            at -= 8.0 * series.name.chars().count() as f64 + 8.0;
            writeln!(out, r#"<circle class="s{number} dot key" cx="{at:.0}" cy="10" r="4"/>"#)?;
            at -= 14.0;
        }
        Ok(())
    }
}

fn draw(
    number: usize,
    series: &Series<'_>,
    x: &Axis,
    y: &Axis,
    out: &mut String,
) -> std::fmt::Result {
    let place = |point: &(f64, f64)| (x.place(point.0), y.place(point.1));
    match series.mark {
        Mark::Line => {
            write!(out, r#"<path class="s{number} line" d=""#)?;
            for (i, point) in series.points.iter().enumerate() {
                let (px, py) = place(point);
                write!(out, "{}{px:.1} {py:.1}", if i == 0 { 'M' } else { 'L' })?;
            }
            writeln!(out, r#""/>"#)
        }
        Mark::Dots => {
            // One path for all: a dot is a line of no length with round ends.
            write!(out, r#"<path class="s{number} dots" d=""#)?;
            let step = series.points.len().div_ceil(MAX_DOTS).max(1);
            for point in series.points.iter().step_by(step) {
                let (px, py) = place(point);
                write!(out, "M{px:.1} {py:.1}h0")?;
            }
            writeln!(out, r#""/>"#)
        }
    }
}

fn label(value: f64) -> String {
    // Ticks are short numbers; rounding removes what floating point added.
    let rounded = (value * 1e6).round() / 1e6;
    format!("{rounded}")
}

/// Text that is safe in an element and in an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        assert_eq!(linear_ticks(9.3), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(linear_ticks(0.0).first(), Some(&0.0));
        assert_eq!(
            decades(3.0, 40.0).iter().map(|t| t.round()).collect::<Vec<_>>(),
            [2.0, 5.0, 10.0, 20.0, 50.0]
        );
        assert_eq!(decades(0.5, 5e5).len(), 8);
        assert!(decades(7.0, 7.0).len() > 1);
    }

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escape("<a href=\"x\">&\n"), "&lt;a href=&quot;x&quot;&gt;&amp; ");
    }

    proptest! {
        #[test]
        fn any_points_make_a_plot_inside_its_frame(
            points in prop::collection::vec((-1e3..1e9f64, prop_oneof![Just(0.0), 1e-6..1e9f64]), 0..40),
            log: bool,
        ) {
            let scale = if log { Scale::Logarithmic } else { Scale::Linear };
            let series = [Mark::Line, Mark::Dots]
                .map(|mark| Series { name: "a", mark, points: points.clone() })
                .into();
            let plot = Plot {
                title: "t", x_label: "x", y_label: "y", x_scale: Scale::Linear, y_scale: scale, series,
            };
            let svg = plot.svg();
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
        }
    }
}
