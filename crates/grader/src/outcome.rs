//! One check, run and judged.
//!
//! A check has passed when its program ended with status 0, libtest's own last line counts what was asked for, and
//! the sentinel spoke: a test of the grader's that runs after the check and prints a number that the lab's
//! sources do not hold. So neither `exit(0)` nor a printed "test result: ok" passes. The limit: a check runs in
//! the same process as the learner's code, and code that sets out to read that number from the program's own
//! memory can forge it. Against people who do that, read their code.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::files::ScratchDir;
use crate::panics::{self, Panic};
use crate::sandbox::{self, Contained, Ending, Limits};
use crate::{Check, GradeError, Stop};

/// Lines of a failure's message that are kept.
const MESSAGE_LINES: usize = 9;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Path relative to the repository.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// What checks are run with.
#[derive(Debug, Clone, Default)]
pub struct RunContext {
    /// `LAB_SEED`.
    pub seed: u64,
    /// What else every check finds in its environment: for authors' proofs, nothing for a learner.
    pub env: Vec<(String, String)>,
    /// `LAB_ENGINE`, for live checks.
    pub engine: Option<PathBuf>,
    /// What else the engine's launcher wants to know.
    pub engine_env: Vec<(String, String)>,
    /// `LAB_MODEL`, for live checks.
    pub model: Option<String>,
    /// Files whose lines are "your code", as the compiler was told their paths.
    pub learner_files: Vec<PathBuf>,
    /// The test that speaks last, where the build has one.
    pub(crate) sentinel: Option<Sentinel>,
}

/// A test that the mirror adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sentinel {
    /// Path of its function.
    pub(crate) path: String,
    /// The line that it prints.
    pub(crate) says: String,
}

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// Which.
    pub check: Check,
    /// Its verdict.
    pub verdict: CheckVerdict,
    /// Measurements that it told.
    pub notes: Vec<String>,
    /// From start to end.
    pub duration: Duration,
}

/// The verdict on one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckVerdict {
    /// It passed.
    Pass,
    /// The learner's code is not right yet.
    Fail(Failure),
    /// Nobody can say: the infrastructure failed, for this reason.
    Unknown(String),
    /// It was not run, for this reason.
    NotRun(String),
}

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was expected and what was seen, a few lines.
    pub message: Vec<String>,
    /// Where in the learner's files, if that is known.
    pub place: Option<Place>,
    /// The task whose `todo!` was met, if one was.
    pub unsolved: Option<course::TaskId>,
    /// Whether it ran out of time, so that its siblings would too.
    pub timed_out: bool,
    /// Whether the check came to an end by itself and said no: neither a limit nor a crash ended it.
    pub said_no: bool,
}

/// Runs one check in a sandbox.
///
/// # Errors
/// [`GradeError`] when no process can be started, or after a stop.
pub fn run_check(
    program: &Path,
    check: &Check,
    limits: &Limits,
    context: &RunContext,
    stop: &Stop,
) -> Result<CheckReport, GradeError> {
    let here = ScratchDir::new()?;
    let mut args = vec!["--exact".to_owned(), check.path.clone()];
    args.extend(context.sentinel.as_ref().map(|sentinel| sentinel.path.clone()));
    args.extend(["--nocapture", "--include-ignored", "--test-threads", "1"].map(str::to_owned));
    let mut env = clean_environment(here.path());
    let seed = context.seed.to_string();
    env.insert("PROPTEST_RNG_SEED".into(), seed.clone());
    env.insert("LAB_SEED".into(), seed);
    env.extend(context.env.iter().cloned());
    if check.live {
        let engine = context.engine.as_ref().map(|path| path.display().to_string());
        env.extend(engine.map(|engine| ("LAB_ENGINE".to_owned(), engine)));
        env.extend(context.engine_env.iter().cloned());
        let model = context.model.clone().filter(|model| !model.is_empty());
        env.extend(model.map(|model| ("LAB_MODEL".to_owned(), model)));
    }
    let program = sandbox::Program { path: program.into(), args, env, dir: here.path().into() };
    let contained = sandbox::run(&program, limits, stop)?;
    Ok(CheckReport {
        verdict: judge(check, limits, &contained, context),
        notes: tagged(&contained, "LAB_NOTE: ").collect(),
        duration: contained.duration,
        check: check.clone(),
    })
}

/// What every contained program may know of this machine.
pub(crate) fn clean_environment(home: &Path) -> BTreeMap<String, String> {
    let kept = ["PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "LANG", "SystemRoot"];
    let kept =
        kept.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
    let home = home.display().to_string();
    let own = [("HOME", home.as_str()), ("TMPDIR", &home), ("TMP", &home), ("RUST_BACKTRACE", "0")];
    kept.chain(own.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

/// The rest of each line that has a tag in it.
fn tagged<'c>(contained: &'c Contained, tag: &'c str) -> impl Iterator<Item = String> + 'c {
    let lines = contained.stdout.lines().chain(contained.stderr.lines());
    lines.filter_map(move |line| Some(line.split_once(tag)?.1.trim().to_owned()))
}

fn judge(
    check: &Check,
    limits: &Limits,
    contained: &Contained,
    context: &RunContext,
) -> CheckVerdict {
    if let Some(reason) = tagged(contained, "LAB_UNKNOWN: ").next() {
        return CheckVerdict::Unknown(reason);
    }
    match &contained.ending {
        Ending::Exited(0) if ended_properly(contained, context) => CheckVerdict::Pass,
        Ending::Exited(0)
            if contained.stdout.lines().any(|line| line.starts_with("running 0 ")) =>
        {
            CheckVerdict::Unknown("the build has no such check".to_owned())
        }
        Ending::NotStarted(reason) => CheckVerdict::Unknown(format!("it did not start: {reason}")),
        // A slow machine is not the learner's fault.
        Ending::WallLimit => CheckVerdict::Unknown(not_finished(limits, contained)),
        ending => CheckVerdict::Fail(failure(check, ending, limits, contained, context)),
    }
}

/// That a check took longer than anybody waits, and what the machine let it do meanwhile.
fn not_finished(limits: &Limits, contained: &Contained) -> String {
    let waited = limits.wall.as_secs();
    let Some(limit) = limits.own else {
        return format!("not finished within {waited} s; is the machine busy?");
    };
    let (own, limit) = (contained.own.as_secs_f64(), limit.as_secs());
    format!(
        "not finished within {waited} s, in which the machine gave it {own:.1} of its own {limit} s: is it busy?"
    )
}

/// Whether libtest came to its own end, and so did the sentinel.
fn ended_properly(contained: &Contained, context: &RunContext) -> bool {
    let expected = if context.sentinel.is_some() { 2 } else { 1 };
    let summary = format!("test result: ok. {expected} passed; 0 failed; ");
    let last = contained.stdout.lines().rfind(|line| !line.trim().is_empty());
    let spoke = |sentinel: &Sentinel| contained.stderr.lines().any(|line| line == sentinel.says);
    last.is_some_and(|line| line.starts_with(&summary))
        && context.sentinel.as_ref().is_none_or(spoke)
}

fn failure(
    check: &Check,
    ending: &Ending,
    limits: &Limits,
    contained: &Contained,
    context: &RunContext,
) -> Failure {
    let panics = panics::parse(contained.stderr.lines());
    let own = |panic: &&Panic| is_own(&panic.place, context);
    let place = panics.iter().rev().find(own).map(|panic| panic.place.clone());
    let unsolved = panics.iter().find_map(|panic| unsolved(&panic.message));
    let message = match ending {
        Ending::Exited(101) => match telling(&panics, check) {
            Some(panic) => shortened(&panic.message),
            None => vec!["the check failed without a word".to_owned()],
        },
        other => vec![in_words(other, limits, contained)],
    };
    let (timed_out, said_no) = (*ending == Ending::TimeLimit, *ending == Ending::Exited(101));
    Failure { message, place, unsolved, timed_out, said_no }
}

fn is_own(place: &Place, context: &RunContext) -> bool {
    context.learner_files.contains(&place.file)
}

/// The panic that ended the check; failing that, the first one in another thread.
fn telling<'p>(panics: &'p [Panic], check: &Check) -> Option<&'p Panic> {
    let of_check = |panic: &&Panic| panic.thread == "main" || panic.thread == check.path;
    panics.iter().rev().find(of_check).or(panics.first())
}

/// The task of a `todo!("task 1.3")`.
fn unsolved(message: &[String]) -> Option<course::TaskId> {
    let rest = message.iter().find_map(|line| line.split_once("not yet implemented: task "))?.1;
    rest.split_whitespace().next()?.parse().ok()
}

fn shortened(message: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = message.iter().take(MESSAGE_LINES).cloned().collect();
    if message.len() > MESSAGE_LINES {
        lines.truncate(MESSAGE_LINES - 1);
        lines.push(format!("... {} more lines", message.len() - lines.len()));
    }
    lines
}

/// What a check did with its time, when it took too long.
fn too_long(limits: &Limits, contained: &Contained) -> String {
    let limit = limits.own.unwrap_or(limits.wall);
    let why = if contained.ran > limit * 3 / 4 {
        "It computed all the while: a loop that does not end?"
    } else if contained.ran < limit / 4 {
        "It hardly computed: a wait for what never comes, a lock or a message?"
    } else {
        "A loop that does not end, or a wait for what never comes?"
    };
    format!("time limit: not finished within {} s. {why}", limit.as_secs())
}

fn in_words(ending: &Ending, limits: &Limits, contained: &Contained) -> String {
    let says = |text: &str| contained.stderr.lines().any(|line| line.contains(text));
    match ending {
        Ending::Exited(0) => "it ended before the check was over: does something call \
                              `std::process::exit`?"
            .to_owned(),
        Ending::Exited(status) => {
            format!("it ended with status {status} in the middle of the check")
        }
        Ending::Signal(_) if says("has overflowed its stack") => {
            "stack overflow: a recursion that does not end, or one that is too deep".to_owned()
        }
        Ending::Signal(_) if says("memory allocation of ") => {
            let limit = limits.address_space_bytes.unwrap_or(0) >> 30;
            format!(
                "it asked for more memory than there is (limit {limit} GiB): does a collection grow without end?"
            )
        }
        Ending::Signal(signal) => format!("it was ended by {signal}"),
        Ending::TimeLimit => too_long(limits, contained),
        Ending::WallLimit => not_finished(limits, contained),
        Ending::TooManyProcesses(count) => {
            format!("it started {count} processes (limit {}) and was ended", limits.processes)
        }
        Ending::Flood(bytes) => format!(
            "it printed {} MiB (limit {} MiB) and was ended",
            bytes >> 20,
            limits.flood_bytes >> 20
        ),
        Ending::SupervisorKilled => "it killed the process that watches over it".to_owned(),
        Ending::Stopped => "it was stopped".to_owned(),
        Ending::NotStarted(reason) => format!("it did not start: {reason}"),
    }
}

#[cfg(test)]
mod tests;
