//! How many processes and threads a check may have at once, held by the kernel.
//!
//! The supervisor counts descendants and ends a check that has too many, but a fork bomb on a busy machine is
//! faster than anybody who counts. So the kernel holds a wider limit: for root a cgroup of its own, where one can
//! be made; for everybody else `RLIMIT_NPROC`, which root is exempt from.

use std::fs;
use std::path::{Path, PathBuf};

/// Tasks for each process that a check may have: an engine under test has threads.
const TASKS_PER_PROCESS: u64 = 8;
/// How the folders of our cgroups begin; then the supervisor's id.
const PREFIX: &str = "llm-lab-";
/// Tries to remove a cgroup: its last processes may still be on their way out.
const REMOVALS: u32 = 50;

/// Where a program's tasks are counted.
#[derive(Debug)]
pub(super) enum Quota {
    /// In a cgroup, which goes when this does.
    Cgroup(PathBuf),
    /// Among all that the user runs.
    User {
        /// The most that there may be.
        limit: u64,
    },
    /// Nowhere: the supervisor's count is all there is.
    None,
}

impl Quota {
    /// A quota for a program that may have so many processes.
    pub(super) fn new(processes: usize) -> Self {
        let tasks = processes as u64 * TASKS_PER_PROCESS;
        if !cfg!(target_os = "linux") {
            return Self::None;
        }
        if !is_root() {
            return Self::User { limit: tasks_of_user() + tasks };
        }
        cgroup_folders().iter().find_map(|parent| cgroup(parent, tasks)).unwrap_or(Self::None)
    }

    /// The processes in it, whoever their parents are; none where only the kernel knows them.
    pub(super) fn members(&self) -> Vec<u32> {
        let Self::Cgroup(path) = self else { return Vec::new() };
        let members = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        members.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// For the command line of the program that will [`join`] it.
    pub(super) fn argument(&self) -> String {
        match self {
            Self::Cgroup(path) => path.display().to_string(),
            Self::User { limit } => limit.to_string(),
            Self::None => "-".to_owned(),
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let Self::Cgroup(path) = self else { return };
        for _ in 0..REMOVALS {
            if fs::remove_dir(&path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

/// Puts this process under the quota of an [`argument`](Quota::argument).
pub(super) fn join(argument: &str) -> Result<(), String> {
    if argument == "-" {
        return Ok(());
    }
    let Ok(limit) = argument.parse() else {
        let members = Path::new(argument).join("cgroup.procs");
        // 0 is whoever writes it.
        return fs::write(&members, "0").map_err(|error| format!("{}: {error}", members.display()));
    };
    limit_user(limit)
}

#[cfg(target_os = "linux")]
fn limit_user(limit: u64) -> Result<(), String> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let (_, hard) = getrlimit(Resource::RLIMIT_NPROC).map_err(|error| error.to_string())?;
    let limit = limit.min(hard);
    setrlimit(Resource::RLIMIT_NPROC, limit, limit).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn limit_user(_: u64) -> Result<(), String> {
    Ok(())
}

/// Whether this process runs as root.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|about| owner(&about) == 0)
}

/// Processes and threads of the user who runs this.
fn tasks_of_user() -> u64 {
    let me = fs::metadata("/proc/self").map(|about| owner(&about)).ok();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mine = entries.filter(|entry| entry.metadata().map(|about| owner(&about)).ok() == me);
    let tasks = mine.filter_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Threads:"))?;
        line.trim().parse::<u64>().ok()
    });
    tasks.sum()
}

#[cfg(unix)]
fn owner(about: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(about)
}

#[cfg(not(unix))]
fn owner(_: &fs::Metadata) -> u32 {
    u32::MAX
}

/// Cgroups that count tasks and that this process is in: of version 1, then of version 2.
fn cgroup_folders() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let line = |start: &str| {
        let rest = own.lines().find_map(|line| line.split_once(start).map(|(_, rest)| rest))?;
        Some(rest.trim_start_matches('/').to_owned())
    };
    let version_1 = line(":pids:").map(|path| Path::new("/sys/fs/cgroup/pids").join(path));
    let version_2 = line("0::").map(|path| Path::new("/sys/fs/cgroup").join(path));
    version_1.into_iter().chain(version_2).collect()
}

/// A new cgroup for so many tasks. `None` where that is not allowed.
fn cgroup(parent: &Path, tasks: u64) -> Option<Quota> {
    remove_stale(parent);
    let path = parent.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir(&path).ok()?;
    let quota = Quota::Cgroup(path.clone());
    // Without the controller there is no such file, and the folder goes with the quota.
    let max = path.join("pids.max");
    (max.exists() && fs::write(max, tasks.to_string()).is_ok()).then_some(quota)
}

/// Removes what supervisors left that were killed. One that still has members stays.
fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if id.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _still_in_use = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tasks_of_a_user_include_this_one() {
        assert!(!cfg!(target_os = "linux") || tasks_of_user() >= 1);
    }

    #[test]
    fn no_quota_is_nothing_to_join() {
        assert_eq!(Quota::None.argument(), "-");
        assert_eq!(join("-"), Ok(()));
    }

    #[test]
    fn a_cgroup_that_is_not_there_cannot_be_joined() {
        assert!(join("/no/such/cgroup").is_err());
    }
}
