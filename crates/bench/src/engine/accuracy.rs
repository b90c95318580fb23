//! How far each engine's arithmetic is from the dequantised weights in f32, over a fixed text.
//!
//! Our example `accuracy` computes the exact log-probabilities and our error; a peer judges the same tokens and is
//! compared with the same exact values. Nothing here depends on time, so it runs once.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use grader::Stop;
use serde_json::Value;

use super::Settings;
use crate::compare::{Comparison, Contender, Figure, Measured};
use crate::run::run;
use crate::sample::Better;
use crate::{BenchError, Installed, Peer, Places, Progress, Task, write};

/// What a reader must know.
pub(super) const NOTE: &str = "Accuracy is measured against the same weights in f32 without any rounding, token \
    by token over a text of prose, numbers and code: the mean difference of log-probabilities without sign, and how \
    often the likeliest token is the same. It does not change from run to run.";

/// How long judging the text may take: ours reads it twice, once with full weights.
const LIMIT: Duration = Duration::from_secs(180);

/// The comparison; builds our program.
///
/// # Errors
/// Those of building.
pub(super) fn compared(
    settings: &Settings,
    model: &Path,
    peers: &[(Peer, Installed)],
    places: &Places,
    progress: &Progress,
    stop: &Stop,
) -> Result<Comparison, BenchError> {
    let program = places.build("model", ["--example", "accuracy"], &[], progress, stop)?;
    let exact = Rc::new(Exact {
        task: Task::new(program, LIMIT).args([model.as_os_str()]).args(["--json"]),
        file: places.bench().join("engine/exact.json"),
        answer: OnceCell::new(),
    });
    let script = places.root.join("crates/model/bench/llama_cpp_accuracy.py");
    let theirs = peers.iter().map(|(_, installed)| -> Box<dyn Contender> {
        let task = Task::new(installed.program("python"), LIMIT);
        let task = task.args([script.as_path(), model, &exact.file]);
        let task = task.args([settings.threads.to_string()]);
        Box::new(Theirs { title: installed.title.clone(), task, exact: exact.clone() })
    });
    let figure =
        |name: &str, unit, better| Figure { name: name.to_owned(), unit, better, goal: None };
    Ok(Comparison {
        figures: vec![
            figure("error of log-probabilities", "nat", Better::Lower),
            figure("same likeliest token", "%", Better::Higher),
        ],
        rounds: Some(1),
        peers: theirs.collect(),
        ours: Box::new(Ours { exact }),
    })
}

/// Our program's answer, with the exact values; kept in a file that the peers read.
struct Exact {
    task: Task,
    file: PathBuf,
    answer: OnceCell<Value>,
}

impl Exact {
    fn answer(&self, stop: &Stop) -> Result<&Value, BenchError> {
        if let Some(answer) = self.answer.get() {
            return Ok(answer);
        }
        let done = run(&self.task, stop)?;
        write(&self.file, &done.stdout)?;
        let answer = read("accuracy", &done.stdout)?;
        Ok(self.answer.get_or_init(|| answer))
    }
}

struct Ours {
    exact: Rc<Exact>,
}

impl Contender for Ours {
    fn name(&self) -> String {
        "ours".to_owned()
    }

    fn measure(&mut self, stop: &Stop) -> Result<Measured, BenchError> {
        Ok(figures(self.exact.answer(stop)?))
    }
}

struct Theirs {
    title: String,
    task: Task,
    exact: Rc<Exact>,
}

impl Contender for Theirs {
    fn name(&self) -> String {
        self.title.clone()
    }

    fn measure(&mut self, stop: &Stop) -> Result<Measured, BenchError> {
        self.exact.answer(stop)?;
        let done = run(&self.task, stop)?;
        Ok(figures(&read(&self.title, &done.stdout)?))
    }
}

fn read(program: &str, line: &str) -> Result<Value, BenchError> {
    serde_json::from_str(line).map_err(|error| BenchError::Output {
        program: program.to_owned(),
        what: format!("{error}, in {line}"),
    })
}

/// In the order of the comparison's figures.
fn figures(answer: &Value) -> Measured {
    vec![answer["mean"].as_f64(), answer["top_1"].as_f64().map(|share| 100.0 * share)]
}
