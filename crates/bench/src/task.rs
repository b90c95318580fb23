//! A program and what it is started with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A program to run.
#[derive(Debug, Clone)]
pub struct Task {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    dir: Option<PathBuf>,
    core: Option<usize>,
    asked: bool,
    pub(crate) limit: Duration,
}

impl Task {
    /// A program that must end within `limit`.
    #[must_use]
    pub fn new(program: impl Into<OsString>, limit: Duration) -> Self {
        let (args, env) = (Vec::new(), Vec::new());
        Self { program: program.into(), args, env, dir: None, core: None, asked: false, limit }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds `flag` with a list, or nothing for an empty one.
    pub(crate) fn arg_list(self, flag: &str, list: &[&str]) -> Self {
        if list.is_empty() { self } else { self.args([flag.to_owned(), list.join(",")]) }
    }

    /// Sets an environment variable on top of ours.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it in this folder.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Keeps it, and all that it starts, on one processor, where the system has `taskset`.
    #[must_use]
    pub fn on_core(mut self, core: usize) -> Self {
        self.core = can_pin().then_some(core);
        self
    }

    /// Lets it be asked, line by line: see `Process::ask`.
    #[must_use]
    pub fn with_questions(mut self) -> Self {
        self.asked = true;
        self
    }

    /// The program's file name, for messages.
    pub(crate) fn name(&self) -> String {
        let path = Path::new(&self.program);
        path.file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    /// In a process group of its own.
    pub(crate) fn command(&self) -> Command {
        let mut command = match self.core {
            Some(core) => {
                let mut taskset = Command::new("taskset");
                taskset.args(["--cpu-list", &core.to_string()]).arg(&self.program);
                taskset
            }
            None => Command::new(&self.program),
        };
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.stdin(if self.asked { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
    }
}

/// Whether processes can be kept on one processor here.
#[must_use]
pub fn can_pin() -> bool {
    let on_path = |dir: PathBuf| dir.join("taskset").is_file();
    cfg!(target_os = "linux")
        && std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(on_path))
}
