//! `bench engine`: the course's engine beside llama.cpp, on the same file, the same prompts, as many threads.
//!
//! Both load the model once and then take turns. What is measured is the executor: no scheduler, no sockets. Speed
//! that was bought with accuracy is no speed, so both are judged for that, too.

mod accuracy;

use std::path::PathBuf;
use std::time::Duration;

use grader::Stop;

use crate::compare::{Comparison, Contender, Figure};
use crate::on_demand::OnDemand;
use crate::result::Goal;
use crate::run::run;
use crate::sample::Better;
use crate::{BenchError, Installed, Peer, Places, Progress, Source, Task};

/// The peers of this bench.
pub const PEERS: &[Peer] = &[Peer {
    name: "llama.cpp",
    source: Source::Pip(&["llama-cpp-python==0.3.36", "numpy"]),
    by_default: true,
    about: "compiles llama.cpp: some minutes, and a C++ compiler",
}];

/// Rounds, and those of `--quick`. A round takes seconds, and the machine's mood lasts longer than one.
pub const ROUNDS: [usize; 2] = [9, 3];

/// How long loading with the first prompts, or one round, may take; seconds on a quiet machine.
const ROUND_LIMIT: Duration = Duration::from_secs(180);
/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(1800);
/// What both programs print: tokens a second.
const FIELDS: &[&str] = &["prefill_512_tok_s", "decode_b1_tok_s", "decode_b8_tok_s"];
/// Their titles, and how many times as good as llama.cpp we mean to be.
const FIGURES: [(&str, f64); 3] =
    [("prefill, 512 tokens", 1.1), ("decode, batch 1", 0.85), ("decode, batch 8", 1.4)];

/// What can be chosen.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads of either engine.
    pub threads: usize,
    /// The model's file; by default the one that the labs use.
    pub model: Option<PathBuf>,
}

/// Starts both engines.
///
/// # Errors
/// [`BenchError::Missing`] where there is no model, and those of building and starting.
pub fn prepare(
    settings: &Settings,
    peers: &[(Peer, Installed)],
    places: &Places,
    progress: &Progress,
    stop: &Stop,
) -> Result<Vec<Comparison>, BenchError> {
    let model = match &settings.model {
        Some(path) => path.clone(),
        None => lab_model(places, progress, stop)?,
    };
    let speed = places.build("model", ["--example", "speed"], &[], progress, stop)?;
    progress.say("loading the model");
    let threads = settings.threads.to_string();
    let ours = Task::new(speed, LIMIT).args([model.as_os_str()]);
    let ours = ours.args([threads.as_str(), "--json", "--on-demand"]);
    let start =
        |title: &str, task| OnDemand::start(title.to_owned(), task, FIELDS, ROUND_LIMIT, stop);
    let ours = Box::new(start("ours", ours)?);
    let mut others: Vec<Box<dyn Contender>> = Vec::new();
    for (_, installed) in peers {
        let script = places.root.join("crates/model/bench/llama_cpp_speed.py");
        let task = Task::new(installed.program("python"), LIMIT).args([&script, &model]);
        let task = task.args([threads.as_str(), "--on-demand"]);
        others.push(Box::new(start(&installed.title, task)?));
    }
    let figures = FIGURES.iter().map(|&(name, ratio)| Figure {
        name: name.to_owned(),
        unit: "tok/s",
        better: Better::Higher,
        goal: Some(Goal { peer: "llama.cpp".to_owned(), ratio }),
    });
    let speed = Comparison { figures: figures.collect(), rounds: None, ours, peers: others };
    Ok(vec![speed, accuracy::compared(settings, &model, peers, places, progress, stop)?])
}

/// What a reader must know.
#[must_use]
pub fn notes(settings: &Settings) -> Vec<String> {
    let threads = settings.threads;
    vec![
        format!(
            "Both engines read the same file with {threads} threads, stay loaded, and take turns. Decoding takes 32 \
             greedy steps from position 512."
        ),
        accuracy::NOTE.to_owned(),
    ]
}

fn lab_model(places: &Places, progress: &Progress, stop: &Stop) -> Result<PathBuf, BenchError> {
    progress.say("looking for the model");
    let task = places.cargo(LIMIT).args(["run", "--quiet", "-p", "model-store", "--", "path"]);
    match run(&task, stop) {
        Ok(done) => Ok(done.stdout.trim().into()),
        Err(BenchError::Failed { .. }) => Err(BenchError::Missing {
            what: "the model is not here".to_owned(),
            how: "type `cargo xtask model pull`, or name a GGUF file with --model".to_owned(),
        }),
        Err(error) => Err(error),
    }
}
