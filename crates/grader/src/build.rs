//! Builds a lab with cargo, and tells the learner's errors from everybody else's.

use std::path::{Path, PathBuf};

use course::Built;
use serde::Deserialize;

use crate::cargo::{cargo, run_streaming};
use crate::outcome::Place;
use crate::sandbox::Capture;
use crate::{GradeError, Progress, Stop};

/// Lines shown of a compiler message.
const MESSAGE_LINES: usize = 20;
/// Lines shown of what cargo says when it fails by itself.
const CARGO_LINES: usize = 8;

/// A package to build.
#[derive(Debug, Clone)]
pub struct Package {
    /// Folder of the workspace that it is built in.
    pub workspace: PathBuf,
    /// Where the outputs go.
    pub target: PathBuf,
    /// Its name.
    pub name: String,
    /// Its folder, relative to the workspace.
    pub folder: PathBuf,
}

/// No program came out.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The package's own code does not compile.
    #[error("{0}")]
    Compile(CompileError),
    /// Something else: no network, no space, a broken toolchain, a given crate.
    #[error("{0}")]
    Trouble(String),
    /// It was stopped, or cargo could not be started.
    #[error(transparent)]
    Grade(#[from] GradeError),
}

/// rustc's first error in the package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CompileError {
    /// What rustc printed, at most 20 lines.
    pub text: String,
    /// Where.
    pub place: Option<Place>,
    /// Errors in all.
    pub count: usize,
}

/// Builds the tests of a package's library; returns the program.
///
/// # Errors
/// [`BuildError`], the learner's or not.
pub fn build_tests(
    package: &Package,
    progress: &Progress,
    stop: &Stop,
) -> Result<PathBuf, BuildError> {
    build(package, &["test", "--lib", "--no-run"], progress, stop)
}

/// Builds the program that live checks start; returns its path.
///
/// # Errors
/// [`BuildError`], the learner's or not.
pub fn build_engine(
    package: &Package,
    bin: &str,
    progress: &Progress,
    stop: &Stop,
) -> Result<PathBuf, BuildError> {
    build(package, &["build", "--bin", bin, "--features", "live"], progress, stop)
}

/// Builds a program of the course beside a lab: in the lab's workspace, which has it by a link, so that both share what they are
/// made of.
///
/// # Errors
/// [`BuildError`], none of it the learner's.
pub fn build_program(
    lab: &Package,
    program: &Built,
    progress: &Progress,
    stop: &Stop,
) -> Result<PathBuf, BuildError> {
    // No folder of a package: whatever does not compile is not the learner's.
    let package = Package { name: program.package.clone(), folder: PathBuf::new(), ..lab.clone() };
    let features = program.features.join(",");
    build(&package, &["build", "--bin", &program.bin, "--features", &features], progress, stop)
}

fn build(
    package: &Package,
    arguments: &[&str],
    progress: &Progress,
    stop: &Stop,
) -> Result<PathBuf, BuildError> {
    let mut command = cargo(&package.workspace, &package.target);
    command.args(arguments).args(["-p", &package.name, "--message-format", "json"]);
    let manifest = package.workspace.join(&package.folder).join("Cargo.toml");
    let mut seen = Seen::default();
    let (status, stderr) = run_streaming(&mut command, stop, |line| {
        seen.take(line, &manifest);
        progress.set(format!("building {}: {} crates", package.name, seen.crates));
    })?;
    match (status.success(), seen) {
        (true, Seen { program: Some(program), .. }) => Ok(program),
        (true, _) => {
            Err(BuildError::Trouble(format!("cargo built no program for {}", package.name)))
        }
        (false, Seen { error: Some(error), .. }) if !is_about_the_machine(&error.text) => {
            Err(BuildError::Compile(error))
        }
        (false, seen) => Err(BuildError::Trouble(trouble(&seen, &stderr))),
    }
}

/// A linker that is missing or killed, or a full disk: reported as an error of the package, but none of it.
fn is_about_the_machine(message: &str) -> bool {
    let signs = ["linking with `", "linker `", "No space left on device", "(signal: 9"];
    signs.iter().any(|sign| message.contains(sign))
}

/// Why cargo failed, when it is not the learner's code.
fn trouble(seen: &Seen, stderr: &Capture) -> String {
    let compiler = seen.error.as_ref().or(seen.foreign.as_ref());
    if let Some(error) = compiler {
        let place = error.place.as_ref().map_or(String::new(), |place| format!(" ({place})"));
        return format!("the build failed outside your files{place}:\n{}", error.text);
    }
    let boring =
        ["Compiling ", "Updating ", "Downloading ", "Downloaded ", "Locking ", "Blocking "];
    let told = |line: &&str| !boring.iter().any(|word| line.trim_start().starts_with(word));
    let lines: Vec<&str> =
        stderr.lines().filter(|line| !line.trim().is_empty()).filter(told).collect();
    let lines = &lines[..lines.len().min(CARGO_LINES)];
    let hint = if lines.iter().any(|line| line.contains("download") || line.contains("network")) {
        "\nThe first build fetches crates: is there a network?"
    } else if lines.iter().any(|line| line.contains("No space left")) {
        "\nThe disk is full: free some space, then run again."
    } else {
        ""
    };
    format!("cargo could not build:\n{}{hint}", lines.join("\n"))
}

/// What cargo's messages have told so far.
#[derive(Default)]
struct Seen {
    crates: usize,
    program: Option<PathBuf>,
    /// First error in the package, and how many there are.
    error: Option<CompileError>,
    /// First error elsewhere.
    foreign: Option<CompileError>,
}

impl Seen {
    fn take(&mut self, line: &str, manifest: &Path) {
        // Anything else on this stream is no message of cargo's.
        let Ok(message) = serde_json::from_str::<Message>(line) else { return };
        match message {
            Message::Artifact { executable } => {
                self.crates += 1;
                self.program = executable.or(self.program.take());
            }
            Message::Diagnostic { manifest_path, message } if message.level == "error" => {
                let slot =
                    if manifest_path == manifest { &mut self.error } else { &mut self.foreign };
                match slot {
                    // The summary at the end is no error of its own.
                    Some(_) if message.spans.is_empty() => {}
                    Some(first) => first.count += 1,
                    None => *slot = Some(message.into()),
                }
            }
            Message::Diagnostic { .. } | Message::Other => {}
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "reason")]
enum Message {
    #[serde(rename = "compiler-artifact")]
    Artifact { executable: Option<PathBuf> },
    #[serde(rename = "compiler-message")]
    Diagnostic { manifest_path: PathBuf, message: Diagnostic },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Diagnostic {
    rendered: Option<String>,
    level: String,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    file_name: PathBuf,
    line_start: usize,
    is_primary: bool,
}

impl From<Diagnostic> for CompileError {
    fn from(diagnostic: Diagnostic) -> Self {
        let rendered = diagnostic.rendered.unwrap_or_default();
        let lines: Vec<&str> = rendered.trim_end().lines().collect();
        let mut text = lines[..lines.len().min(MESSAGE_LINES)].join("\n");
        if lines.len() > MESSAGE_LINES {
            text.push_str(&format!("\n... {} more lines", lines.len() - MESSAGE_LINES));
        }
        let primary = diagnostic.spans.into_iter().find(|span| span.is_primary);
        let place = primary.map(|span| Place { file: span.file_name, line: span.line_start });
        Self { text, place, count: 1 }
    }
}
