//! The last step before a program: what a process can only do to itself, then it becomes the program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::SigSet;

use super::channel::Inbox;
use super::order::Spec;
use super::view;

/// Becomes the program that the supervisor describes on standard input. Comes back only with an exit status: the reason has
/// been told to the supervisor.
pub(super) fn run(supervisor: Option<&str>) -> i32 {
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return 128;
    };
    let reason = become_program(&socket, supervisor.and_then(|id| id.parse().ok()));
    let mut socket = socket;
    let _nowhere_else_to_say_it = socket.write_all(reason.as_bytes());
    128
}

fn become_program(socket: &UnixStream, supervisor: Option<u32>) -> String {
    match prepare(socket, supervisor) {
        Ok(mut command) => {
            let program = command.get_program().to_string_lossy().into_owned();
            let error = command.exec();
            format!("exec: {program:?}: {error}")
        }
        Err(reason) => reason,
    }
}

fn prepare(socket: &UnixStream, supervisor: Option<u32>) -> Result<Command, String> {
    let told = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let mut inbox = Inbox::default();
    let spec: Spec = loop {
        if let Some(spec) = inbox.take().map_err(told("read the order"))? {
            break spec;
        }
        if !inbox.fill(socket).map_err(told("read the order"))? {
            return Err("the supervisor is gone".to_owned());
        }
    };
    let files: Vec<OwnedFd> = inbox.files.drain(..).collect();
    let [stdin, stdout, stderr] =
        <[OwnedFd; 3]>::try_from(files).map_err(|_| "standard files are missing".to_owned())?;
    let supervisor = supervisor.ok_or("the supervisor did not say who it is")?;
    process_tree::die_with(supervisor).map_err(told("cannot bind a program to its supervisor"))?;
    // The supervisor keeps SIGCHLD to itself; a program starts with nothing blocked.
    SigSet::empty().thread_set_mask().map_err(|error| error.to_string())?;
    // A session of its own: it cannot signal others by group, and what it detaches is known by it.
    nix::unistd::setsid().map_err(|error| format!("a session of its own: {error}"))?;
    if spec.tty {
        rustix::process::ioctl_tiocsctty(&stdin)
            .map_err(|error| format!("controlling terminal: {error}"))?;
    }
    view::take(&spec)?;
    std::env::set_current_dir(&spec.dir)
        .map_err(|error| format!("working directory {}: {error}", spec.dir.display()))?;
    let [name, arguments @ ..] = spec.argv.as_slice() else {
        return Err("no command is given, and the image has none".to_owned());
    };
    let program = find(name, &spec)?;
    let mut command = Command::new(program);
    command.arg0(name).args(arguments).env_clear().envs(spec.env.iter().map(|(k, v)| (k, v)));
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    Ok(command)
}

/// Looks a program up in the program's own `PATH`, as a shell would.
fn find(name: &str, spec: &Spec) -> Result<PathBuf, String> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path = spec.env.iter().rev().find(|(key, _)| key == "PATH").map(|(_, value)| value);
    let path = path.map(OsString::from).unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
        .ok_or_else(|| format!("exec: {name:?}: executable file not found in $PATH"))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}
