//! The report as people read it: a line a task, and under it what to know and what to do next.
//!
//! Words carry the meaning. Colour is in the text as escape codes; whoever prints it drops them where there is no
//! terminal.

use std::fmt::Write;

use anstyle::{AnsiColor, Style as Colour};

use crate::outcome::{CheckReport, CheckVerdict};
use crate::{CompileError, Report, TaskReport, Verdict};

/// Width of the line of a task.
const WIDTH: usize = 66;
/// Most lines of a reason for no verdict.
const REASON_LINES: usize = 8;
/// Most lines of a task, all told.
const TASK_LINES: usize = 15;

/// How a report is dressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// With colours.
    Coloured,
    /// Without, and without times, which differ from run to run: for snapshots.
    Plain,
}

const GREEN: Colour = AnsiColor::Green.on_default().bold();
const RED: Colour = AnsiColor::Red.on_default().bold();
const YELLOW: Colour = AnsiColor::Yellow.on_default().bold();
const BOLD: Colour = Colour::new().bold();
const DIM: Colour = Colour::new().dimmed();

/// The whole report.
#[must_use]
pub fn render(report: &Report, style: Style) -> String {
    let mut page = Page { text: String::new(), style };
    page.head(report);
    if let Some(error) = &report.compile_error {
        page.raw(&render_compile_error(error));
        page.line("");
        page.line(
            "It does not compile yet, so nothing was graded. Mend the first error, then run again.",
        );
    } else if let Some(trouble) = &report.trouble {
        page.line(&format!(
            " {}  no verdict, and it costs nothing:",
            page.paint(YELLOW, "UNKNOWN")
        ));
        trouble.lines().for_each(|line| page.detail(line));
    } else {
        report.tasks.iter().for_each(|task| page.task(report, task));
        page.score(report);
    }
    for note in &report.notes {
        page.line(&format!("note: {note}"));
    }
    page.next(report);
    page.text
}

/// rustc's message, as the report shows it.
#[must_use]
pub fn render_compile_error(error: &CompileError) -> String {
    match error.count {
        1 => error.text.clone(),
        count => format!("{}\n... and {} more errors", error.text, count - 1),
    }
}

struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn paint(&self, colour: Colour, text: &str) -> String {
        match self.style {
            Style::Coloured => format!("{colour}{text}{colour:#}"),
            Style::Plain => text.to_owned(),
        }
    }

    fn line(&mut self, line: &str) {
        let _cannot_fail = writeln!(self.text, "{line}");
    }

    fn raw(&mut self, text: &str) {
        text.lines().for_each(|line| self.line(line));
    }

    /// A line under a task.
    fn detail(&mut self, line: &str) {
        self.line(format!("         {line}").trim_end());
    }

    fn head(&mut self, report: &Report) {
        let mut facts = Vec::new();
        if report.solution {
            facts.push("the reference solution".to_owned());
        }
        if let Some(model) = &report.model {
            facts.push(format!("model: {model}"));
        }
        if let Some(on) = &report.on {
            facts.push(format!("on: {on}"));
        }
        facts.push(format!("seed {}", report.seed));
        if self.style == Style::Coloured {
            facts.push(format!("{:.1} s", report.duration.as_secs_f64()));
        }
        let title = format!("Lab {}  {}", report.number, report.title);
        let title = self.paint(BOLD, &title);
        self.line(&format!("{title}    {}", facts.join("   ")));
    }

    fn task(&mut self, report: &Report, task: &TaskReport) {
        let begins = self.text.lines().count();
        let (colour, points) = match task.verdict {
            Verdict::Pass => (GREEN, format!("{0}/{0}", task.task.points)),
            Verdict::Fail => (RED, format!("0/{}", task.task.points)),
            Verdict::Wait => (DIM, format!("0/{}", task.task.points)),
            Verdict::Unknown => (YELLOW, format!("-/{}", task.task.points)),
        };
        let word = self.paint(colour, &format!("{:7}", task.verdict.word()));
        let name = format!("{} {}", task.task.id, task.task.title);
        let room = WIDTH.saturating_sub(10 + points.len());
        self.line(&format!(" {word} {name:room$} {points}"));
        match task.verdict {
            Verdict::Pass => {}
            Verdict::Wait => {
                let needs: Vec<String> = task.waits_for.iter().map(ToString::to_string).collect();
                self.detail(&format!("needs {}", needs.join(" and ")));
            }
            Verdict::Unknown => self.unknown(task),
            Verdict::Fail => self.failure(report, task),
        }
        let room = (begins + TASK_LINES).saturating_sub(self.text.lines().count());
        let notes = task.checks.iter().flat_map(|check| &check.notes).take(room);
        notes.for_each(|note| self.detail(&self.paint(DIM, note)));
    }

    fn unknown(&mut self, task: &TaskReport) {
        let Some(CheckReport { check, verdict: CheckVerdict::Unknown(reason), .. }) =
            task.telling()
        else {
            self.detail("no verdict: not every check was run");
            return;
        };
        self.detail(&format!("no verdict on \"{}\", and it costs nothing:", check.sentence()));
        reason.lines().take(REASON_LINES).for_each(|line| self.detail(line));
    }

    fn failure(&mut self, report: &Report, task: &TaskReport) {
        let id = task.task.id;
        let lab = report.number;
        if !task.missing.is_empty() {
            let missing: Vec<String> =
                task.missing.iter().map(|file| file.display().to_string()).collect();
            self.detail(&format!("missing: {}", missing.join(", ")));
            self.detail(&format!(
                "next: cargo xtask lab {lab} reset {id}     (the starter's version)"
            ));
            return;
        }
        let place = task.place().map(ToString::to_string);
        let wrong = task.wrong().count();
        if task.unsolved() {
            self.unsolved(task, wrong);
        }
        let (Some(check), Some(failure), 1..) = (task.telling(), task.failure(), wrong) else {
            return;
        };
        let which = match (wrong, task.checks.len(), task.unsolved()) {
            (1, _, false) => String::new(),
            (1, _, true) => "what is written fails a check: ".to_owned(),
            (failed, all, false) => format!("{failed} of {all} checks fail; the first: "),
            (failed, _, true) => format!("what is written fails {failed} checks; the first: "),
        };
        self.detail(&format!("{which}{}", self.paint(BOLD, &check.check.sentence())));
        match failure.unsolved {
            Some(other) => {
                self.detail(&format!("it runs into task {other}, which is not solved yet"))
            }
            None => failure.message.iter().for_each(|line| self.detail(&format!("  {line}"))),
        }
        if let Some(place) = place {
            self.detail(&format!("your code: {}", self.paint(BOLD, &place)));
        }
        self.detail(&match task.hints_shown {
            shown if shown < task.task.hints.len() => {
                let of = task.task.hints.len();
                format!("next: cargo xtask lab {lab} hint {id}        ({} of {of})", shown + 1)
            }
            _ => format!("next: cargo xtask lab {lab} solution {id}    (all hints are shown)"),
        });
    }

    /// Where the next `todo!` is, and how far the learner is in a task of several parts.
    fn unsolved(&mut self, task: &TaskReport, wrong: usize) {
        let place = task.unsolved_at().map(ToString::to_string).unwrap_or_default();
        let so_far = match (task.hold(), wrong) {
            (0, 0) => String::new(),
            (hold, _) => format!("     ({hold} of {} checks hold)", task.checks.len()),
        };
        self.detail(&format!("not solved yet: {place}{so_far}"));
    }

    fn score(&mut self, report: &Report) {
        let score = report.score();
        let saved = if report.saved { ", saved" } else { "" };
        let left_out = match score.unknown {
            0 => String::new(),
            points => format!(" {points} points without a verdict are left out."),
        };
        let calm = match report.tasks.iter().any(TaskReport::unsolved) {
            true => " Unsolved tasks are normal on a first run.",
            false => "",
        };
        self.line(&format!("Score {}/{}{saved}.{left_out}{calm}", score.points, score.of));
    }

    fn next(&mut self, report: &Report) {
        if let Some(place) = report.compile_error.as_ref().and_then(|error| error.place.as_ref()) {
            self.line(&format!("next: {place}"));
            return;
        }
        let Some(task) = report.next().filter(|_| !report.solution) else { return };
        let id = task.task.id;
        let place = task.place().filter(|_| task.missing.is_empty());
        let place = place.map_or(String::new(), |place| format!(" at {place}"));
        self.line(&format!("next: {id} {}{place}", task.task.title));
        self.line(&format!("      read book/src/{}", task.task.chapter.display()));
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::live_report;
