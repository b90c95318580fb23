//! Programs of others: where they come from, and how they get here without touching the rest of the machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use grader::Stop;

use crate::Task;
use crate::own::Places;
use crate::run::run;
use crate::{BenchError, Progress};

/// How long an installation may take; some compile.
const INSTALL_LIMIT: Duration = Duration::from_secs(1800);
/// How long it may take to ask for a version.
const VERSION_LIMIT: Duration = Duration::from_secs(60);

/// A program that a bench compares ours with.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its name on the command line and in tables.
    pub name: &'static str,
    /// How it gets here.
    pub source: Source,
    /// Whether it runs when nobody asks for a peer by name.
    pub by_default: bool,
    /// What a person should know before waiting for it.
    pub about: &'static str,
}

/// Where a peer comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// Python packages, into a virtual environment of their own. The first one gives the version; versions are
    /// fixed, since what they print is read by a program.
    Pip(&'static [&'static str]),
    /// A crate with a program of the same name, into a folder of ours: name and version.
    Cargo(&'static str, &'static str),
    /// A program that the system's package manager brings: its name is the package's.
    System(&'static str),
}

/// A peer that can be started.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Name and version, for tables.
    pub title: String,
    /// The folder with its programs.
    pub bin: PathBuf,
}

impl Installed {
    /// One of its programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

impl Peer {
    /// Where it comes from, in words.
    #[must_use]
    pub fn origin(&self) -> String {
        match self.source {
            Source::Pip(packages) => format!("pip: {}", packages.join(" ")),
            Source::Cargo(name, version) => format!("cargo: {name} {version}"),
            Source::System(package) => format!("system package: {package}"),
        }
    }

    /// Finds it, and installs it the first time.
    ///
    /// # Errors
    /// [`BenchError::Peer`] where it is not here and cannot be put here, with what a person can do, and
    /// [`BenchError::Interrupted`].
    pub fn install(
        &self,
        places: &Places,
        progress: &Progress,
        stop: &Stop,
    ) -> Result<Installed, BenchError> {
        progress.say(&format!("looking for {}", self.name));
        let installed = match self.source {
            Source::Pip(packages) => self.by_pip(packages, places, progress, stop),
            Source::Cargo(name, version) => self.by_cargo(name, version, places, progress, stop),
            Source::System(package) => self.by_system(package),
        };
        if stop.is_set() { Err(BenchError::Interrupted) } else { installed }
    }

    fn missing(&self, why: impl ToString, how: &str) -> BenchError {
        BenchError::Peer { peer: self.name.to_owned(), why: why.to_string(), how: how.to_owned() }
    }

    fn by_pip(
        &self,
        packages: &[&str],
        places: &Places,
        progress: &Progress,
        stop: &Stop,
    ) -> Result<Installed, BenchError> {
        let venv = places.bench().join(format!("venv-{}", self.name));
        let bin = venv.join("bin");
        let complete = venv.join(".complete");
        let wanted = packages.join("\n");
        if std::fs::read_to_string(&complete).ok().as_deref() != Some(&wanted) {
            progress.note(&format!("installing {}: {}", self.name, self.about));
            let task = |program: PathBuf, args: &[&str]| {
                run(&Task::new(program, INSTALL_LIMIT).args(args), stop)
            };
            let path = venv.to_string_lossy();
            task("python3".into(), &["-m", "venv", "--clear", &path]).map_err(|error| {
                self.missing(error, "install Python 3.10 or later, with its module venv")
            })?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            task(bin.join("python"), &[&pip[..], packages].concat()).map_err(|error| {
                self.missing(
                    error,
                    "pip could not install it; it needs a network, and some peers a C++ compiler",
                )
            })?;
            crate::result::write(&complete, &wanted)?;
        }
        let package = packages.first().and_then(|package| package.split(['=', '[']).next());
        let version = package.and_then(|package| self.python_version(&bin, package, stop));
        Ok(Installed { title: title(self.name, version.as_deref()), bin })
    }

    fn python_version(&self, bin: &Path, package: &str, stop: &Stop) -> Option<String> {
        let code = format!("from importlib.metadata import version; print(version('{package}'))");
        let task = Task::new(bin.join("python"), VERSION_LIMIT).args(["-c", &code]);
        run(&task, stop).ok().map(|done| done.stdout.trim().to_owned())
    }

    fn by_cargo(
        &self,
        name: &str,
        version: &str,
        places: &Places,
        progress: &Progress,
        stop: &Stop,
    ) -> Result<Installed, BenchError> {
        let root = places.bench().join(format!("cargo-{name}-{version}"));
        let bin = root.join("bin");
        if !bin.join(name).is_file() {
            progress.note(&format!("installing {}: {}", self.name, self.about));
            let build = places.bench().join("cargo-build");
            let task =
                places.cargo(INSTALL_LIMIT).env("CARGO_TARGET_DIR", &build.to_string_lossy());
            let task =
                task.args(["install", "--quiet", "--locked", "--version", version, "--root"]);
            let built = run(&task.args([root.as_os_str()]).args([name]), stop);
            // Hundreds of megabytes that nothing needs any more.
            let _not_ours_to_mend = std::fs::remove_dir_all(&build);
            built.map_err(|error| {
                self.missing(
                    error,
                    &format!("`cargo install {name}` says more; it needs a network"),
                )
            })?;
        }
        Ok(Installed { title: title(self.name, Some(version)), bin })
    }

    fn by_system(&self, package: &str) -> Result<Installed, BenchError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let bin = std::env::split_paths(&path).find(|dir| dir.join(package).is_file());
        let bin = bin.ok_or_else(|| {
            let how =
                format!("type `sudo apt-get install {package}`, or what your system has instead");
            self.missing("no such program on the PATH", &how)
        })?;
        // Some programs end with 1 after they have said who they are.
        let said = Command::new(bin.join(package)).arg("--version").output().ok();
        let version = said.and_then(|said| {
            let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
            version_in(&text).map(str::to_owned)
        });
        Ok(Installed { title: title(self.name, version.as_deref()), bin })
    }
}

/// The first word with a digit, a dot and a digit, and of that what looks like a version: `debian/4.1.0-3` is
/// 4.1.0.
fn version_in(text: &str) -> Option<&str> {
    let is_part = |char: char| char.is_ascii_digit() || char == '.';
    text.split(|char| !is_part(char))
        .map(|part| part.trim_matches('.'))
        .find(|part| part.contains('.'))
}

fn title(name: &str, version: Option<&str>) -> String {
    version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}"))
}

/// The peers that were asked for, or else those that run by default.
///
/// # Errors
/// [`BenchError::UnknownPeer`].
pub fn choose(
    bench: &str,
    known: &'static [Peer],
    asked: &[String],
) -> Result<Vec<Peer>, BenchError> {
    if asked.is_empty() {
        return Ok(known.iter().copied().filter(|peer| peer.by_default).collect());
    }
    let find = |name: &String| {
        let found = known.iter().copied().find(|peer| peer.name == name);
        found.ok_or_else(|| BenchError::UnknownPeer {
            bench: bench.to_owned(),
            name: name.clone(),
            known: known.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", "),
        })
    };
    asked.iter().map(find).collect()
}

/// Installs the chosen peers. One that was asked for by name must be there; of the others, those that are not
/// are named in `absent`.
///
/// # Errors
/// [`BenchError::Peer`], [`BenchError::Interrupted`].
pub fn install_all(
    peers: &[Peer],
    asked: bool,
    places: &Places,
    progress: &Progress,
    stop: &Stop,
    absent: &mut Vec<String>,
) -> Result<Vec<(Peer, Installed)>, BenchError> {
    let mut here = Vec::new();
    for &peer in peers {
        match peer.install(places, progress, stop) {
            Ok(installed) => here.push((peer, installed)),
            Err(error @ BenchError::Peer { .. }) if !asked => {
                absent.push(error.to_string().replace('\n', ": "));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_among_other_words() {
        let wrk = "wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer\nUsage: ...";
        assert_eq!(version_in(wrk), Some("4.1.0"));
        assert_eq!(version_in("oha 1.16.0"), Some("1.16.0"));
        assert_eq!(version_in("no version. at all, since 2012"), None);
    }

    #[test]
    fn peers_are_those_asked_for_or_those_by_default() {
        let names = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|&name| name.to_owned()).collect();
            let chosen = choose("loadgen", crate::loadgen::PEERS, &asked);
            chosen.map(|peers| peers.iter().map(|peer| peer.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["wrk", "oha", "aiperf"]);
        assert_eq!(names(&["guidellm"]).unwrap(), ["guidellm"]);
        assert!(names(&["gold"]).is_err());
    }
}
