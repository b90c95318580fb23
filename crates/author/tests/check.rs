//! `author check` on a small course: silent about a sound lab, and precise about each fault put into it.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use author::{CheckOptions, LabSummary, check, exit_status, sync};
use common::Fixture;
use course::TaskId;
use grader::Stop;

const SOLUTION: &str = "solutions/01-fixture/src";
const MUTANTS: &str = "solutions/01-fixture/mutants";

/// Syncs and checks; returns the summary and all that was printed.
fn prove(fixture: &Fixture, seeds: u64, repeats: usize) -> (LabSummary, String) {
    prove_tasks(fixture, &[], seeds, repeats)
}

fn prove_tasks(
    fixture: &Fixture,
    tasks: &[TaskId],
    seeds: u64,
    repeats: usize,
) -> (LabSummary, String) {
    prove_with(fixture, |options| {
        (options.tasks, options.seeds, options.repeats) = (tasks.to_vec(), seeds, repeats);
    })
}

/// The same, with the least of everything but for what `set` sets.
fn prove_with(fixture: &Fixture, set: impl FnOnce(&mut CheckOptions)) -> (LabSummary, String) {
    let course = fixture.course();
    sync::write(&course, &sync::compare(&course).unwrap(), false).unwrap();
    let target = fixture.path("target/build");
    let (lab, tasks, seeds, repeats, apart, quiet) = (None, Vec::new(), 1, 1, false, true);
    let mut options = CheckOptions { lab, tasks, seeds, repeats, apart, target, quiet };
    set(&mut options);
    let mut out = Vec::new();
    let mut summaries = check(&course, &options, &Stop::new(), &mut out).unwrap();
    let printed = String::from_utf8(out).unwrap();
    (summaries.pop().unwrap(), printed)
}

fn findings(summary: &LabSummary) -> Vec<String> {
    summary.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_sound_lab_holds_every_proof() {
    let (summary, printed) = prove(&Fixture::new(), 2, 2);
    assert_eq!(findings(&summary), Vec::<String>::new(), "{printed}");
    assert_eq!(exit_status(&[summary]), 0);
    let table = printed.split_once("\nLab 1").unwrap().1;
    insta::assert_snapshot!(table);
    // Each mutant's line names the check that rejects it. One that no check rejects by its own word is tried alone, too.
    let of = |mutant| printed.lines().filter(move |line| line.contains(mutant)).collect::<Vec<_>>();
    let [shift] = of("mutant 1.2 divides_by_one_more")[..] else { panic!("{printed}") };
    assert!(shift.starts_with(" ok ") && shift.contains("rejected by \""), "{shift}");
    let [odd, hang] = of("mutant 1.2 loops_forever")[..] else { panic!("{printed}") };
    assert!(odd.starts_with(" apart ") && odd.contains("had no say: time limit"), "{odd}");
    assert!(hang.contains("rejected by \"has none of nothing\""), "{hang}");
    let together = " ok    12 variants of 1.1, 1.2: one program, which is the solution while none ";
    assert!(printed.contains(together), "{printed}");
}

#[test]
fn mutants_alone_and_mutants_together_are_told_the_same_of() {
    let fixture = Fixture::new();
    // It changes more than the body of a function.
    fixture.write(
        &format!("{MUTANTS}/1.2/another_name.patch"),
        "Why.\n--- a/src/average.rs\n+++ b/src/average.rs\n@@ -7,6 +7,5 @@\n-pub fn average(tally: &Tally) -> \
         Option<u64> {\n+pub fn average(seen: &Tally) -> Option<u64> {\n     // ANCHOR: task_1_2\n-    let \
         count = tally.count();\n-    tally.sum().checked_div(count)\n+    Some(seen.sum())\n     // \
         ANCHOR_END: task_1_2\n }\n",
    );
    let killed = |apart| {
        let (summary, printed) = prove_with(&fixture, |options| {
            (options.tasks, options.apart) = (vec![TaskId { lab: 1, task: 2 }], apart);
        });
        assert_eq!(findings(&summary), Vec::<String>::new(), "{printed}");
        let rejected = |line: &&str| line.starts_with(" ok    mutant ");
        let name = |line: &str| line.split_once(':').map(|(name, _)| name.to_owned());
        let mut names: Vec<_> = printed.lines().filter(rejected).filter_map(name).collect();
        names.sort();
        (names, printed)
    };
    let ((together, said), (alone, said_alone)) = (killed(false), killed(true));
    assert_eq!(together, alone);
    assert_eq!(together.len(), 6);
    let why =
        " apart mutant 1.2 another_name: src/average.rs changes more than bodies of functions";
    assert!(said.contains(why) && said.contains("6 variants of 1.2: one program"), "{said}");
    assert!(!said_alone.contains(" apart ") && !said_alone.contains("one program"), "{said_alone}");
}

#[test]
fn a_mutant_that_does_not_compile_is_named_and_the_others_are_tried_without_it() {
    let fixture = Fixture::new();
    fixture.write(
        &format!("{MUTANTS}/1.1/adds_words.patch"),
        "Why.\n--- a/src/tally.rs\n+++ b/src/tally.rs\n@@ -14,3 +14,3 @@\n         // ANCHOR: task_1_1\n         \
         self.count += 1;\n-        self.sum += value;\n+        self.sum += \"value\";\n",
    );
    let (summary, printed) = prove_with(&fixture, |_| {});
    let [finding] = &findings(&summary)[..] else { panic!("{printed}") };
    assert!(finding.starts_with("mutant 1.1 adds_words does not compile:\nerror"), "{finding}");
    assert_eq!((summary.tasks[0].killed, summary.tasks[0].mutants), (5, 6), "{printed}");
    // Those of the other task are still tried in one program.
    let built = " ok    6 variants of 1.2: one program";
    let not = |of| format!(" apart {of}: a program of all was not built: error");
    let said = [not("13 variants of 1.1, 1.2"), not("7 variants of 1.1"), built.to_owned()];
    assert!(said.iter().all(|line| printed.contains(line.as_str())), "{printed}");
}

#[test]
fn one_task_is_proved_alone() {
    let fixture = Fixture::new();
    // Both are wrong; only the second is asked about.
    fixture.write(&format!("{MUTANTS}/1.1/survivor.patch"), "Why.\n");
    let two = TaskId { lab: 1, task: 2 };
    let (summary, printed) = prove_tasks(&fixture, &[two], 2, 1);
    assert_eq!(summary.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [two]);
    assert!(summary.tasks[0].red_on_starter && summary.tasks[0].killed >= 5, "{printed}");
    assert!(!printed.contains("mutant 1.1") && !printed.contains("only 1.1"), "{printed}");
    assert_eq!(findings(&summary), Vec::<String>::new(), "{printed}");

    let course = fixture.course();
    let (lab, tasks) = (None, vec![TaskId { lab: 1, task: 9 }]);
    let target = fixture.path("target/build");
    let options =
        CheckOptions { lab, tasks, seeds: 1, repeats: 1, apart: false, target, quiet: true };
    let error = check(&course, &options, &Stop::new(), &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "there is no task 1.9 to check");
}

#[test]
fn each_fault_is_found_and_named() {
    let fixture = Fixture::new();
    // A task that is green without its code: its only real work is given.
    fixture.edit(
        &format!("{SOLUTION}/average.rs"),
        "    // ANCHOR: task_1_2\n    let count = tally.count();\n    tally.sum().checked_div(count)\n    // ANCHOR_END: task_1_2\n",
        "    if tally.sum() == u64::MAX {\n        // ANCHOR: task_1_2\n        return None;\n        // ANCHOR_END: task_1_2\n    }\n    let count = tally.count();\n    tally.sum().checked_div(count)\n",
    );
    // A check that runs another task's code without saying so.
    fixture.edit("solutions/01-fixture/lab.toml", "needs = [\"1.1\"]\n", "");
    std::fs::remove_file(fixture.path("book/src/lab-1/average.md")).unwrap();
    // Wrong answers that nothing rejects, that are out of date, that do not compile, that are none.
    let tally = |with: &str| {
        format!(
            "Why.\n--- a/src/tally.rs\n+++ b/src/tally.rs\n@@ -14,3 +14,3 @@\n         // ANCHOR: task_1_1\n         self.count += 1;\n-        self.sum += value;\n+        {with}\n"
        )
    };
    let mutant =
        |name: &str, text: &str| fixture.write(&format!("{MUTANTS}/1.1/{name}.patch"), text);
    mutant("survivor", &tally("self.sum = value + self.sum;"));
    mutant("not_rust", &tally("self.sum += ;"));
    mutant("out_of_date", &tally("self.sum += 0;").replace("self.count += 1;", "self.count += 3;"));
    mutant("silent", tally("self.sum += 0;").strip_prefix("Why.\n").unwrap());
    fixture.write(&format!("{MUTANTS}/nobodys.patch"), &tally("self.sum += 0;"));

    let (summary, printed) = prove(&fixture, 1, 1);
    assert_eq!(summary.exit_status(), 1);
    // What rustc says in the lines after the first is its own affair.
    let told = findings(&summary);
    let first_lines: Vec<&str> = told.iter().filter_map(|text| text.lines().next()).collect();
    insta::assert_snapshot!(first_lines.join("\n"));
    assert_eq!(printed.matches("WRONG").count(), summary.findings.len(), "{printed}");
}

#[test]
fn a_flaky_check_and_one_that_dislikes_a_seed_are_told_apart() {
    let fixture = Fixture::new();
    let checks = format!("{SOLUTION}/tests/task_1_1.rs");
    let extra = r#"
#[test]
fn task_1_1_tosses_a_coin() {
    use std::hash::{BuildHasher, RandomState};
    assert!(std::env::var("LAB_SEED").unwrap() != "7" || RandomState::new().hash_one(0) % 4 > 0);
}

#[test]
fn task_1_1_dislikes_two() {
    assert_ne!(std::env::var("LAB_SEED").unwrap(), "2");
}
"#;
    fixture.write(&checks, &(fixture.read(&checks) + extra));
    let (summary, printed) = prove(&fixture, 3, 60);
    let found = findings(&summary);
    let flaky = "task_1_1_tosses_a_coin is flaky: ";
    let seed = "task_1_1_dislikes_two fails on the solution with seed 2: ";
    // The coin may already fall badly in the very first run.
    let coin = |line: &&String| line.starts_with(flaky) || line.contains("tosses_a_coin fails");
    assert_eq!(found.iter().filter(coin).count(), 1, "{printed}");
    assert_eq!(found.iter().filter(|line| line.starts_with(seed)).count(), 1, "{printed}");
    assert_eq!(found.len(), 2, "{printed}");
}

#[test]
fn a_solution_that_does_not_compile_or_pass_is_said_first() {
    let fixture = Fixture::new();
    fixture.edit(&format!("{SOLUTION}/tally.rs"), "self.count += 1;", "self.count += one;");
    let (summary, _) = prove(&fixture, 1, 1);
    let [finding] = &findings(&summary)[..] else { panic!("{:?}", summary.findings) };
    assert!(finding.starts_with("the solution does not compile:\nerror"), "{finding}");
    assert!(finding.contains("labs/01-fixture/src/tally.rs:15"), "{finding}");
}

#[test]
fn a_starter_that_is_out_of_date_is_named() {
    let fixture = Fixture::new();
    fixture.edit(&format!("{SOLUTION}/tally.rs"), "self.count += 1;", "self.count += one;");
    let course = fixture.course();
    let target = fixture.path("target/build");
    let (lab, tasks) = (Some(1), Vec::new());
    let options =
        CheckOptions { lab, tasks, seeds: 0, repeats: 1, apart: false, target, quiet: true };
    let summaries = check(&course, &options, &Stop::new(), &mut Vec::new()).unwrap();
    let first = findings(&summaries[0]).swap_remove(0);
    assert_eq!(first, "labs/01-fixture/Cargo.toml is out of date: run `cargo xtask author sync`");
}
