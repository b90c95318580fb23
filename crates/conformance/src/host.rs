//! What a process of this machine holds: for clusters that run here, to see that nothing leaks. Linux alone has it.

use process_tree::Tree;
use serde_json::{Value, json};

/// What a process and its descendants hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Resident memory of the process itself, in KiB.
    pub memory_kib: u64,
    /// Its open files and sockets.
    pub files: usize,
    /// Its threads.
    pub threads: u64,
    /// Its descendants.
    pub descendants: usize,
    /// TCP sockets of this machine that listen.
    pub listening: usize,
}

impl Holdings {
    /// Looks at process `pid`; none when it is gone, or this is no Linux.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Some(Self {
            memory_kib: field("VmRSS:")?,
            files: std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
            threads: field("Threads:")?,
            descendants: Tree::look().below(pid).len(),
            listening: listening(),
        })
    }

    /// For a program.
    #[must_use]
    pub fn to_json(self) -> Value {
        json!({
            "memory_kib": self.memory_kib, "files": self.files, "threads": self.threads,
            "descendants": self.descendants, "listening": self.listening,
        })
    }
}

/// State `0A` of /proc/net/tcp is TCP_LISTEN (include/net/tcp_states.h).
fn listening() -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().filter(|line| line.split_whitespace().nth(3) == Some("0A")).count()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_something_and_a_child_is_seen() {
        let own = std::process::id();
        let before = Holdings::of(own).unwrap();
        assert!(before.memory_kib > 100 && before.files > 2 && before.threads >= 1);
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        assert!(Holdings::of(own).unwrap().descendants > before.descendants);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Holdings::of(u32::MAX), None);
    }
}
