//! The course's own programs, built by cargo with full optimisation, and started as files: cargo's own time is not
//! theirs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use grader::Stop;

use crate::Task;
use crate::run::run;
use crate::{BenchError, Progress};

/// How long cargo may take for a program of ours.
const BUILD_LIMIT: Duration = Duration::from_secs(1200);

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The repository.
    pub root: PathBuf,
    /// Where its builds go.
    pub target: PathBuf,
}

impl Places {
    /// Of the repository that this program was built in.
    #[must_use]
    pub fn here() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).unwrap_or(here).to_owned();
        Self { target: grader::target_dir(&root), root }
    }

    /// Where benches keep what they install and find out.
    #[must_use]
    pub fn bench(&self) -> PathBuf {
        self.target.join("bench")
    }

    /// A cargo that works here and must end within `limit`.
    pub(crate) fn cargo(&self, limit: Duration) -> Task {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target = self.target.to_string_lossy().into_owned();
        Task::new(cargo, limit).dir(&self.root).env("CARGO_TARGET_DIR", &target)
    }

    /// Builds one program, named as cargo wants it (`--bin loadgen`), and returns where it lies.
    ///
    /// # Errors
    /// Those of [`run`], and [`BenchError::Output`] if cargo names no program.
    pub fn build(
        &self,
        package: &str,
        which: [&str; 2],
        features: &[&str],
        progress: &Progress,
        stop: &Stop,
    ) -> Result<PathBuf, BenchError> {
        progress.say(&format!("building {} (--release)", which[1]));
        let format = "--message-format=json-render-diagnostics";
        let task = self.cargo(BUILD_LIMIT).args(["build", "--release", "--quiet", "-p", package]);
        let task = task.args(which).arg_list("--features", features).args([format]);
        let built = run(&task, stop)?;
        let program =
            built.stdout.lines().filter_map(|line| executable(line, which[1])).next_back();
        program.ok_or_else(|| BenchError::Output {
            program: "cargo build".to_owned(),
            what: format!("no program called {}", which[1]),
        })
    }

    /// Our commit, short, with a `+` where tracked files differ from it.
    #[must_use]
    pub fn commit(&self, stop: &Stop) -> Option<String> {
        let limit = Duration::from_secs(10);
        let git = |args: &[&str]| {
            let task = Task::new("git", limit).dir(&self.root).args(args);
            run(&task, stop).ok().map(|done| done.stdout.trim().to_owned())
        };
        let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
        let edited = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        Some(commit + if edited { "+" } else { "" })
    }
}

/// The file that a line of cargo's JSON says was built, if it is the program `name`.
fn executable(line: &str, name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_ours = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
    is_ours.then(|| message["executable"].as_str().map(PathBuf::from))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_program_lies() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"loadgen"},"executable":"/t/loadgen"}"#;
        assert_eq!(executable(line, "loadgen"), Some("/t/loadgen".into()));
        assert_eq!(executable(line, "sink"), None);
        let library =
            r#"{"reason":"compiler-artifact","target":{"name":"loadgen"},"executable":null}"#;
        assert_eq!(executable(library, "loadgen"), None);
    }
}
