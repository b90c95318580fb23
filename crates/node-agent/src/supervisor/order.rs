//! What the agent and the supervisor of a pod say to each other: one JSON document a line.
//!
//! Open files travel beside a line, as `SCM_RIGHTS`; [`Order::Start`] says how many belong to it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Identifies one started program within its pod: a container's run, an `exec`, a hook.
pub(crate) type TaskId = u64;

/// From the agent to a supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Start a program. With open files: three, its standard input, output and error.
    Start { id: TaskId, spec: Box<Spec>, log: Option<Log>, files: usize },
    /// Signal a program's main process; `tree`: everything that it started, too.
    Signal { id: TaskId, signal: i32, tree: bool },
    /// Stop (or let go on) every process of the pod. Answered by an ending of this id.
    Freeze { id: TaskId, frozen: bool },
}

/// From a supervisor to the agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// It runs, under this process id.
    Started { id: TaskId, pid: u32 },
    /// It could not be started.
    NotStarted { id: TaskId, reason: String },
    /// It ended, and all that it started has been killed.
    Ended { id: TaskId, ending: Ending },
    /// The supervisor itself is gone, and the pod with it. Said by the agent's own side.
    Gone,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The exit status; with a signal 128 + its number, as containers report it.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}

/// Where a program's output goes, in the CRI's log format.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Log {
    /// The file; older ones stand beside it, with `.1`, `.2`, ... appended.
    pub(crate) path: PathBuf,
    /// Bytes until it is rotated.
    pub(crate) max_bytes: u64,
    /// Files kept, the current one included.
    pub(crate) max_files: usize,
}

/// What to run, and in which surroundings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// The working directory.
    pub(crate) dir: PathBuf,
    /// Where the pod's own view of files differs from the host's; empty: it does not.
    pub(crate) mounts: Vec<Mount>,
    /// An empty directory of the pod's, on which a root directory is built if a mount point is missing.
    pub(crate) scaffold: PathBuf,
    /// The host name that the program sees.
    pub(crate) hostname: Option<String>,
    /// Share the view of files of this process instead.
    pub(crate) enter: Option<u32>,
    /// Standard input is a terminal, and becomes the controlling one.
    pub(crate) tty: bool,
}

/// One file or directory that a program sees elsewhere than the host does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// Where it is on the host.
    pub(crate) source: PathBuf,
    /// Where the program sees it.
    pub(crate) target: PathBuf,
    /// Whether the program may not write to it.
    pub(crate) read_only: bool,
}
