//! The last step before a check: limits that a process can only set on itself, then it becomes the check.

use std::process::Command;

use super::{Limits, quota};

/// First argument that makes this program confine itself and become another.
pub(super) const FLAG: &str = "--grader-confine";

/// The arguments that [`become_program`] reads, up to the program and its own.
pub(super) fn arguments(limits: &Limits, quota: &quota::Quota) -> Vec<String> {
    let space = limits.address_space_bytes.unwrap_or(0);
    let seconds = limits.own.map_or(0, |own| own.as_secs() + 1);
    vec![
        FLAG.into(),
        space.to_string(),
        limits.file_bytes.to_string(),
        seconds.to_string(),
        std::process::id().to_string(),
        quota.argument(),
    ]
}

/// Sets the limits, then replaces this process. Comes back only with the reason why it could not.
#[cfg(unix)]
pub(super) fn become_program(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> String {
    use std::os::unix::process::CommandExt;

    let mut number = || arguments.next()?.to_str()?.parse::<u64>().ok();
    let (Some(space), Some(file), Some(seconds), Some(Ok(parent))) =
        (number(), number(), number(), number().map(u32::try_from))
    else {
        return format!("{FLAG} is for the grader's own use");
    };
    let quota = arguments.next().unwrap_or_default();
    if let Err(reason) = quota::join(&quota.to_string_lossy()) {
        return format!("cannot limit the processes of a check: {reason}");
    }
    if let Err(error) = set_limits(space, file, seconds) {
        return format!("cannot set the limits of a check: {error}");
    }
    // A session of its own: no terminal to read from, and a process group to be killed by.
    let _leads_one_already = nix::unistd::setsid();
    if let Err(error) = process_tree::die_with(parent) {
        return format!("cannot bind a check to its supervisor: {error}");
    }
    match arguments.next() {
        Some(path) => Command::new(path).args(arguments).exec().to_string(),
        None => "no program to run".to_owned(),
    }
}

#[cfg(not(unix))]
pub(super) fn become_program(_: impl Iterator<Item = std::ffi::OsString>) -> String {
    format!("{FLAG} works on Unix only")
}

#[cfg(unix)]
fn set_limits(space: u64, file: u64, seconds: u64) -> nix::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let lower = |resource, wanted: u64| {
        let (_, hard) = getrlimit(resource)?;
        let value = wanted.min(hard);
        setrlimit(resource, value, value)
    };
    lower(Resource::RLIMIT_CORE, 0)?;
    lower(Resource::RLIMIT_FSIZE, file)?;
    // Other systems have the name without the meaning.
    if cfg!(target_os = "linux") && space > 0 {
        lower(Resource::RLIMIT_AS, space)?;
    }
    // Linux lets the supervisor look at what a check computes. Elsewhere the kernel ends one that computes for too long.
    if !cfg!(target_os = "linux") && seconds > 0 {
        lower(Resource::RLIMIT_CPU, seconds)?;
    }
    Ok(())
}
