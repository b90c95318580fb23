//! The steps of `cargo xtask test`, in the order that finds the cheapest mistakes first.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use course::Side;
use grader::{cargo, run_streaming, this_program};
use serde_json::Value;

use super::{Bench, Outcome, Step, cluster, commands, faults, peers};
use crate::programs;

/// Lines shown of what a failed command printed.
const SHOWN_LINES: usize = 60;

pub(super) const ALL: &[Step] = &[
    Step { name: "fmt", what: "the sources are formatted", run: fmt },
    Step { name: "starters", what: "labs/ is what the solutions give", run: starters },
    Step { name: "clippy", what: "no warning in any crate", run: clippy },
    Step { name: "doc", what: "the documentation builds without a warning", run: doc },
    Step { name: "tests", what: "the tests of every crate", run: tests },
    Step { name: "peers", what: "Prometheus and the openai client get along", run: peers::run },
    Step {
        name: "cluster",
        what: "the embedded cluster does what Kubernetes does",
        run: cluster::run,
    },
    Step { name: "faults", what: "faults on pods bite and are undone", run: faults::run },
    Step { name: "experiments", what: "every experiment of a lab can be read", run: experiments },
    Step { name: "image", what: "the engine's image starts, answers and drains", run: image },
    Step {
        name: "author",
        what: "the checks pass what is right and reject what is wrong",
        run: author,
    },
    Step { name: "book", what: "the book has no broken link, and builds", run: book },
    Step {
        name: "unsolved",
        what: "a learner's first run: every task unsolved, exit 1",
        run: unsolved,
    },
    Step {
        name: "commands",
        what: "every command in the book does what the book says",
        run: commands::run,
    },
    Step { name: "solved", what: "the reference on a real model: full marks, exit 0", run: solved },
    Step {
        name: "offline",
        what: "the reference on a tiny random model: full marks, exit 0",
        run: offline,
    },
    Step { name: "deny", what: "licences and advisories of all dependencies", run: deny },
];

fn fmt(bench: &Bench<'_>) -> Result<Outcome> {
    // Also the packages that are no members: the generated labs.
    ok(bench, bench.cargo(["fmt", "--all", "--check"]))
}

fn starters(bench: &Bench<'_>) -> Result<Outcome> {
    ok(bench, bench.xtask(["author", "sync", "--check"])?)
}

fn clippy(bench: &Bench<'_>) -> Result<Outcome> {
    let mut command = bench.cargo(["clippy", "--workspace", "--all-targets", "--features"]);
    command.arg(live_features(bench, &BOTH)).args(["--", "-D", "warnings"]);
    ok(bench, command)
}

fn doc(bench: &Bench<'_>) -> Result<Outcome> {
    let mut command = bench.cargo(["doc", "--workspace", "--no-deps", "--features"]);
    command.arg(live_features(bench, &BOTH)).env("RUSTDOCFLAGS", "-D warnings");
    ok(bench, command)
}

fn tests(bench: &Bench<'_>) -> Result<Outcome> {
    if bench.whole {
        let mut build = bench.cargo(["build"]);
        build.args(bench.everything(None));
        match ok(bench, build)? {
            Outcome::Passed => bench.built.set(true),
            other => return Ok(other),
        }
    }
    // Examples are not among them: clippy has compiled them, and to link them proves nothing more.
    for targets in [&["--lib", "--bins", "--tests"][..], &["--doc"]] {
        let mut command = bench.cargo(["test", "--no-fail-fast"]);
        command.args(targets).args(bench.course_as_one());
        match ok(bench, command)? {
            Outcome::Passed => {}
            other => return Ok(other),
        }
    }
    Ok(Outcome::Passed)
}

fn experiments(bench: &Bench<'_>) -> Result<Outcome> {
    let folders: Vec<_> = bench
        .course
        .labs
        .iter()
        .map(|lab| bench.root.join("solutions").join(&lab.id).join("experiments"))
        .filter(|folder| folder.is_dir())
        .collect();
    let mut command = bench.program("chaos");
    command.arg("check").args(folders);
    ok(bench, command)
}

/// Status of a step that could not be tried, as in Automake's tests.
const NOT_TRIED: i32 = 77;

fn image(bench: &Bench<'_>) -> Result<Outcome> {
    let mut command = bench.program("deploy");
    command.args(["with-docker", "--install", "--", "cargo", "test"]);
    command.args(bench.tested("deploy", &[])).args(["--test", "image", "--", "--ignored"]);
    let (status, said) = run_streaming(&mut command, bench.stop, |_| ())?;
    let said: Vec<&str> = said.lines().collect();
    Ok(match status.code() {
        Some(0) => Outcome::Passed,
        Some(NOT_TRIED) => Outcome::Skipped(said.last().copied().unwrap_or("no Docker").to_owned()),
        _ => Outcome::Failed(said.join("\n")),
    })
}

fn author(bench: &Bench<'_>) -> Result<Outcome> {
    ok(bench, bench.xtask(["author", "check"])?)
}

fn book(bench: &Bench<'_>) -> Result<Outcome> {
    for action in ["check", "build"] {
        let mut command = bench.program("book");
        command.arg(action);
        match ok(bench, command)? {
            Outcome::Passed => {}
            other => return Ok(other),
        }
    }
    Ok(Outcome::Passed)
}

fn unsolved(bench: &Bench<'_>) -> Result<Outcome> {
    for lab in &bench.course.labs {
        let (report, said) = bench.graded(lab.number, &["--offline"])?;
        let tasks = report["tasks"].as_array().map_or(&[][..], Vec::as_slice);
        let all_unsolved = tasks.len() == lab.tasks.len()
            && tasks.iter().all(|task| task["unsolved"] == true || task["verdict"] == "WAIT");
        if report["exit_status"] != 1 || !all_unsolved {
            return Ok(Outcome::Failed(said));
        }
    }
    unsolved_simulation(bench)
}

/// The simulators run the learner's code too, and say what of it is missing.
fn unsolved_simulation(bench: &Bench<'_>) -> Result<Outcome> {
    let least_request = ["--policy", "least-request", "--workload", "mix"];
    for (lab, more) in [("1", &[][..]), ("2", &least_request)] {
        let mut command = bench.xtask(["simulate", "--lab", lab, "--requests", "10"])?;
        let output = command.args(more).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let named = said.contains("which is not solved yet") && !said.contains("panicked");
        if output.status.code() != Some(1) || !named {
            let status = output.status;
            return Ok(Outcome::Failed(format!("simulate --lab {lab}: {status}\n{said}")));
        }
    }
    Ok(Outcome::Passed)
}

fn solved(bench: &Bench<'_>) -> Result<Outcome> {
    match programs::lab_model(bench.root, bench.stop) {
        Ok(_) => and_down(bench, full_marks(bench, &["--solution"])?),
        Err(reason) => {
            let first = reason.lines().next().unwrap_or_default().to_owned();
            Ok(Outcome::Skipped(first))
        }
    }
}

fn offline(bench: &Bench<'_>) -> Result<Outcome> {
    and_down(bench, full_marks(bench, &["--solution", "--offline"])?)
}

/// Live checks bring the clone's cluster up, and a learner's stays up. Nobody will use this one again.
fn and_down(bench: &Bench<'_>, outcome: Outcome) -> Result<Outcome> {
    let said = bench.xtask(["cluster", "down", "--forget"])?.output()?;
    Ok(match said.status.success() {
        true => outcome,
        false => Outcome::Failed(String::from_utf8_lossy(&said.stderr).into_owned()),
    })
}

fn full_marks(bench: &Bench<'_>, flags: &[&str]) -> Result<Outcome> {
    for lab in &bench.course.labs {
        let (report, said) = bench.graded(lab.number, flags)?;
        if report["exit_status"] != 0 || report["score"]["points"] != lab.points() {
            return Ok(Outcome::Failed(said));
        }
    }
    Ok(Outcome::Passed)
}

fn deny(bench: &Bench<'_>) -> Result<Outcome> {
    let installed = Command::new("cargo-deny").arg("--version").output().is_ok();
    if !installed {
        let why = "cargo-deny is not installed: `cargo install cargo-deny --locked`";
        return Ok(Outcome::Skipped(why.to_owned()));
    }
    ok(bench, bench.cargo(["deny", "--workspace", "check"]))
}

const BOTH: [Side; 2] = [Side::Solution, Side::Learner];

/// The features that bring the programs of all labs into a build: those of these names that a lab has.
const PROGRAMS: [&str; 2] = ["cli", "live"];

fn live_features(bench: &Bench<'_>, sides: &[Side]) -> String {
    let mut features = Vec::new();
    for lab in &bench.course.labs {
        let manifest = lab.dir(Side::Solution).join("Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap_or_default();
        let has =
            |name: &&str| manifest.lines().any(|line| line.starts_with(&format!("{name} = [")));
        for name in PROGRAMS.iter().filter(|name| has(name)) {
            features.extend(sides.iter().map(|side| format!("{}/{name}", lab.package(*side))));
        }
    }
    features.join(",")
}

impl Bench<'_> {
    /// Cargo builds a crate once for each set of features that it is asked for, and a package alone asks for fewer
    /// than the course as a whole. So once everything is built, to build is to build everything: there is nothing to do.
    pub(super) fn cargo<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = cargo(self.root, &self.target);
        command.args(arguments);
        if self.built.get() && arguments.first() == Some(&"build") {
            command.args(self.everything(None));
        }
        command
    }

    /// The course's packages, with the features that bring in the engines.
    fn course_as_one(&self) -> Vec<String> {
        self.course_with(None)
    }

    /// The same, with a package that is not among them, and features of it.
    fn course_with(&self, besides: Option<(&str, &str)>) -> Vec<String> {
        let mut features = live_features(self, &[Side::Solution]);
        if let Some((package, more)) = besides {
            more.split(',').for_each(|feature| features.push_str(&format!(",{package}/{feature}")));
        }
        let mut selection = vec!["--workspace".to_owned(), "--features".to_owned(), features];
        // The checks of a starter fail: that is what they are for.
        let others = self.course.labs.iter().map(|lab| lab.package(Side::Learner));
        for other in others.filter(|other| besides.is_none_or(|(package, _)| package != other)) {
            selection.extend(["--exclude".to_owned(), other]);
        }
        selection
    }

    /// All programs, and all tests: these bring features of their own. `besides`: those of a learner's package too, with its features.
    pub(super) fn everything(&self, besides: Option<(&str, &str)>) -> Vec<String> {
        let targets = ["--bins", "--tests"].map(str::to_owned);
        [targets.to_vec(), self.course_with(besides)].concat()
    }

    /// The packages of which a test that is named by `--test` is to be found.
    pub(super) fn tested(&self, package: &str, features: &[&str]) -> Vec<String> {
        if self.built.get() {
            return self.course_as_one();
        }
        let alone = ["-p", package].into_iter().chain(features.iter().copied());
        alone.map(str::to_owned).collect()
    }

    /// One of the course's programs: as it was built with everything, else by cargo.
    pub(super) fn program(&self, package: &str) -> Command {
        if !self.built.get() {
            return self.cargo(["run", "--quiet", "-p", package, "--"]);
        }
        let mut command = Command::new(self.programs().join(package));
        command.current_dir(self.root).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    pub(super) fn programs(&self) -> PathBuf {
        self.target.join("debug")
    }

    /// This program, once more.
    pub(super) fn xtask(
        &self,
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> Result<Command> {
        let mut command = Command::new(this_program().context("who am I?")?);
        command.args(arguments).current_dir(self.root);
        if self.built.get() {
            command.env(programs::BUILT, self.programs());
        }
        Ok(command)
    }

    /// A lab's report, and as text what was said beside it.
    fn graded(&self, lab: u32, flags: &[&str]) -> Result<(Value, String)> {
        let mut command = self.xtask(["lab", &lab.to_string(), "--json"])?;
        let mut json = String::new();
        let (_, said) = run_streaming(command.args(flags), self.stop, |line| json.push_str(line))?;
        let report: Value = serde_json::from_str(&json).unwrap_or_default();
        let said: Vec<&str> = said.lines().collect();
        let told = format!("{report:#}\n{}\n{}", said.join("\n"), not_passed(&report).join("\n"));
        Ok((report, told))
    }
}

/// The checks of a lab's report that did not pass, a line each.
fn not_passed(report: &Value) -> Vec<String> {
    let of = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let checks = of(report, "tasks").into_iter().flat_map(|task| of(&task, "checks"));
    let ended = checks.filter(|check| check["verdict"] == "FAIL" || check["verdict"] == "UNKNOWN");
    let line = |check: Value| {
        let message =
            of(&check, "message").iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ");
        let word = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {message}", word("verdict"), word("name"))
    };
    let trouble = ["trouble", "compile_error"].map(|field| report[field].clone());
    let trouble = trouble.into_iter().filter(|one| !one.is_null()).map(|one| one.to_string());
    trouble.chain(ended.map(line)).collect()
}

/// Runs a command; its output is shown only if it fails: its end, then what names a failure.
pub(super) fn ok(bench: &Bench<'_>, mut command: Command) -> Result<Outcome> {
    let mut printed = Vec::new();
    let mut failures: Vec<String> = Vec::new();
    let (status, said) = run_streaming(&mut command, bench.stop, |line| {
        if line.contains("FAILED") && failures.len() < SHOWN_LINES {
            failures.push(line.to_owned());
        }
        printed.push(line.to_owned());
        // The end is what tells; the middle of a long output is not kept.
        if printed.len() > 50 * SHOWN_LINES {
            printed.drain(..SHOWN_LINES);
        }
    })?;
    if status.success() {
        return Ok(Outcome::Passed);
    }
    printed.extend(said.lines().map(str::to_owned));
    let panics = printed.iter().enumerate().filter(|(_, line)| line.contains("panicked at"));
    let panics = panics.flat_map(|(at, _)| printed[at..].iter().take(2)).take(SHOWN_LINES);
    failures.extend(panics.cloned().collect::<Vec<_>>());
    let from = printed.len().saturating_sub(SHOWN_LINES);
    let mut told = printed.split_off(from);
    told.extend(failures);
    Ok(Outcome::Failed(told.join("\n")))
}
