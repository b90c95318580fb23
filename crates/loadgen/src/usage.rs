//! What the generator itself uses: processor time and file descriptors.

use std::time::Duration;

/// File descriptors that are not connections: standard streams, files, timers.
const SPARE_DESCRIPTORS: u64 = 64;

/// Processor time of this process so far, user and system.
#[must_use]
pub(crate) fn process_cpu() -> Option<Duration> {
    imp::cpu(false)
}

/// Processor time of this thread so far, user and system; where the system counts it.
#[must_use]
pub(crate) fn thread_cpu() -> Option<Duration> {
    imp::cpu(true)
}

/// Raises the limit on open files as far as allowed; how many connections may then be open.
#[must_use]
pub(crate) fn raise_descriptors() -> Option<u64> {
    imp::raise().map(|limit| limit.saturating_sub(SPARE_DESCRIPTORS))
}

#[cfg(unix)]
mod imp {
    use std::time::Duration;

    use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
    use nix::sys::time::TimeValLike;

    pub(super) fn cpu(thread: bool) -> Option<Duration> {
        #[cfg(target_os = "linux")]
        let who = if thread { UsageWho::RUSAGE_THREAD } else { UsageWho::RUSAGE_SELF };
        #[cfg(not(target_os = "linux"))]
        let who = if thread { return None } else { UsageWho::RUSAGE_SELF };
        let usage = getrusage(who).ok()?;
        let used = usage.user_time() + usage.system_time();
        u64::try_from(used.num_microseconds()).ok().map(Duration::from_micros)
    }

    pub(super) fn raise() -> Option<u64> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
        Some(if raised { hard } else { soft })
    }
}

#[cfg(not(unix))]
mod imp {
    use std::time::Duration;

    pub(super) fn cpu(_: bool) -> Option<Duration> {
        None
    }

    pub(super) fn raise() -> Option<u64> {
        None
    }
}
