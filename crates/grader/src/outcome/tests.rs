//! What is made of how a check ended and of what it printed.

use course::TaskId;

use super::*;
use crate::sandbox::Capture;

const PASSED: &str = "\nrunning 2 tests\ntest a ... ok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; \
                      0 measured; 9 filtered out; finished in 0.00s\n\n";
const PANIC: &str = "\nthread 'main' (7) panicked at labs/01-triage/src/tests/task_1_3.rs:9:5:\nthe second \
                     step\nexpected 3 running\nsaw 2 running\nnote: run with `RUST_BACKTRACE=1` environment\n";

fn check() -> Check {
    Check::of_path("tests::task_1_3::task_1_3_fills").unwrap()
}

fn context() -> RunContext {
    RunContext {
        learner_files: vec!["labs/01-triage/src/continuous.rs".into()],
        sentinel: Some(Sentinel { path: "tests::zz".into(), says: "the end 42".into() }),
        ..RunContext::default()
    }
}

fn verdict_of(check: &Check, ending: Ending, stdout: &str, stderr: &str) -> CheckVerdict {
    let limits = Limits::pure(Duration::from_secs(3));
    let contained = Contained {
        ending,
        stdout: Capture::whole(stdout),
        stderr: Capture::whole(stderr),
        duration: Duration::ZERO,
        own: Duration::from_millis(400),
        ran: Duration::ZERO,
        strays: 0,
    };
    judge(check, &limits, &contained, &context())
}

fn verdict(ending: Ending, stdout: &str, stderr: &str) -> CheckVerdict {
    verdict_of(&check(), ending, stdout, stderr)
}

fn failure(ending: Ending, stdout: &str, stderr: &str) -> Failure {
    match verdict(ending, stdout, stderr) {
        CheckVerdict::Fail(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pass_needs_status_summary_and_sentinel() {
    assert_eq!(verdict(Ending::Exited(0), PASSED, "\nthe end 42\n"), CheckVerdict::Pass);
    for (stdout, stderr) in [(PASSED, ""), ("", "the end 42\n"), (PASSED, "the end 41\n")] {
        let failure = failure(Ending::Exited(0), stdout, stderr);
        assert!(failure.message[0].contains("before the check was over"), "{failure:?}");
    }
}

#[test]
fn something_printed_after_the_harness_is_not_its_last_word() {
    let stdout = format!("{PASSED}and on\n");
    assert_ne!(verdict(Ending::Exited(0), &stdout, "the end 42\n"), CheckVerdict::Pass);
}

#[test]
fn a_panic_tells_what_was_expected_and_seen() {
    let failure = failure(Ending::Exited(101), "", PANIC);
    assert_eq!(failure.message, ["the second step", "expected 3 running", "saw 2 running"]);
    assert_eq!(failure.place, None, "the check is not the learner's code");
    assert_eq!(failure.unsolved, None);
    assert!(failure.said_no);
}

#[test]
fn a_todo_is_a_task_that_is_not_solved_yet() {
    let stderr = "thread '<unnamed>' (7) panicked at labs/01-triage/src/continuous.rs:55:9:\n\
                  not yet implemented: task 1.3\n\nthread 'main' (6) panicked at x.rs:1:1:\na thread died\n";
    let failure = failure(Ending::Exited(101), "", stderr);
    assert_eq!(failure.unsolved, Some(TaskId { lab: 1, task: 3 }));
    assert_eq!(failure.place.unwrap().to_string(), "labs/01-triage/src/continuous.rs:55");
}

#[test]
fn trouble_that_a_check_reports_is_no_failure() {
    let unknown = CheckVerdict::Unknown("no memory".to_owned());
    assert_eq!(verdict(Ending::Exited(101), "", "LAB_UNKNOWN: no memory\n"), unknown);
}

#[test]
fn a_check_that_nobody_waits_for_any_longer_has_no_verdict() {
    let live = Check::of_path("tests::live::task_1_3_is_faster").unwrap();
    for check in [check(), live] {
        let verdict = verdict_of(&check, Ending::WallLimit, "", "");
        let CheckVerdict::Unknown(reason) = verdict else { panic!("{verdict:?}") };
        assert!(reason.contains("within 120 s, in which the machine gave it 0.4 of its own 3 s"));
    }
}

#[test]
fn a_check_that_used_up_its_own_time_is_the_learners_loop_or_wait() {
    let failure = failure(Ending::TimeLimit, "", "");
    assert!(failure.timed_out && !failure.said_no);
    assert!(failure.message[0].contains("within 3 s. It hardly computed"), "{failure:?}");
}

#[test]
fn every_violent_end_is_named() {
    let ends = [
        (Ending::Signal("SIGABRT".into()), "thread 'main' has overflowed its stack\n", "recursion"),
        (Ending::Signal("SIGABRT".into()), "memory allocation of 9 bytes failed\n", "memory"),
        (Ending::Signal("SIGSEGV".into()), "", "SIGSEGV"),
        (Ending::TooManyProcesses(70), "", "70 processes (limit 64)"),
        (Ending::Flood(40 << 20), "", "40 MiB (limit 32 MiB)"),
        (Ending::SupervisorKilled, "", "watches over it"),
        (Ending::Exited(3), "", "status 3"),
    ];
    for (ending, stderr, word) in ends {
        let failure = failure(ending, "", stderr);
        assert!(failure.message[0].contains(word) && !failure.said_no, "{failure:?}");
    }
}

#[test]
fn long_messages_are_cut() {
    let long = "line\n".repeat(30);
    let stderr = format!("thread 'main' (7) panicked at x.rs:1:1:\n{long}");
    let failure = failure(Ending::Exited(101), "", &stderr);
    assert_eq!(failure.message.len(), MESSAGE_LINES);
    assert_eq!(failure.message.last().unwrap(), "... 22 more lines");
}
