//! A program that is loaded once and runs a round for every line that it is sent, answering with a line of JSON.

use std::time::Duration;

use grader::Stop;
use serde_json::Value;

use crate::compare::{Contender, Measured};
use crate::run::Process;
use crate::{BenchError, Task};

/// A running program with a name.
#[derive(Debug)]
pub(crate) struct OnDemand {
    title: String,
    process: Process,
    fields: &'static [&'static str],
    round_limit: Duration,
}

impl OnDemand {
    /// Starts it, and waits until it says that it is ready. Each round's figures are the `fields` of its answer.
    ///
    /// # Errors
    /// Those of [`Process`]; it has `round_limit` to be ready, too.
    pub(crate) fn start(
        title: String,
        task: Task,
        fields: &'static [&'static str],
        round_limit: Duration,
        stop: &Stop,
    ) -> Result<Self, BenchError> {
        let process = Process::start(&task.with_questions())?;
        let line = process.announced("", round_limit, stop)?;
        match serde_json::from_str::<Value>(&line) {
            Ok(value) if value["ready"] == true => Ok(Self { title, process, fields, round_limit }),
            _ => {
                let what = format!("it should say that it is ready, but said {line}");
                Err(BenchError::Output { program: title, what })
            }
        }
    }
}

impl Contender for OnDemand {
    fn name(&self) -> String {
        self.title.clone()
    }

    fn measure(&mut self, stop: &Stop) -> Result<Measured, BenchError> {
        let line = self.process.ask(self.round_limit, stop)?;
        let answer: Value = serde_json::from_str(&line).map_err(|error| BenchError::Output {
            program: self.title.clone(),
            what: format!("{error}, in {line}"),
        })?;
        Ok(self.fields.iter().map(|&field| answer[field].as_f64()).collect())
    }
}
