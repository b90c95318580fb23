//! What a running server has used so far, with all processes below it.

use std::path::Path;
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
            let dir = Path::new("/proc").join(pid.to_string());
            let Some(used) = one(&dir) else { continue };
            total.cpu += used.cpu;
            total.peak_rss_bytes += used.peak_rss_bytes;
            total.rss_bytes += used.rss_bytes;
            found = true;
        }
        found.then_some(total)
    }
}

/// Each thread says in nanoseconds how long it ran; a clock tick would be too coarse.
fn one(dir: &Path) -> Option<Used> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(dir.join("task")).ok()?.flatten() {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    let status = std::fs::read_to_string(dir.join("status")).ok()?;
    let bytes = |field: &str| -> Option<u64> {
        let said = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(said.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
    };
    let (peak_rss_bytes, rss_bytes) = (bytes("VmHWM:")?, bytes("VmRSS:")?);
    Some(Used { cpu: Duration::from_nanos(nanoseconds), peak_rss_bytes, rss_bytes })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_with_its_children() {
        let before = Used::by(std::process::id()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        let with = Used::by(std::process::id()).unwrap();
        assert!(with.cpu >= before.cpu && with.peak_rss_bytes > 1 << 20);
        assert!(with.rss_bytes > 1 << 20 && with.rss_bytes <= with.peak_rss_bytes);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
