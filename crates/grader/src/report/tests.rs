//! Reports that need no build: every verdict, and the limit on lines.

use std::time::Duration;

use course::{Region, Task, TaskId, TaskRegion};

use super::*;
use crate::outcome::{Failure, Place};
use crate::{Check, to_json};

fn task(number: u32) -> Task {
    let id = TaskId { lab: 1, task: number };
    let region = Region {
        name: id.region_prefix(),
        begin_line: 40,
        end_line: 44,
        indent: "    ".to_owned(),
        body: 0..0,
    };
    Task {
        id,
        title: format!("Title of task {number}"),
        points: 10 * number,
        files: vec!["src/paged.rs".into()],
        needs: Vec::new(),
        chapter: "lab-1/paged.md".into(),
        time_limit: Duration::from_secs(10),
        live_time_limit: Duration::from_secs(180),
        hints: ["a", "b", "c"].map(str::to_owned),
        regions: vec![TaskRegion { file: "src/paged.rs".into(), region }],
    }
}

fn graded(number: u32, verdict: Verdict, check: CheckVerdict) -> TaskReport {
    let path = format!("tests::task_1_{number}::task_1_{number}_evicts_the_oldest_block_first");
    let check = CheckReport {
        check: Check::of_path(&path).unwrap(),
        verdict: check,
        notes: vec!["continuous batching: 2.4 x the static baseline".to_owned(); 20],
        duration: Duration::from_millis(12),
    };
    TaskReport {
        task: task(number),
        verdict,
        checks: vec![check],
        region: Some(Place { file: "labs/01-triage/src/paged.rs".into(), line: 41 }),
        missing: Vec::new(),
        waits_for: Vec::new(),
        hints_shown: 1,
        live_key: None,
    }
}

/// A task with one live check, for tests elsewhere.
pub(crate) fn live_report(verdict: CheckVerdict, live_key: Option<String>) -> TaskReport {
    let mut graded = graded(2, Verdict::Pass, verdict);
    graded.checks[0].check = Check::of_path("tests::live::task_1_2_serves").unwrap();
    TaskReport { live_key, ..graded }
}

fn report() -> Report {
    let failure = Failure {
        message: (1..=9).map(|line| format!("message line {line}")).collect(),
        place: None,
        unsolved: None,
        timed_out: false,
        said_no: true,
    };
    let mut waiting = graded(4, Verdict::Wait, CheckVerdict::Pass);
    waiting.checks.clear();
    waiting.waits_for = vec![TaskId { lab: 1, task: 3 }];
    let mut passing = graded(1, Verdict::Pass, CheckVerdict::Pass);
    passing.checks[0].notes.truncate(1);
    let mut unknown =
        graded(2, Verdict::Unknown, CheckVerdict::Unknown("no space\nnowhere".into()));
    unknown.checks[0].notes.clear();
    Report {
        number: 1,
        id: "01-triage".to_owned(),
        title: "Performance triage".to_owned(),
        chapter: "lab-1/index.md".into(),
        solution: false,
        seed: 7,
        on: None,
        model: Some("SmolLM2-135M-Instruct.Q4_1".to_owned()),
        tasks: vec![
            passing,
            unknown,
            graded(3, Verdict::Fail, CheckVerdict::Fail(failure)),
            waiting,
        ],
        notes: vec!["a line about the run".to_owned()],
        compile_error: None,
        trouble: None,
        duration: Duration::from_secs(3),
        saved: true,
    }
}

#[test]
fn every_verdict_is_a_word_with_what_to_do() {
    insta::assert_snapshot!(render(&report(), Style::Plain));
}

#[test]
fn no_task_takes_more_than_fifteen_lines() {
    let text = render(&report(), Style::Plain);
    let task = text.lines().skip_while(|line| !line.contains("1.3 Title")).skip(1);
    assert_eq!(1 + task.take_while(|line| line.starts_with("      ")).count(), TASK_LINES);
}

/// A task of which one part is written, wrongly, and another stands as the starter has it.
fn half_written() -> TaskReport {
    let todo = Failure {
        message: vec!["not yet implemented: task 1.3".into()],
        place: Some(Place { file: "labs/01-triage/src/paged.rs".into(), line: 60 }),
        unsolved: Some(TaskId { lab: 1, task: 3 }),
        timed_out: false,
        said_no: true,
    };
    let wrong = Failure {
        message: vec!["the first of two took every request".into()],
        place: Some(Place { file: "labs/01-triage/src/paged.rs".into(), line: 41 }),
        unsolved: None,
        timed_out: false,
        said_no: true,
    };
    let mut task = graded(3, Verdict::Fail, CheckVerdict::Fail(todo));
    task.checks[0].notes.clear();
    for verdict in [CheckVerdict::Fail(wrong), CheckVerdict::Pass] {
        let next = CheckReport { verdict, ..task.checks[0].clone() };
        task.checks.push(next);
    }
    task
}

#[test]
fn what_is_written_is_told_before_what_is_not() {
    let mut report = report();
    report.tasks = vec![half_written()];
    insta::assert_snapshot!(render(&report, Style::Plain));
}

#[test]
fn an_unsolved_task_without_a_mistake_says_how_far_it_is() {
    let mut report = report();
    let mut task = half_written();
    task.checks.remove(1);
    report.tasks = vec![task];
    let text = render(&report, Style::Plain);
    assert!(
        text.contains("not solved yet: labs/01-triage/src/paged.rs:60     (1 of 2 checks hold)"),
        "{text}"
    );
    assert!(!text.contains("hint"), "{text}");
}

#[test]
fn colour_adds_nothing_but_codes() {
    let mut report = report();
    report.duration = Duration::ZERO;
    let coloured = anstream::adapter::strip_str(&render(&report, Style::Coloured)).to_string();
    assert_eq!(coloured.replace("   0.0 s", ""), render(&report, Style::Plain));
}

#[test]
fn points_without_a_verdict_are_left_out() {
    let score = report().score();
    assert_eq!((score.points, score.of, score.unknown), (10, 80, 20));
}

#[test]
fn the_status_is_the_learners_before_the_machines() {
    let mut report = report();
    assert_eq!(report.exit_status(), 1);
    report.tasks.truncate(2);
    assert_eq!(report.exit_status(), 2);
    report.tasks.truncate(1);
    assert_eq!(report.exit_status(), 0);
}

#[test]
fn the_schema_for_programs_is_stable() {
    let json: serde_json::Value = serde_json::from_str(&to_json(&report())).unwrap();
    insta::assert_snapshot!(format!("{json:#}"));
}
