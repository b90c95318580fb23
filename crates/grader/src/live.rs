//! Live checks: on a real engine, one after the other, and only those whose outcome is not known.

use std::collections::BTreeMap;
use std::path::Path;

use course::{Side, Task, TaskId};

use crate::grade::{Launcher, Live, Source};
use crate::live_key::LiveKeys;
use crate::outcome::{CheckReport, CheckVerdict, RunContext, run_check};
use crate::run::{Outcomes, Run, not_run, passes};
use crate::sandbox::Limits;
use crate::{BuildError, Check, GradeError, Report, build_engine, build_program};

/// What the report says under a task whose live checks need not run.
const REUSED: &str = "live checks: passed before, unchanged";

/// A model for the engine: what to hand to `--model`, empty where the lab needs none. Or the reason why there is none.
type Model = Result<String, String>;

/// What live checks run on, made when the first of them is due.
#[derive(Default)]
struct Ground {
    model: Option<Model>,
    keys: Option<LiveKeys>,
    engine: Option<Result<RunContext, String>>,
}

impl Run<'_> {
    /// Live checks of the tasks whose pure checks all passed. Returns, for each task whose live checks were due, the key
    /// under which their success may be kept.
    pub(crate) fn live(
        &self,
        checks: &[Check],
        outcomes: &mut Outcomes,
        report: &mut Report,
    ) -> Result<BTreeMap<TaskId, String>, GradeError> {
        let mut ground = Ground::default();
        let mut keys = BTreeMap::new();
        for task in &self.tasks {
            let live: Vec<&Check> =
                checks.iter().filter(|check| check.task == task.id && check.live).collect();
            let Some(pure) = outcomes.get(&task.id) else { continue };
            let all_pass = pure.iter().all(|check| check.verdict == CheckVerdict::Pass);
            let needs_pass = task.needs.iter().all(|need| passes(outcomes, *need));
            let mut told = false;
            for check in live {
                let done = if !all_pass {
                    not_run(check, "the checks without an engine come first")
                } else if !needs_pass {
                    not_run(check, "a task that it needs did not pass")
                } else {
                    let key = self.key(task, &mut ground, report)?;
                    keys.extend(key.clone().map(|key| (task.id, key)));
                    match key {
                        Some(key) if self.passed_before(check, &key) => {
                            let first = !std::mem::replace(&mut told, true);
                            let notes = first.then(|| REUSED.to_owned()).into_iter().collect();
                            let verdict = CheckVerdict::Pass;
                            CheckReport { verdict, notes, ..not_run(check, "") }
                        }
                        _ => self.live_check(task, check, &mut ground, report)?,
                    }
                };
                outcomes.entry(task.id).or_default().push(done);
            }
        }
        Ok(keys)
    }

    fn passed_before(&self, check: &Check, key: &str) -> bool {
        !self.options.fresh && self.state.passed_live(check.task, check.function(), key)
    }

    /// What the outcome of a task's live checks depends on; `None` where there is nothing to run them on.
    fn key(
        &self,
        task: &Task,
        ground: &mut Ground,
        report: &mut Report,
    ) -> Result<Option<String>, GradeError> {
        self.find_model(ground, report)?;
        // The reference is not the learner's: nothing is remembered of it.
        match &ground.keys {
            Some(keys) if self.options.source == Source::Learner => {
                keys.of(self.lab, task, &self.ready.package).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn cluster_name(&self) -> &str {
        self.options.on.as_ref().map_or("", |on| on.name)
    }

    /// Asks for the model once.
    fn find_model(&self, ground: &mut Ground, report: &mut Report) -> Result<(), GradeError> {
        if ground.model.is_some() {
            return Ok(());
        }
        let model = match self.options.live {
            Live::Off => Err("live checks are switched off".to_owned()),
            Live::Model(_) if !self.lab.needs_model => Ok(String::new()),
            Live::Model(model) => self.progress.suspend(model).map(|(model, label)| {
                report.model = Some(label);
                model
            }),
        };
        if self.stop.is_set() {
            return Err(GradeError::Interrupted);
        }
        if let Ok(model) = &model {
            ground.keys =
                Some(LiveKeys::new(self.lab, model, self.cluster_name(), self.options.seed)?);
        }
        ground.model = Some(model);
        Ok(())
    }

    fn live_check(
        &self,
        task: &Task,
        check: &Check,
        ground: &mut Ground,
        report: &mut Report,
    ) -> Result<CheckReport, GradeError> {
        if ground.engine.is_none() {
            self.find_model(ground, report)?;
            let engine = match &ground.model {
                Some(Ok(model)) => self.engine(model)?,
                Some(Err(reason)) => Err(reason.clone()),
                None => Err("there is no model".to_owned()),
            };
            if engine.is_err() {
                report.model = None;
            } else {
                report.on = self.options.on.as_ref().map(|on| on.name.to_owned());
            }
            ground.engine = Some(engine);
        }
        self.progress.set(format!("{} live: {}", task.id, check.sentence()));
        match &ground.engine {
            Some(Ok(context)) => {
                let limits = Limits::live(task.live_time_limit);
                run_check(&self.program, check, &limits, context, self.stop)
            }
            Some(Err(reason)) => {
                let verdict = CheckVerdict::Unknown(reason.clone());
                Ok(CheckReport { verdict, ..not_run(check, "") })
            }
            None => Ok(not_run(check, "there is no engine")),
        }
    }

    /// Builds the engine. The inner error is a reason for UNKNOWN.
    fn engine(&self, model: &str) -> Result<Result<RunContext, String>, GradeError> {
        let side = match self.options.source {
            Source::Learner => Side::Learner,
            Source::Solution => Side::Solution,
        };
        let Some(bin) = self.lab.engine_bin(side) else {
            return Ok(Err("this lab has no engine".to_owned()));
        };
        self.announce(&bin);
        match build_engine(&self.ready.package, &bin, &self.progress, self.stop) {
            Ok(engine) => {
                let programs = match self.programs()? {
                    Ok(programs) => programs,
                    Err(reason) => return Ok(Err(reason)),
                };
                Ok(self.launcher(&engine).map(|launcher| RunContext {
                    engine: Some(launcher.program),
                    engine_env: [launcher.env, programs].concat(),
                    model: Some(model.to_owned()),
                    ..self.ready.context.clone()
                }))
            }
            Err(BuildError::Grade(error)) => Err(error),
            Err(other) => Ok(Err(format!("the engine could not be built: {other}"))),
        }
    }

    /// Builds the staff's programs that checks start beside the lab's own, and says where they are, each under a name of its own. The
    /// inner error is a reason for UNKNOWN.
    fn programs(&self) -> Result<Result<Vec<(String, String)>, String>, GradeError> {
        let mut found = Vec::new();
        for program in &self.lab.programs {
            match build_program(&self.ready.package, program, &self.progress, self.stop) {
                Ok(path) => {
                    let name = program.bin.to_uppercase().replace('-', "_");
                    found.push((format!("LAB_PROGRAM_{name}"), path.display().to_string()));
                }
                Err(BuildError::Grade(error)) => return Err(error),
                Err(other) => {
                    return Ok(Err(format!("{} could not be built: {other}", program.bin)));
                }
            }
        }
        Ok(Ok(found))
    }

    /// What checks start: the engine itself, or what runs it somewhere else.
    fn launcher(&self, engine: &Path) -> Result<Launcher, String> {
        match &self.options.on {
            None => Ok(Launcher { program: engine.to_owned(), env: Vec::new() }),
            Some(on) => self.progress.suspend(|| (on.launcher)(engine)),
        }
    }

    /// Says once why the next minutes are quiet.
    fn announce(&self, bin: &str) {
        let built = self.ready.package.target.join("debug").join(bin);
        if !built.exists() {
            self.progress.say(if self.lab.needs_model {
                "building the engine for the live checks: your code around a real language model. \
                 The first time takes 2 to 5 minutes, later ones seconds."
            } else {
                "building the programs for the live checks. The first time takes a minute or two, later ones seconds."
            });
        }
    }
}
