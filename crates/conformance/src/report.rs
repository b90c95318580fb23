//! Outcomes for people, and for programs.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::behaviour::Group;
use crate::runner::Outcome;
use crate::unmet::Unmet;

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// How many behaviours ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Held.
    pub passed: usize,
    /// Did not hold.
    pub failed: usize,
    /// Could not be asked.
    pub skipped: usize,
    /// Stopped or never started.
    pub interrupted: usize,
}

impl Tally {
    /// Counts `outcomes`.
    #[must_use]
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            *match &outcome.met {
                Ok(()) => &mut tally.passed,
                Err(Unmet::Fail { .. }) => &mut tally.failed,
                Err(Unmet::Skip(_)) => &mut tally.skipped,
                Err(Unmet::Interrupted) => &mut tally.interrupted,
            } += 1;
        }
        tally
    }
}

/// The lines of one outcome.
#[must_use]
pub fn lines(outcome: &Outcome) -> String {
    let (word, style) = word(&outcome.met);
    let mut text = format!(
        " {style}{word}{style:#}  {:<11} {}  ({})\n",
        outcome.group,
        outcome.sentence,
        rounded(outcome.took)
    );
    match &outcome.met {
        Err(Unmet::Fail { expected, seen }) => {
            text += &format!("       expected  {expected}\n       seen      {seen}\n");
            for exchange in &outcome.exchanges {
                let status =
                    exchange.status.map_or("no answer".to_owned(), |code| code.to_string());
                text += &format!("       {} {} -> {status}\n", exchange.method, exchange.target);
            }
        }
        Err(Unmet::Skip(why)) => text += &format!("       {why}\n"),
        Ok(()) | Err(Unmet::Interrupted) => {}
    }
    text
}

fn word(met: &Result<(), Unmet>) -> (&'static str, Style) {
    match met {
        Ok(()) => ("PASS", GREEN),
        Err(Unmet::Fail { .. }) => ("FAIL", RED),
        Err(Unmet::Skip(_)) => ("SKIP", YELLOW),
        Err(Unmet::Interrupted) => ("STOP", YELLOW),
    }
}

fn rounded(took: Duration) -> String {
    if took.as_secs() >= 1 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} ms", took.as_millis())
    }
}

/// The last line of a report.
#[must_use]
pub fn summary(tally: Tally, server: &str, took: Duration) -> String {
    let mut text = format!(
        "{} passed, {} failed, {} skipped against {server} in {}",
        tally.passed,
        tally.failed,
        tally.skipped,
        rounded(took)
    );
    if tally.interrupted > 0 {
        text += &format!(", {} not run", tally.interrupted);
    }
    text
}

/// Outcomes for a program.
#[must_use]
pub fn to_json(outcomes: &[Outcome], server: &str) -> Value {
    let tally = Tally::of(outcomes);
    let each = outcomes.iter().map(|outcome| {
        let mut row = json!({
            "group": outcome.group, "behaviour": outcome.sentence,
            "outcome": word(&outcome.met).0, "took_ms": outcome.took.as_millis() as u64,
        });
        match &outcome.met {
            Err(Unmet::Fail { expected, seen }) => {
                row["expected"] = json!(expected);
                row["seen"] = json!(seen);
                row["exchanges"] = json!(outcome.exchanges);
            }
            Err(Unmet::Skip(why)) => row["reason"] = json!(why),
            Ok(()) | Err(Unmet::Interrupted) => {}
        }
        row
    });
    json!({
        "server": server, "passed": tally.passed, "failed": tally.failed,
        "skipped": tally.skipped, "interrupted": tally.interrupted,
        "behaviours": each.collect::<Vec<_>>(),
    })
}

/// All groups with their sentences.
#[must_use]
pub fn list(groups: &[Group]) -> String {
    let mut text = String::new();
    for group in groups {
        text += &format!("{}: {} ({})\n", group.name, group.about, group.behaviours.len());
        for behaviour in group.behaviours {
            text += &format!("    {}\n", behaviour.sentence);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Exchange;

    fn outcome(met: Result<(), Unmet>) -> Outcome {
        Outcome {
            group: "versions",
            sentence: "a stale replace is refused with 409",
            met,
            took: Duration::from_millis(12),
            exchanges: vec![Exchange {
                method: "PUT".into(),
                target: "/api/v1/namespaces/a/configmaps/b".into(),
                status: Some(200),
            }],
        }
    }

    #[test]
    fn a_failure_says_what_was_expected_seen_and_asked() {
        let text = lines(&outcome(Err(Unmet::fail("409 Conflict", "200 {}"))));
        let plain = anstream::adapter::strip_str(&text).to_string();
        insta::assert_snapshot!(plain, @r"
         FAIL  versions    a stale replace is refused with 409  (12 ms)
               expected  409 Conflict
               seen      200 {}
               PUT /api/v1/namespaces/a/configmaps/b -> 200
        ");
    }

    #[test]
    fn a_tally_counts_each_outcome_once() {
        let outcomes =
            [Ok(()), Err(Unmet::fail("a", "b")), Err(Unmet::Skip("no node".into()))].map(outcome);
        let tally = Tally::of(&outcomes);
        assert_eq!(tally, Tally { passed: 1, failed: 1, skipped: 1, interrupted: 0 });
        let json = to_json(&outcomes, "v1");
        assert_eq!(json["behaviours"][1]["outcome"], "FAIL");
        assert_eq!(json["behaviours"][2]["reason"], "no node");
    }
}
