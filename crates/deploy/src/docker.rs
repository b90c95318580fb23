//! A Docker engine to try images on: the machine's own, or Debian's, installed and started for as long as it is needed.
//!
//! One of ours has its own data folder and socket, no bridge and no firewall rule, so that nothing of the machine changes. It is
//! ended by its process id.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Where a machine's own engine listens.
const SYSTEM_SOCKET: &str = "/var/run/docker.sock";
/// How long an engine may take to answer, or to end.
const LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(100);

/// Why there is no Docker.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// It cannot be had on this machine.
    #[error("{0}")]
    Unavailable(String),
    /// It did not start.
    #[error("dockerd did not answer within {limit} s; its log ends with: {log}", limit = LIMIT.as_secs())]
    NotStarted {
        /// The last lines of its log.
        log: String,
    },
    /// A file or a process.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// An engine that answers.
#[derive(Debug)]
pub struct Docker {
    /// What `DOCKER_HOST` must be.
    pub host: String,
    ours: Option<Ours>,
}

/// An engine that we started.
#[derive(Debug)]
struct Ours {
    process: Child,
    folder: PathBuf,
}

impl Docker {
    /// The engine that `DOCKER_HOST` names or that the machine runs; or else one of ours in `folder`, for which Debian's packages
    /// are installed if `install` says so.
    ///
    /// # Errors
    /// [`DockerError::Unavailable`] with what is missing.
    pub fn get(folder: &Path, install: bool) -> Result<Self, DockerError> {
        if let Ok(host) = std::env::var("DOCKER_HOST")
            && !host.is_empty()
        {
            return Ok(Self { host, ours: None });
        }
        if answers(Path::new(SYSTEM_SOCKET)) {
            return Ok(Self { host: format!("unix://{SYSTEM_SOCKET}"), ours: None });
        }
        if !is_root() {
            let why = "no Docker engine runs, and starting one needs root";
            return Err(DockerError::Unavailable(why.to_owned()));
        }
        if !has("dockerd") {
            if !install {
                let why = "there is no dockerd: apt-get install docker.io, or run with --install";
                return Err(DockerError::Unavailable(why.to_owned()));
            }
            apt()?;
        }
        Self::start(folder)
    }

    fn start(folder: &Path) -> Result<Self, DockerError> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let socket = folder.join("docker.sock");
        // A socket that an earlier engine left would be taken for one that answers.
        let _ = fs::remove_file(&socket);
        let log = folder.join("dockerd.log");
        let flag = |name: &str, path: &str| format!("--{name}={}", folder.join(path).display());
        let process = Command::new("dockerd")
            .arg(flag("data-root", "data"))
            .arg(flag("exec-root", "exec"))
            .arg(flag("pidfile", "dockerd.pid"))
            .arg(format!("--host=unix://{}", socket.display()))
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .process_group(0)
            .spawn()?;
        let host = format!("unix://{}", socket.display());
        let mut docker = Self { host, ours: Some(Ours { process, folder }) };
        let began = Instant::now();
        while !answers(&socket) {
            let dead = docker
                .ours
                .as_mut()
                .is_some_and(|ours| matches!(ours.process.try_wait(), Ok(Some(_))));
            if dead || began.elapsed() > LIMIT {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(3).collect();
                let log = tail.into_iter().rev().collect::<Vec<_>>().join(" | ");
                return Err(DockerError::NotStarted { log });
            }
            sleep(POLL);
        }
        Ok(docker)
    }

    /// Whether it was started for this.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.ours.is_some()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let Some(ours) = &mut self.ours else { return };
        let Ok(pid) = i32::try_from(ours.process.id()) else { return };
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGTERM);
        let began = Instant::now();
        while !matches!(ours.process.try_wait(), Ok(Some(_))) && began.elapsed() < LIMIT {
            sleep(POLL);
        }
        // Whatever is left of its group: containerd, if it outlived dockerd.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        let _ = ours.process.wait();
        let _ = fs::remove_dir_all(&ours.folder);
    }
}

/// Whether an engine answers on this socket: `/_ping` says OK.
fn answers(socket: &Path) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut text = String::new();
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n").is_ok()
        && stream.read_to_string(&mut text).is_ok()
        && text.contains(" 200 ")
}

/// Whether this process may do everything: whose `/proc/self` is.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Installs Debian's Docker engine.
fn apt() -> Result<(), DockerError> {
    if !has("apt-get") {
        let why = "there is no dockerd, and no apt-get to install one with";
        return Err(DockerError::Unavailable(why.to_owned()));
    }
    let install = ["install", "-y", "-qq", "--no-install-recommends", "docker.io"];
    for args in [&["update", "-qq"][..], &install[..]] {
        let output = Command::new("apt-get")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = text.lines().last().unwrap_or("no reason given").to_owned();
            return Err(DockerError::Unavailable(format!("apt-get {}: {last}", args[0])));
        }
    }
    Ok(())
}
