//! The process runner, on real processes: what they print and use, and that none outlives its run.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bench::{BenchError, Process, Task, run};
use common::{LONG, assert_gone, ids};
use grader::Stop;

const SHORT: Duration = Duration::from_millis(300);

fn shell(script: &str, limit: Duration) -> Task {
    Task::new("sh", limit).args(["-c", script])
}

/// A program with a child, both deaf to SIGTERM if `deaf`, that writes both their ids into a file and waits.
fn family(dir: &Path, deaf: bool) -> (String, PathBuf) {
    let file = dir.join("ids");
    let trap = if deaf { "trap '' TERM; " } else { "" };
    let script = format!(
        "{trap}sleep 600 & echo $$ $! > {0}.new; mv {0}.new {0}; wait; wait",
        file.display()
    );
    (script, file)
}

#[test]
fn a_run_tells_what_was_printed_and_used() {
    let done = run(&shell("echo figures; echo remarks >&2", LONG), &Stop::new()).unwrap();
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("figures\n", "remarks\n"));
    assert!(done.wall > Duration::ZERO && done.peak_rss_bytes > 100_000, "{done:?}");
}

#[test]
fn processor_time_counts_work_and_children_but_not_waiting() {
    let work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
    let used = |script: &str| run(&shell(script, LONG), &Stop::new()).unwrap().cpu();
    let waiting = used("sleep 0.2");
    assert!(used(work) > waiting, "work costs more than waiting");
    assert!(used(&format!("sh -c '{work}'; true")) > waiting, "a child's work counts");
}

#[test]
fn the_end_of_a_flood_is_kept() {
    let flood = "head -c 9000000 /dev/zero | tr '\\0' 'a'; echo; echo last";
    let done = run(&shell(flood, LONG), &Stop::new()).unwrap();
    assert!(done.stdout.ends_with("a\nlast\n"));
    assert!(done.stdout.len() <= 4 << 20);
}

#[test]
fn a_program_that_fails_is_quoted() {
    let error = run(&shell("echo 'no such model' >&2; exit 3", LONG), &Stop::new()).unwrap_err();
    insta::assert_snapshot!(error, @r"
    sh ended with exit status: 3; its output ends:
    no such model
    ");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let error = run(&Task::new("/no/such/peer", LONG), &Stop::new()).unwrap_err();
    assert_eq!(error.to_string(), "cannot start peer: No such file or directory (os error 2)");
}

#[test]
fn the_time_limit_ends_the_whole_group() {
    for deaf in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (script, file) = family(dir.path(), deaf);
        let error = run(&shell(&script, SHORT), &Stop::new()).unwrap_err();
        assert!(matches!(error, BenchError::TimeLimit { limit: SHORT, .. }), "{error}");
        assert_gone(&ids(&file));
    }
}

#[test]
fn a_stop_ends_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let (script, file) = family(dir.path(), true);
    let stop = Stop::new();
    let error = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&shell(&script, LONG), &stop).unwrap_err());
        ids(&file);
        stop.set();
        running.join().unwrap()
    });
    assert!(matches!(error, BenchError::Interrupted));
    assert_gone(&ids(&file));
}

#[test]
fn what_a_program_leaves_behind_is_ended_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ids");
    let script = format!("sleep 600 & echo $$ $! > {}", file.display());
    run(&shell(&script, LONG), &Stop::new()).unwrap();
    assert_gone(&ids(&file));
}

#[test]
fn a_dropped_process_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (script, file) = family(dir.path(), false);
    let process = Process::start(&shell(&script, LONG)).unwrap();
    let ids = ids(&file);
    drop(process);
    assert_gone(&ids);
}

#[test]
fn a_server_says_where_it_listens() {
    let script = "echo starting; echo 'listening on 127.0.0.1:4711'; sleep 600";
    let process = Process::start(&shell(script, LONG)).unwrap();
    let address = process.announced("listening on ", LONG, &Stop::new()).unwrap();
    assert_eq!(address, "127.0.0.1:4711");
}

#[test]
fn a_server_that_ends_before_it_listens_is_quoted() {
    let process = Process::start(&shell("echo 'port taken' >&2; exit 1", LONG)).unwrap();
    let error = process.announced("listening on ", LONG, &Stop::new()).unwrap_err();
    assert!(error.to_string().ends_with("port taken"), "{error}");
}

#[test]
fn a_program_answers_line_by_line_and_ends_with_the_questions() {
    let script = "n=0; while read -r _; do n=$((n+1)); echo $n; done; echo end";
    let stop = Stop::new();
    let mut process = Process::start(&shell(script, LONG).with_questions()).unwrap();
    assert_eq!(process.ask(LONG, &stop).unwrap(), "1");
    assert_eq!(process.ask(LONG, &stop).unwrap(), "2");
    assert_eq!(process.finish(&stop).unwrap().stdout, "1\n2\nend\n");
}

#[test]
fn a_program_that_does_not_answer_meets_its_limit() {
    let mut process =
        Process::start(&shell("read -r _; sleep 600", LONG).with_questions()).unwrap();
    let error = process.ask(SHORT, &Stop::new()).unwrap_err();
    assert!(matches!(error, BenchError::TimeLimit { limit: SHORT, .. }), "{error}");
}

#[test]
fn a_pinned_program_may_use_one_processor() {
    if !bench::can_pin() {
        return;
    }
    let done = run(&Task::new("nproc", LONG).on_core(0), &Stop::new()).unwrap();
    assert_eq!(done.stdout.trim(), "1");
}
