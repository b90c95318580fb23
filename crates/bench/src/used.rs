//! What a running server has used so far, with all processes below it.

use std::time::Duration;

use process_tree::Tree;

/// Processor time and memory of a process and its descendants.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Used {
    /// User and system.
    pub(crate) cpu: Duration,
    /// The most memory that each of them held, summed, in bytes.
    pub(crate) peak_rss_bytes: u64,
    /// The memory that each of them holds now, summed, in bytes. What they share counts for each.
    pub(crate) rss_bytes: u64,
}

impl Used {
    /// Of this process and all below it. `None` where the system does not say.
    pub(crate) fn by(pid: u32) -> Option<Self> {
        let mut total = Self::default();
        let mut found = false;
        let below = Tree::look().below(pid).into_iter().map(|process| process.id);
        for pid in std::iter::once(pid).chain(below) {
            let Some(used) = one(pid) else { continue };
            total.cpu += used.cpu;
            total.peak_rss_bytes += used.peak_rss_bytes;
            total.rss_bytes += used.rss_bytes;
            found = true;
        }
        found.then_some(total)
    }
}

fn one(pid: u32) -> Option<Used> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |field: &str| -> Option<u64> {
        let said = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(said.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
    };
    let (peak_rss_bytes, rss_bytes) = (bytes("VmHWM:")?, bytes("VmRSS:")?);
    Some(Used { cpu: ran(pid)?, peak_rss_bytes, rss_bytes })
}

/// By the process's own clock: it counts nanoseconds, where `/proc/PID/stat` has ticks of ten million, and threads that have ended too,
/// of which `/proc/PID/task` knows nothing.
#[cfg(target_os = "linux")]
fn ran(pid: u32) -> Option<Duration> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?);
    let clock = nix::time::clock_getcpuclockid(pid).ok()?;
    Some(nix::time::clock_gettime(clock).ok()?.into())
}

#[cfg(not(target_os = "linux"))]
fn ran(_: u32) -> Option<Duration> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_seen_with_its_children() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "cat | cat; exit"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        // What comes back has gone through both of its children.
        let mut stdin = shell.stdin.take().unwrap();
        stdin.write_all(b"here\n").unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "here\n");
        let (alone, with) = (one(shell.id()).unwrap(), Used::by(shell.id()).unwrap());
        drop(stdin);
        shell.wait().unwrap();
        assert!(with.cpu > alone.cpu, "{with:?} {alone:?}");
        assert!(with.rss_bytes > alone.rss_bytes, "{with:?} {alone:?}");
        assert!(with.rss_bytes <= with.peak_rss_bytes, "{with:?}");
    }

    #[test]
    fn what_a_thread_has_computed_is_not_forgotten_when_it_ends() {
        let computes = || {
            let clock = || nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
            while Duration::from(clock().unwrap()) < Duration::from_millis(50) {}
        };
        let before = one(std::process::id()).unwrap();
        std::thread::spawn(computes).join().unwrap();
        let after = one(std::process::id()).unwrap();
        assert!(after.cpu >= before.cpu + Duration::from_millis(50), "{before:?} {after:?}");
    }
}
