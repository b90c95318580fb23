//! The real `kubectl` as a child process, in the behaviour's namespace.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::place::Place;
use crate::unmet::{Met, Unmet, ensure};

/// The longest that one command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);

/// Which `kubectl`, and which cluster it is told of.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// The kubeconfig; none for the one that the environment names.
    pub kubeconfig: Option<PathBuf>,
    /// A folder of this run's own for its caches.
    pub home: PathBuf,
    /// Its own version: (1, 32).
    pub version: (u32, u32),
}

impl Program {
    /// Asks the program at `path` for its version.
    ///
    /// # Errors
    /// When it cannot be run, or says nothing that can be understood.
    pub async fn find(
        path: PathBuf,
        kubeconfig: Option<PathBuf>,
        home: PathBuf,
    ) -> std::io::Result<Self> {
        let output =
            Command::new(&path).args(["version", "--client", "-o", "json"]).output().await?;
        let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let part = |name: &str| {
            let text = said["clientVersion"][name].as_str().unwrap_or_default();
            text.trim_end_matches('+').parse().unwrap_or_default()
        };
        let version = (part("major"), part("minor"));
        Ok(Self { path, kubeconfig, home, version })
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// The command line, for a report.
    pub line: String,
    /// The exit status.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Done {
    /// Standard output of a command that succeeded.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with what it said.
    pub fn ok(self) -> Met<String> {
        if self.code == 0 {
            return Ok(self.stdout);
        }
        let seen = format!("exit {}: {}{}", self.code, self.stderr, self.stdout);
        Err(Unmet::fail(format!("`{}` to succeed", self.line), seen))
    }

    /// Holds that the command succeeded and printed all of `parts`; how wide its columns are is left open.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with what it said.
    pub fn says(self, parts: &[&str]) -> Met<String> {
        let line = self.line.clone();
        let out = self.ok()?;
        for part in parts {
            let there = out.contains(part) || squeezed(&out).contains(&squeezed(part));
            ensure(there, format!("`{line}` to print {part:?}"), &out)?;
        }
        Ok(out)
    }

    /// Holds that the command failed and said all of `parts`.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with what it said.
    pub fn fails(self, parts: &[&str]) -> Met {
        let all = format!("{}{}", self.stderr, self.stdout);
        ensure(self.code != 0, format!("`{}` to fail", self.line), &all)?;
        for part in parts {
            let expected = format!("`{}` to complain of {part:?}", self.line);
            ensure(all.contains(part), expected, &all)?;
        }
        Ok(())
    }
}

/// The text with one space in place of several: widths of columns are nobody's promise.
fn squeezed(text: &str) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn program(at: &Place) -> Met<&Program> {
    let none = || Unmet::Skip("no --kubectl is given".into());
    at.settings.kubectl.as_ref().ok_or_else(none)
}

/// Holds that this `kubectl` is of `minor` or later.
///
/// # Errors
/// [`Unmet::Skip`] where it is older.
pub fn at_least(at: &Place, minor: u32) -> Met {
    let seen = program(at)?.version;
    if seen >= (1, minor) {
        return Ok(());
    }
    Err(Unmet::Skip(format!("kubectl {}.{} does not have it yet", seen.0, seen.1)))
}

fn command(at: &Place, args: &[&str]) -> Met<Command> {
    let program = program(at)?;
    let mut command = Command::new(&program.path);
    command.args(["--namespace", &at.namespace]).args(args);
    command.env("HOME", &program.home).kill_on_drop(true);
    if let Some(kubeconfig) = &program.kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Runs `kubectl` with `args`.
///
/// # Errors
/// [`Unmet::Fail`] when it cannot be run or does not end; [`Unmet::Skip`] without a `--kubectl`.
pub async fn run(at: &Place, args: &[&str]) -> Met<Done> {
    feed(at, args, "").await
}

/// Runs `kubectl` with `args` and `input` on its standard input.
///
/// # Errors
/// As [`run`].
pub async fn feed(at: &Place, args: &[&str], input: &str) -> Met<Done> {
    finish(command(at, args)?, args, input).await
}

/// Runs `kubectl` with `args` and an environment variable more.
///
/// # Errors
/// As [`run`].
pub async fn run_with(at: &Place, args: &[&str], variable: (&str, &str)) -> Met<Done> {
    let mut command = command(at, args)?;
    command.env(variable.0, variable.1);
    finish(command, args, "").await
}

async fn finish(mut command: Command, args: &[&str], input: &str) -> Met<Done> {
    let line = format!("kubectl {}", args.join(" "));
    let mut child = command.spawn().map_err(|error| Unmet::fail(&line, error.to_string()))?;
    let stdin = child.stdin.take();
    let input = input.as_bytes().to_vec();
    let writing = async move {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input is free to.
            let _ = stdin.write_all(&input).await;
        }
    };
    let both = async { tokio::join!(writing, child.wait_with_output()).1 };
    let output = tokio::time::timeout(COMMAND_WITHIN, both).await;
    let output = output
        .map_err(|_| Unmet::fail(format!("an end of `{line}` within {COMMAND_WITHIN:?}"), "none"))?
        .map_err(|error| Unmet::fail(&line, error.to_string()))?;
    Ok(Done {
        line,
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A `kubectl` that goes on until it is dropped: `get -w`, `port-forward`.
pub struct Running {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    line: String,
}

impl Running {
    /// Starts `kubectl` with `args`.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when it cannot be run.
    pub fn start(at: &Place, args: &[&str]) -> Met<Self> {
        let line = format!("kubectl {}", args.join(" "));
        let mut command = command(at, args)?;
        command.stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| Unmet::fail(&line, error.to_string()))?;
        let none = || Unmet::fail("a standard output", "none");
        let stdout = child.stdout.take().ok_or_else(none)?;
        Ok(Self { _child: child, lines: BufReader::new(stdout).lines(), line })
    }

    /// The next line that contains `part`.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when it does not come in time.
    pub async fn line_with(&mut self, part: &str) -> Met<String> {
        let mut seen = Vec::new();
        let search = async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                if line.contains(part) {
                    return Some(line);
                }
                seen.push(line);
            }
            None
        };
        let found = tokio::time::timeout(crate::place::COMES_ABOUT_WITHIN, search).await;
        found.ok().flatten().ok_or_else(|| {
            Unmet::fail(format!("`{}` to print {part:?}", self.line), seen.join("\n"))
        })
    }
}
