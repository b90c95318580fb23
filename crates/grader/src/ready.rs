//! The tree that is built and run: the learner's in its mirror, or the reference where it lies.

use std::path::PathBuf;

use course::{Lab, Side};

use crate::check::expected_functions;
use crate::grade::{Options, Source};
use crate::mirror::mirror;
use crate::{GradeError, Package, RunContext};

/// A tree to build, whoever's it is.
pub(crate) struct Ready {
    pub(crate) package: Package,
    pub(crate) context: RunContext,
    /// Names of the check functions that the build must have.
    pub(crate) expected: Vec<String>,
    /// Files of the learner's that are not there.
    pub(crate) missing: Vec<PathBuf>,
    /// Lines for the report.
    pub(crate) notes: Vec<String>,
}

/// Brings it up to date.
pub(crate) fn prepare(lab: &Lab, options: &Options<'_>) -> Result<Ready, GradeError> {
    let context = RunContext { seed: options.seed, ..RunContext::default() };
    if options.source == Source::Solution {
        let folder = lab.folder(Side::Solution);
        let learner_files = lab.learner_files().iter().map(|file| folder.join(file)).collect();
        return Ok(Ready {
            expected: expected_functions(&course::solution_files(lab)?),
            package: Package {
                workspace: lab.root.clone(),
                target: options.target.clone(),
                name: lab.package(Side::Solution),
                folder,
            },
            context: RunContext { learner_files, ..context },
            missing: Vec::new(),
            notes: Vec::new(),
        });
    }
    let mirror = mirror(lab, &options.target)?;
    let mut notes = Vec::new();
    if let Some(first) = mirror.ignored.first() {
        let more = match mirror.ignored.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let first = mirror.package.folder.join(first);
        notes.push(format!(
            "graded with the course's own files; your changes to {}{more} do not count",
            first.display()
        ));
    }
    let context =
        RunContext { learner_files: mirror.learner_files, sentinel: mirror.sentinel, ..context };
    let (package, expected, missing) = (mirror.package, mirror.expected, mirror.missing);
    Ok(Ready { package, context, expected, missing, notes })
}
