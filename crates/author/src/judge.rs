//! From the verdicts on a variant of a lab to what is wrong with the lab. Pure.

use std::collections::BTreeSet;

use course::{Lab, TaskId};
use grader::{Check, CheckReport, CheckVerdict};

use crate::Finding;
use crate::mutants::Mutant;

/// Checks without a say after which a mutant of a program that holds many is given up there.
const ODD: usize = 2;

/// The tasks of which at least one check failed.
pub(crate) fn red(reports: &[CheckReport]) -> BTreeSet<TaskId> {
    reports.iter().filter(|report| failed(report)).map(|report| report.check.task).collect()
}

pub(crate) fn failed(report: &CheckReport) -> bool {
    matches!(report.verdict, CheckVerdict::Fail(_))
}

/// First line of a failure, or the reason why there is no verdict.
fn why(verdict: &CheckVerdict) -> String {
    match verdict {
        CheckVerdict::Fail(failure) => failure.message.join("; "),
        CheckVerdict::Unknown(reason) | CheckVerdict::NotRun(reason) => reason.clone(),
        CheckVerdict::Pass => String::new(),
    }
}

/// Checks without a verdict.
pub(crate) fn unknown(variant: &str, reports: &[CheckReport]) -> Vec<Finding> {
    let unknown = |report: &&CheckReport| {
        matches!(report.verdict, CheckVerdict::Unknown(_) | CheckVerdict::NotRun(_))
    };
    let finding = |report: &CheckReport| Finding::Unknown {
        variant: format!("{} on {variant}", report.check.function()),
        reason: why(&report.verdict),
    };
    reports.iter().filter(unknown).map(finding).collect()
}

/// Every check has to pass on the solution, whatever the seed.
pub(crate) fn solution(seed: u64, reports: &[CheckReport]) -> Vec<Finding> {
    let finding = |report: &CheckReport| Finding::RedSolution {
        check: report.check.function().to_owned(),
        seed,
        why: why(&report.verdict),
    };
    reports.iter().filter(|report| failed(report)).map(finding).collect()
}

/// Every task has to fail on the starter.
pub(crate) fn starter(lab: &Lab, reports: &[CheckReport]) -> Vec<Finding> {
    let red = red(reports);
    let green = lab.tasks.iter().filter(|task| !red.contains(&task.id));
    green.map(|task| Finding::GreenStarter(task.id)).collect()
}

/// The tasks that cannot be solved without `id`: those that need it, and those that need these.
pub(crate) fn dependents(lab: &Lab, id: TaskId) -> BTreeSet<TaskId> {
    let mut found = BTreeSet::new();
    // Tasks only need earlier ones, so that one pass in order is enough.
    for task in &lab.tasks {
        if task.needs.iter().any(|need| *need == id || found.contains(need)) {
            found.insert(task.id);
        }
    }
    found
}

/// With only `id` emptied, `id` and what needs it fail, and nothing else.
pub(crate) fn emptied(lab: &Lab, id: TaskId, reports: &[CheckReport]) -> Vec<Finding> {
    let (red, dependents) = (red(reports), dependents(lab, id));
    let mut findings = Vec::new();
    if !red.contains(&id) {
        findings.push(Finding::GreenEmptied(id));
    }
    for &task in dependents.difference(&red) {
        findings.push(Finding::NeedlessNeed { task, need: id });
    }
    for report in reports.iter().filter(|report| failed(report)) {
        let task = report.check.task;
        if task != id && !dependents.contains(&task) {
            let check = report.check.function().to_owned();
            findings.push(Finding::HiddenNeed { check, task, emptied: id });
        }
    }
    findings
}

/// A mutant has to be rejected by a check of its own task. `None` where it is.
pub(crate) fn mutant(mutant: &Mutant, reports: &[CheckReport]) -> Option<Finding> {
    let (task, name) = (mutant.task, mutant.name.clone());
    let mut kills = reports.iter().filter(|report| failed(report)).map(|report| &report.check);
    let first = kills.clone().next();
    match (kills.any(|check| check.task == task), first) {
        (true, _) => None,
        (false, Some(check)) => {
            Some(Finding::StrangeKill { task, name, check: check.function().to_owned() })
        }
        (false, None) => {
            let misconception = mutant.misconception.clone();
            Some(Finding::Survivor { task, name, misconception })
        }
    }
}

/// The check that rejects a mutant of a program that holds many, by its own word. What a limit or a crash ends, or has no
/// verdict, may be the program's fault.
///
/// # Errors
/// Why nothing can be said.
pub(crate) fn plainly_rejected(reports: &[CheckReport]) -> Result<&Check, String> {
    let mut said_no = reports.iter().filter(|report| said_no(report));
    said_no
        .next()
        .map(|report| &report.check)
        .ok_or_else(|| odd(reports).unwrap_or_else(|| "no check of its task rejects it".to_owned()))
}

/// Whether a mutant of such a program needs no further check: one rejects it plainly, or [`ODD`] of them had no say, so that
/// it is tried alone in any case. A loop that does not end would use up every check's time.
pub(crate) fn is_settled(reports: &[CheckReport]) -> bool {
    let silent = |report: &&CheckReport| is_odd(report);
    reports.iter().any(said_no) || reports.iter().filter(silent).count() >= ODD
}

/// What is said of the first check that neither passes nor says no by its own word.
pub(crate) fn odd(reports: &[CheckReport]) -> Option<String> {
    let report = reports.iter().find(|report| is_odd(report))?;
    Some(format!("\"{}\" had no say: {}", report.check.sentence(), why(&report.verdict)))
}

fn is_odd(report: &CheckReport) -> bool {
    report.verdict != CheckVerdict::Pass && !said_no(report)
}

fn said_no(report: &CheckReport) -> bool {
    matches!(&report.verdict, CheckVerdict::Fail(failure) if failure.said_no)
}

/// Runs with one seed have to agree: these checks passed in the first.
pub(crate) fn flaky(seed: u64, checks: &[Check], runs: &[Vec<CheckReport>]) -> Vec<Finding> {
    let findings = checks.iter().map(|check| {
        let failed = |run: &&Vec<CheckReport>| run.iter().any(|r| r.check == *check && failed(r));
        let failed = runs.iter().filter(failed).count();
        let check = check.function().to_owned();
        (failed > 0).then_some(Finding::Flaky { check, seed, failed, runs: runs.len() })
    });
    findings.flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use course::Course;
    use grader::Failure;

    use super::*;

    const ONE: TaskId = TaskId { lab: 1, task: 1 };
    const TWO: TaskId = TaskId { lab: 1, task: 2 };

    /// Task 1.2 of it needs 1.1.
    fn lab() -> Lab {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture");
        Course::discover(&fixture).unwrap().labs.remove(0)
    }

    fn report(name: &str, verdict: CheckVerdict) -> CheckReport {
        let check = Check::of_path(&format!("tests::{name}")).unwrap();
        CheckReport { check, verdict, notes: Vec::new(), duration: Duration::ZERO }
    }

    fn pass(name: &str) -> CheckReport {
        report(name, CheckVerdict::Pass)
    }

    fn fail(name: &str) -> CheckReport {
        let message = vec!["expected 1".to_owned(), "saw 2".to_owned()];
        let (timed_out, said_no) = (false, true);
        let failure = Failure { message, place: None, unsolved: None, timed_out, said_no };
        report(name, CheckVerdict::Fail(failure))
    }

    /// One that a limit ended.
    fn ended(name: &str) -> CheckReport {
        let message = vec!["time limit".to_owned()];
        let (timed_out, said_no) = (true, false);
        let failure = Failure { message, place: None, unsolved: None, timed_out, said_no };
        report(name, CheckVerdict::Fail(failure))
    }

    fn some_mutant() -> Mutant {
        let lab = lab();
        let mutants = crate::mutants::load(&lab).unwrap();
        mutants.into_iter().flatten().find(|mutant| mutant.task == ONE).unwrap()
    }

    #[test]
    fn a_task_without_a_red_check_is_green_on_the_starter() {
        let reports = [pass("task_1_1_a"), fail("task_1_1_b"), pass("task_1_2_a")];
        assert_eq!(starter(&lab(), &reports), [Finding::GreenStarter(TWO)]);
    }

    #[test]
    fn what_needs_an_emptied_task_has_to_fail_too() {
        let (ok, bad) = (pass("task_1_2_a"), fail("task_1_1_a"));
        let needless = Finding::NeedlessNeed { task: TWO, need: ONE };
        assert_eq!(emptied(&lab(), ONE, &[bad.clone(), ok]), [needless]);
        assert_eq!(emptied(&lab(), ONE, &[bad.clone(), fail("task_1_2_a")]), []);
        let check = "task_1_1_a".to_owned();
        let hidden = Finding::HiddenNeed { check, task: ONE, emptied: TWO };
        assert_eq!(emptied(&lab(), TWO, &[bad, fail("task_1_2_a")]), [hidden]);
    }

    #[test]
    fn a_mutant_has_to_fail_a_check_of_its_own_task() {
        let wrong = some_mutant();
        assert_eq!(mutant(&wrong, &[pass("task_1_2_a"), fail("task_1_1_a")]), None);
        let strange = mutant(&wrong, &[pass("task_1_1_a"), fail("task_1_2_a")]).unwrap();
        assert!(strange.to_string().ends_with("only by task_1_2_a, a check of another task"));
        let survivor = mutant(&wrong, &[pass("task_1_1_a")]).unwrap();
        assert!(matches!(survivor, Finding::Survivor { .. }));
    }

    #[test]
    fn only_a_check_that_says_no_rejects_plainly() {
        let (loops, no) = (ended("task_1_1_a"), fail("task_1_1_b"));
        let both = [loops.clone(), no.clone()];
        assert_eq!(plainly_rejected(&both), Ok(&no.check));
        assert!(is_settled(&both) && is_settled(&both[1..]) && !is_settled(&both[..1]));
        assert!(is_settled(&[loops.clone(), pass("task_1_1_c"), loops.clone()]));
        let silent = [pass("task_1_1_b"), loops];
        let (odd, none) = (plainly_rejected(&silent), plainly_rejected(&silent[..1]));
        assert_eq!(odd, Err("\"a\" had no say: time limit".to_owned()));
        assert_eq!(none, Err("no check of its task rejects it".to_owned()));
    }

    #[test]
    fn runs_that_disagree_are_flaky() {
        let checks = [pass("task_1_1_a").check, pass("task_1_1_b").check];
        let runs = [
            vec![pass("task_1_1_a"), pass("task_1_1_b")],
            vec![pass("task_1_1_a"), fail("task_1_1_b")],
        ];
        let [finding] = &flaky(7, &checks, &runs)[..] else { panic!("expected one finding") };
        let expected = "task_1_1_b is flaky: 1 of 2 runs with seed 7 failed on the solution";
        assert_eq!(finding.to_string(), expected);
    }

    #[test]
    fn trouble_is_no_fault_of_the_lab() {
        let trouble = report("task_1_1_a", CheckVerdict::Unknown("no memory".to_owned()));
        let found = unknown("the starter", &[trouble.clone(), pass("task_1_1_b")]);
        assert_eq!(found.len(), 1);
        assert!(!found[0].is_about_the_lab());
        assert_eq!(solution(7, &[trouble]), []);
        let red = solution(7, &[fail("task_1_1_a")]);
        let expected = "task_1_1_a fails on the solution with seed 7: expected 1; saw 2";
        assert_eq!(red[0].to_string(), expected);
    }
}
