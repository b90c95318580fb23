//! Runs every command that the book prints, and holds it to what the book promises.
//!
//! In place, as a reader would: a copy of the course with the same target folder would make cargo look for changes
//! in the copy. So it asks for labs without edits, and puts the state back as it was.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use grader::run_streaming;
use serde::Deserialize;

use super::{Bench, Outcome};

/// Commands that a step of their own runs, with that step's name.
const ELSEWHERE: &[(&str, &str)] =
    &[("cargo xtask lab 1 --solution", "solved"), ("cargo xtask test --only peers", "peers")];
/// Commands that measure: they install peers, build for release, and want a quiet machine. Only what they list is run.
const MEASURES: &str = "cargo xtask bench ";
/// How long a command that runs until it is stopped may take to show a sign of life: cargo may have to build.
const START_LIMIT: Duration = Duration::from_secs(600);
/// How long it may take to end after Ctrl-C.
const END_LIMIT: Duration = Duration::from_secs(20);
/// A command that takes longer has its time printed: these are what the step takes long for.
const LONG: Duration = Duration::from_secs(5);
/// Lines of output that wait to be looked at.
const LINES: usize = 64;

/// A command as `book commands --json` prints it.
#[derive(Debug, Deserialize)]
struct BookCommand {
    command: String,
    /// What stands behind `cargo xtask`, if that is what it is.
    xtask: Option<Vec<String>>,
    /// The status that the book promises; none where it only mentions the command.
    exit: Option<i32>,
    /// Whether it ends by itself.
    ends: bool,
    file: String,
    line: usize,
}

pub(super) fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let commands = printed(bench)?;
    if let Some(why) = edits(bench)? {
        return Ok(Outcome::Skipped(why));
    }
    let _state = KeptState::of(bench.root);
    let mut seen = BTreeSet::new();
    for command in &commands {
        if !seen.insert((&command.command, command.exit)) {
            continue;
        }
        let step = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == command.command);
        if let Some((elsewhere, step)) = step {
            anstream::println!("           $ {elsewhere}    is run by the step {step}");
            continue;
        }
        if command.command.starts_with(MEASURES) && !command.command.ends_with("--list") {
            anstream::println!("           $ {}    measures: not run here", command.command);
            continue;
        }
        anstream::println!("           $ {}", command.command);
        let started = Instant::now();
        let held = if command.ends { ends(bench, command) } else { serves(bench, command) };
        if started.elapsed() > LONG {
            anstream::println!("           {:.0} s", started.elapsed().as_secs_f64());
        }
        if let Err(error) = held {
            if bench.stop.is_set() {
                return Err(error);
            }
            let BookCommand { command, file, line, .. } = command;
            return Ok(Outcome::Failed(format!("book/src/{file}:{line}: {command}\n{error:#}")));
        }
    }
    Ok(Outcome::Passed)
}

fn printed(bench: &Bench<'_>) -> Result<Vec<BookCommand>> {
    let mut list = bench.program("book");
    list.args(["commands", "--json"]);
    let mut json = String::new();
    let (status, said) = run_streaming(&mut list, bench.stop, |line| json.push_str(line))?;
    if !status.success() {
        bail!("`book commands` failed: {}", said.lines().collect::<Vec<_>>().join("\n"));
    }
    serde_json::from_str(&json).context("`book commands --json` printed something else")
}

/// Why the commands must not run here: `lab 1 reset` would undo what somebody wrote.
fn edits(bench: &Bench<'_>) -> Result<Option<String>> {
    let mut status = Command::new("git");
    status.args(["status", "--porcelain", "--", "labs"]).current_dir(bench.root);
    let Some(output) = status.output().ok().filter(|output| output.status.success()) else {
        return Ok(Some("this is not a git checkout: labs/ might hold somebody's work".to_owned()));
    };
    let edited = !output.stdout.is_empty();
    Ok(edited.then(|| "labs/ has edits, and the book's commands would reset them".to_owned()))
}

/// What `.lab/state.json` held; written back when this goes.
struct KeptState {
    path: PathBuf,
    content: Option<Vec<u8>>,
}

impl KeptState {
    fn of(root: &Path) -> Self {
        let path = root.join(".lab/state.json");
        Self { content: fs::read(&path).ok(), path }
    }
}

impl Drop for KeptState {
    fn drop(&mut self) {
        let kept = match &self.content {
            Some(content) => fs::write(&self.path, content),
            None if self.path.exists() => fs::remove_file(&self.path),
            None => Ok(()),
        };
        if let Err(error) = kept {
            anstream::eprintln!("{} could not be put back: {error}", self.path.display());
        }
    }
}

/// The command, with this program in the place of `cargo xtask`.
fn spawnable(bench: &Bench<'_>, command: &BookCommand) -> Result<Command> {
    let mut spawnable = match &command.xtask {
        Some(arguments) => bench.xtask(arguments)?,
        None => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &as_one(bench, &command.command)]);
            shell
        }
    };
    spawnable.current_dir(bench.root).env("CARGO_TARGET_DIR", &bench.target).env("NO_COLOR", "1");
    Ok(spawnable)
}

/// The command for a shell. A package by itself gives its dependencies fewer features than the course as a whole, and so compiles them once
/// more: its tests are looked up, and its program is built, among the course's, which are built already.
fn as_one(bench: &Bench<'_>, command: &str) -> String {
    let among = match bench.built.get() {
        true => tested_among(bench, command).or_else(|| run_among(bench, command)),
        false => None,
    };
    among.unwrap_or_else(|| format!("exec {command}"))
}

/// For `cargo test ... -p PACKAGE ...`.
fn tested_among(bench: &Bench<'_>, command: &str) -> Option<String> {
    let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let at = words.iter().position(|word| word == "-p").filter(|at| at + 1 < words.len())?;
    if !command.starts_with("cargo test ") {
        return None;
    }
    let name = words[at + 1].clone();
    words.splice(at..at + 2, bench.tested(&name, &[]));
    // That there is such a package is the command's business too.
    Some(format!("cargo pkgid --quiet {name} >&2 && exec {}", words.join(" ")))
}

/// For `cargo run -p PACKAGE --features FEATURES --bin PROGRAM -- ARGUMENTS`, with nothing else in it.
fn run_among(bench: &Bench<'_>, command: &str) -> Option<String> {
    let (build, arguments) = command.strip_prefix("cargo run ")?.split_once(" -- ")?;
    let words: Vec<&str> = build.split(' ').collect();
    let ["-p", package, "--features", features, "--bin", program] = words[..] else { return None };
    let everything = bench.everything(Some((package, features))).join(" ");
    let program = bench.programs().join(program);
    Some(format!(
        "cargo pkgid --quiet {package} >&2 && cargo build --quiet {everything} && exec {} {arguments}",
        program.display()
    ))
}

fn ends(bench: &Bench<'_>, command: &BookCommand) -> Result<()> {
    let mut printed = Vec::new();
    let mut spawnable = spawnable(bench, command)?;
    let (status, said) =
        run_streaming(&mut spawnable, bench.stop, |line| printed.push(line.to_owned()))?;
    let kept = match command.exit {
        Some(promised) => status.code() == Some(promised),
        None => matches!(status.code(), Some(0 | 1)),
    };
    let promised = command.exit.map_or("0 or 1".to_owned(), |exit| exit.to_string());
    printed.extend(said.lines().map(str::to_owned));
    ensure!(kept, "it should end with {promised}, but ended with {status}\n{}", printed.join("\n"));
    Ok(())
}

/// A command that runs until Ctrl-C: it must start, answer if it serves, and end when it is told to.
fn serves(bench: &Bench<'_>, command: &BookCommand) -> Result<()> {
    let mut spawnable = spawnable(bench, command)?;
    // A group of its own, so that Ctrl-C reaches it as a terminal would send it: to the whole group.
    spawnable.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).process_group(0);
    let mut child = spawnable.spawn().context("it does not start")?;
    let lines = lines_of(&mut child);
    let held = alive(bench, &lines);
    let group = format!("-{}", child.id());
    Command::new("kill").args(["-INT", "--", &group]).status().context("there is no kill")?;
    let ended = wait(&mut child);
    if ended.is_err() {
        Command::new("kill").args(["-KILL", "--", &group]).status().context("there is no kill")?;
        child.wait()?;
    }
    held.and(ended)
}

fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES);
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody looks any more, but the pipe must not fill.
                let _ = sender.try_send(line);
            }
        });
    }
    receiver
}

/// Waits for an address, which must then answer, or for the score of a lab.
fn alive(bench: &Bench<'_>, lines: &Receiver<String>) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while Instant::now() < deadline && !bench.stop.is_set() {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) if line.starts_with("Score ") => return Ok(()),
            Ok(line) => {
                if let Some(address) = line.strip_prefix("listening on http://") {
                    return answers(address.trim());
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                bail!("it ended before it showed an address or a score");
            }
        }
    }
    bail!("it showed neither an address nor a score")
}

/// The first page of a server, engine or book, has a status line; which one is not the book's business.
fn answers(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).context("nobody listens at its address")?;
    stream.set_read_timeout(Some(END_LIMIT))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut start = [0; 9];
    stream.read_exact(&mut start)?;
    ensure!(&start == b"HTTP/1.1 ", "its address does not speak HTTP");
    Ok(())
}

fn wait(child: &mut Child) -> Result<()> {
    let deadline = Instant::now() + END_LIMIT;
    while Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("it did not end after Ctrl-C")
}
