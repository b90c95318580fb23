//! The report as programs read it: one JSON object.
//!
//! The schema is stable: within version 1 fields are only added. Times are in milliseconds, lines count from 1,
//! verdicts are `PASS`, `FAIL`, `UNKNOWN` and `WAIT`, those of checks also `NOT_RUN`.

use serde::Serialize;
use serde_json::{Value, json};

use crate::outcome::{CheckReport, CheckVerdict, Place};
use crate::{Report, TaskReport, Verdict};

/// Version of the schema.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Json<'r> {
    schema: u32,
    lab: Value,
    source: &'static str,
    seed: u64,
    model: Option<&'r str>,
    on: Option<&'r str>,
    verdict: &'static str,
    exit_status: u8,
    score: Value,
    duration_ms: u64,
    saved: bool,
    tasks: Vec<JsonTask<'r>>,
    compile_error: Option<Value>,
    trouble: Option<&'r str>,
    notes: &'r [String],
    next: Option<Value>,
}

#[derive(Serialize)]
struct JsonTask<'r> {
    id: String,
    title: &'r str,
    verdict: Verdict,
    points: u32,
    of: u32,
    /// Its `todo!` is still there.
    unsolved: bool,
    needs: Vec<String>,
    hints_shown: usize,
    missing: &'r [std::path::PathBuf],
    checks: Vec<JsonCheck<'r>>,
}

#[derive(Serialize)]
struct JsonCheck<'r> {
    name: &'r str,
    sentence: String,
    kind: &'static str,
    verdict: &'static str,
    duration_ms: u64,
    message: Vec<String>,
    place: Option<&'r Place>,
    notes: &'r [String],
}

/// The report as one JSON object, without a line break at its end.
#[must_use]
pub fn to_json(report: &Report) -> String {
    let score = report.score();
    let status = report.exit_status();
    let json = Json {
        schema: SCHEMA,
        lab: json!({ "number": report.number, "id": report.id, "title": report.title }),
        source: if report.solution { "solution" } else { "learner" },
        seed: report.seed,
        model: report.model.as_deref(),
        on: report.on.as_deref(),
        verdict: ["PASS", "FAIL", "UNKNOWN"][usize::from(status).min(2)],
        exit_status: status,
        score: json!({ "points": score.points, "of": score.of, "unknown": score.unknown }),
        duration_ms: milliseconds(report.duration),
        saved: report.saved,
        tasks: report.tasks.iter().map(task).collect(),
        compile_error: report
            .compile_error
            .as_ref()
            .map(|error| json!({ "text": error.text, "place": error.place, "count": error.count })),
        trouble: report.trouble.as_deref(),
        notes: &report.notes,
        next: report.next().map(|task| {
            let (id, chapter) = (task.task.id.to_string(), &task.task.chapter);
            json!({ "task": id, "place": task.place(), "chapter": chapter })
        }),
    };
    serde_json::to_string(&json)
        .unwrap_or_else(|error| json!({ "error": error.to_string() }).to_string())
}

fn task(task: &TaskReport) -> JsonTask<'_> {
    JsonTask {
        id: task.task.id.to_string(),
        title: &task.task.title,
        verdict: task.verdict,
        points: if task.verdict == Verdict::Pass { task.task.points } else { 0 },
        of: task.task.points,
        unsolved: task.unsolved(),
        needs: task.task.needs.iter().map(ToString::to_string).collect(),
        hints_shown: task.hints_shown,
        missing: &task.missing,
        checks: task.checks.iter().map(check).collect(),
    }
}

fn check(report: &CheckReport) -> JsonCheck<'_> {
    let lines = |text: &str| text.lines().map(str::to_owned).collect();
    let (verdict, message, place) = match &report.verdict {
        CheckVerdict::Pass => ("PASS", Vec::new(), None),
        CheckVerdict::Fail(failure) => ("FAIL", failure.message.clone(), failure.place.as_ref()),
        CheckVerdict::Unknown(reason) => ("UNKNOWN", lines(reason), None),
        CheckVerdict::NotRun(reason) => ("NOT_RUN", lines(reason), None),
    };
    JsonCheck {
        name: &report.check.path,
        sentence: report.check.sentence(),
        kind: if report.check.live { "live" } else { "pure" },
        verdict,
        duration_ms: milliseconds(report.duration),
        message,
        place,
        notes: &report.notes,
    }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
