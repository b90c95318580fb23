//! The trial of what has to be rejected: tasks emptied, and mutants. All that can be is tried in one program, as compiling
//! is nearly all that a variant costs; the rest, and what gets no plain answer there, in a program of its own. Only what that
//! one says is ever held against a lab.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::thread;

use course::{Files, TaskId};
use grader::{BuildError, Check, CheckReport, CheckVerdict};

use super::variants::{Batch, Variant, What, by_task, named};
use super::{Proof, SEED};
use crate::mutants::Mutant;
use crate::schemata::{self, Change};
use crate::workshop::{AHEAD, Ask, Built, Workshop};
use crate::{AuthorError, judge};

impl Proof<'_> {
    /// Emptied tasks and mutants are rejected, by the checks that should.
    pub(super) fn trial(&mut self, files: &Files, checks: &[Check]) -> Result<(), AuthorError> {
        let mut variants = self.emptied(files)?;
        variants.extend(self.mutants(files)?);
        let alone =
            if self.options.apart { variants } else { self.together(files, variants, checks)? };
        let alone = alone.into_iter().map(|variant| (variant.what, variant.files)).collect();
        self.ahead(alone, |proof, what, built| proof.alone(&what, built, checks))
    }

    /// Tries variants in one program; where that one cannot be had, those of each task in one. Returns those that have to be
    /// tried alone.
    fn together(
        &mut self,
        reference: &Files,
        variants: Vec<Variant>,
        checks: &[Check],
    ) -> Result<Vec<Variant>, AuthorError> {
        let (mut alone, mut batch) = (Vec::new(), Batch::new());
        for variant in variants {
            match schemata::changes(reference, &variant.files) {
                Ok(changes) => batch.push((variant, changes)),
                Err(why) => {
                    self.apart(&variant.what, &why)?;
                    alone.push(variant);
                }
            }
        }
        let mut batches = vec![batch];
        while !batches.is_empty() {
            let mut programs = Vec::new();
            for batch in batches.drain(..) {
                let changes: Vec<&[Change]> = batch.iter().map(|(_, all)| all.as_slice()).collect();
                match schemata::combined(reference, &changes) {
                    _ if batch.is_empty() => {}
                    Ok(files) => programs.push((batch, files)),
                    Err(why) => {
                        self.apart(&named(&batch), &why)?;
                        alone.extend(batch.into_iter().map(|(variant, _)| variant));
                    }
                }
            }
            self.ahead(programs, |proof, batch, built| {
                match proof.sound(&batch, built, checks)? {
                    Some((built, checks)) => alone.extend(proof.batch(batch, &built, &checks)?),
                    None => match by_task(batch) {
                        parts if parts.len() > 1 => batches.extend(parts),
                        part => alone.extend(part.into_iter().flatten().map(|(v, _)| v)),
                    },
                }
                Ok(())
            })?;
        }
        Ok(alone)
    }

    /// A program of many variants that is the solution while none is chosen, and the checks, those first that were fast on
    /// it; `None` where there is no such program.
    fn sound(
        &mut self,
        batch: &Batch,
        built: Result<Built, BuildError>,
        checks: &[Check],
    ) -> Result<Option<(Built, Vec<Check>)>, AuthorError> {
        let all = named(batch);
        let built = match built {
            Ok(built) => built,
            Err(BuildError::Grade(error)) => return Err(error.into()),
            // Whose fault it is, is seen when each is built alone.
            Err(error) => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                self.apart(&all, &format!("a program of all was not built: {first}"))?;
                return Ok(None);
            }
        };
        let mut reports = self.reports(&built, checks, SEED)?;
        let other = reports.iter().find(|report| report.verdict != CheckVerdict::Pass);
        if let Some(CheckReport { check, .. }) = other {
            let why = format!("\"{}\" does not pass while none is chosen", check.sentence());
            self.apart(&all, &why)?;
            return Ok(None);
        }
        reports.sort_by_key(|report| report.duration);
        let checks = reports.into_iter().map(|report| report.check).collect();
        self.step(&all, "one program, which is the solution while none is chosen", Vec::new())?;
        Ok(Some((built, checks)))
    }

    /// Tries each variant of a program; returns those that have to be tried alone.
    fn batch(
        &mut self,
        batch: Batch,
        built: &Built,
        checks: &[Check],
    ) -> Result<Vec<Variant>, AuthorError> {
        let mut own: BTreeMap<TaskId, Vec<Check>> = BTreeMap::new();
        for check in checks {
            own.entry(check.task).or_default().push(check.clone());
        }
        let own_of = |id: &TaskId| own.get(id).map(Vec::as_slice).unwrap_or_default();
        let asks = batch.iter().map(|(variant, _)| match &variant.what {
            What::Emptied(_) => Ask { checks, seed: SEED, first_failure: false },
            What::Mutant(Mutant { task, .. }) => {
                Ask { checks: own_of(task), seed: SEED, first_failure: true }
            }
        });
        let tried = self.workshop.run_switched(built, &asks.collect::<Vec<_>>())?;
        let mut alone = Vec::new();
        for ((variant, _), reports) in batch.into_iter().zip(tried) {
            match self.plainly(&variant.what, &reports) {
                Ok(ok) => self.step(&variant.what.to_string(), &ok, Vec::new())?,
                Err(why) => {
                    self.apart(&variant.what, &why)?;
                    alone.push(variant);
                }
            }
        }
        Ok(alone)
    }

    /// What a program of many says of one of them, where that leaves no doubt; else why it does not.
    fn plainly(&mut self, what: &What, reports: &[CheckReport]) -> Result<String, String> {
        match what {
            What::Mutant(mutant) => {
                let check = judge::plainly_rejected(reports)?;
                self.task(mutant.task).killed += 1;
                Ok(format!("rejected by \"{}\"", check.sentence()))
            }
            What::Emptied(id) => {
                let found = self.asked(judge::emptied(self.lab, *id, reports));
                let found = found.first().map(ToString::to_string);
                judge::odd(reports).or(found).map_or(Ok(()), Err)?;
                Ok(self.red_when_emptied(*id, reports))
            }
        }
    }

    /// Notes what is red when only one task is emptied.
    fn red_when_emptied(&mut self, id: TaskId, reports: &[CheckReport]) -> String {
        let red: Vec<String> = judge::red(reports).iter().map(ToString::to_string).collect();
        let said = format!("red: {}", red.join(", "));
        self.task(id).red_when_emptied = red;
        said
    }

    /// A variant in a program of its own.
    fn alone(
        &mut self,
        what: &What,
        built: Result<Built, BuildError>,
        checks: &[Check],
    ) -> Result<(), AuthorError> {
        let Some(built) = self.build(&what.to_string(), |_| built)? else { return Ok(()) };
        match what {
            What::Emptied(id) => self.emptied_alone(*id, &built, checks),
            What::Mutant(mutant) => self.mutant_alone(mutant, &built, checks),
        }
    }

    /// With only one task emptied, it fails, and so does what needs it, and nothing else.
    fn emptied_alone(
        &mut self,
        id: TaskId,
        built: &Built,
        checks: &[Check],
    ) -> Result<(), AuthorError> {
        let what = What::Emptied(id).to_string();
        let reports = self.reports(built, checks, SEED)?;
        let mut findings = judge::unknown(&what, &reports);
        findings.extend(self.asked(judge::emptied(self.lab, id, &reports)));
        let red = self.red_when_emptied(id, &reports);
        self.step(&what, &red, findings)
    }

    /// A check of its own task rejects a wrong answer.
    fn mutant_alone(
        &mut self,
        mutant: &Mutant,
        built: &Built,
        checks: &[Check],
    ) -> Result<(), AuthorError> {
        let what = mutant.to_string();
        let (own, others): (Vec<Check>, Vec<Check>) =
            checks.iter().cloned().partition(|check| check.task == mutant.task);
        // The first rejection is proof enough; others' checks are only asked where there is none.
        let mut ask = Ask { checks: &own, seed: SEED, first_failure: true };
        let mut reports = self.workshop.run(built, &ask)?;
        let mut findings = judge::unknown(&what, &reports);
        if !reports.iter().any(judge::failed) {
            ask.checks = &others;
            reports.extend(self.workshop.run(built, &ask)?);
        }
        findings.extend(judge::mutant(mutant, &reports));
        let kill = reports.iter().find(|report| judge::failed(report));
        let killer = kill.map(|report| report.check.sentence()).unwrap_or_default();
        if findings.is_empty() {
            self.task(mutant.task).killed += 1;
        }
        self.step(&what, &format!("rejected by \"{killer}\""), findings)
    }

    /// Builds programs, the next ones while `each` is at work on one.
    fn ahead<T: Send>(
        &mut self,
        programs: Vec<(T, Files)>,
        mut each: impl FnMut(&mut Self, T, Result<Built, BuildError>) -> Result<(), AuthorError>,
    ) -> Result<(), AuthorError> {
        let builder = Workshop::new(self.lab, self.options.target.clone(), true, &self.stop);
        let (sender, built) = sync_channel(AHEAD - 1);
        thread::scope(|scope| {
            scope.spawn(move || {
                for (number, (what, files)) in programs.into_iter().enumerate() {
                    let built = builder.build(files);
                    let built = built.and_then(|built| builder.set_aside(built, number));
                    if sender.send((what, built)).is_err() {
                        return;
                    }
                }
            });
            built.into_iter().try_for_each(|(what, built)| each(self, what, built))
        })
    }
}
