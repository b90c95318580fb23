//! The course's own cluster: one process of this machine, started and ended here.
//!
//! Whether it runs is asked of the kernel: the process holds a lock on a file in its folder, so neither a stale file
//! nor a reused process id can lie.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Lack, Provider, State};
use crate::program::last_lines;
use crate::{Access, ClusterError, Paths};

/// The longest wait for the first answer. It takes a tenth of a second; a busy machine may take longer.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// The longest wait for its end: pods get their grace.
const DOWN_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(10);
/// The program.
const PROGRAM: &str = "embedded-cluster";

/// The embedded cluster of this clone.
pub(super) struct Embedded {
    paths: Paths,
    folder: PathBuf,
}

impl Embedded {
    pub(super) fn new(paths: Paths) -> Self {
        let folder = paths.state("embedded");
        Self { paths, folder }
    }

    fn access(&self) -> Access {
        Access { kubeconfig: Some(self.folder.join("kubeconfig")), context: None }
    }

    /// Who holds the lock.
    fn process(&self) -> Result<Option<Pid>, ClusterError> {
        let path = self.folder.join("lock");
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(ClusterError::File { path, cause }),
        };
        holder(&file).map_err(|cause| ClusterError::File { path, cause: cause.into() })
    }

    fn start(&self) -> Result<(), ClusterError> {
        let program = self.paths.program(PROGRAM)?;
        let log = self.folder.join("log");
        let file = |path: &Path| {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|cause| ClusterError::File { path: path.to_owned(), cause })
        };
        let mut child = Command::new(&program)
            .arg("run")
            .arg("--state")
            .arg(&self.folder)
            .arg("--config")
            .arg(self.paths.root.join("clusters/embedded/cluster.toml"))
            .arg("--programs")
            .arg(&self.paths.programs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file(&log)?)
            // Ctrl-C in this terminal is not meant for it.
            .process_group(0)
            .spawn()
            .map_err(|cause| ClusterError::Spawn { program, cause })?;
        wait_until_ready(&mut child, log)
    }
}

// === impl Provider for Embedded ===

impl Provider for Embedded {
    fn lacks(&self) -> Vec<Lack> {
        Vec::new()
    }

    fn up(&self) -> Result<Access, ClusterError> {
        if self.process()?.is_none() {
            std::fs::create_dir_all(&self.folder)
                .map_err(|cause| ClusterError::File { path: self.folder.clone(), cause })?;
            self.start()?;
        }
        Ok(self.access())
    }

    fn down(&self, forget: bool) -> Result<(), ClusterError> {
        if let Some(pid) = self.process()? {
            // It may have gone by itself in between: then the lock is free, and that is what is waited for.
            let _ = kill(pid, Signal::SIGTERM);
            let deadline = Instant::now() + DOWN_LIMIT;
            while self.process()?.is_some() {
                if Instant::now() >= deadline {
                    return Err(ClusterError::NotGone { pid: pid.as_raw(), limit: DOWN_LIMIT });
                }
                std::thread::sleep(POLL);
            }
        }
        if forget && self.folder.exists() {
            std::fs::remove_dir_all(&self.folder)
                .map_err(|cause| ClusterError::File { path: self.folder.clone(), cause })?;
        }
        Ok(())
    }

    fn state(&self) -> Result<State, ClusterError> {
        Ok(match self.process()? {
            Some(_) => State::Up(self.access()),
            None => State::Down("not running; `cargo xtask cluster up` starts it".to_owned()),
        })
    }

    fn load(&self, image: &str, program: &Path) -> Result<(), ClusterError> {
        let folder = self.folder.join("images");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |cause| ClusterError::File { path, cause }
        };
        std::fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let path = folder.join(format!("{}.json", file_name(image)));
        let program = std::path::absolute(program).map_err(failed(program))?;
        let text = serde_json::json!({"pattern": image, "program": program}).to_string();
        let new = path.with_extension("new");
        std::fs::write(&new, text).map_err(failed(&new))?;
        std::fs::rename(&new, &path).map_err(failed(&path))
    }

    fn forget(&self, prefix: &str) -> Result<(), ClusterError> {
        let folder = self.folder.join("images");
        let start = file_name(&format!("{prefix}/"));
        for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().starts_with(&start) {
                let path = file.path();
                std::fs::remove_file(&path).map_err(|cause| ClusterError::File { path, cause })?;
            }
        }
        Ok(())
    }
}

/// What an image's file is called.
fn file_name(image: &str) -> String {
    image.replace(['/', ':'], "_")
}

/// The process that holds the lock on a file.
fn holder(file: &File) -> nix::Result<Option<Pid>> {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    let free = lock.l_type == libc::F_UNLCK as libc::c_short;
    Ok((!free).then(|| Pid::from_raw(lock.l_pid)))
}

/// Waits for the line by which the cluster says that it answers.
fn wait_until_ready(child: &mut Child, log: PathBuf) -> Result<(), ClusterError> {
    let (sender, said) = sync_channel(1);
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // Nobody listens any more where the wait is over.
            let _ = sender.send(read.is_ok_and(|bytes| bytes > 0));
        });
    }
    match said.recv_timeout(READY_LIMIT) {
        Ok(true) => Ok(()),
        Ok(false) | Err(RecvTimeoutError::Disconnected) => {
            let _ = child.wait();
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            Err(ClusterError::Ended { said: last_lines(&text), log })
        }
        Err(RecvTimeoutError::Timeout) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(ClusterError::NotReady { limit: READY_LIMIT, log })
        }
    }
}
