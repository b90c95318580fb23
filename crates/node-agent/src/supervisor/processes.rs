//! Processes by their ids, from `/proc`: who descends from whom, and how to be rid of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Most rounds of freezing and killing before a supervisor gives up.
const SWEEPS: usize = 200;
/// Rounds in a row that must find nobody: reading `/proc` takes time, and what forks and dies meanwhile can be
/// missed by one reading.
const EMPTY_ROUNDS: usize = 2;
/// Pause between rounds.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// What `/proc/ID/stat` says about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) id: u32,
    /// Its parent's.
    pub(crate) parent: u32,
    /// Its process group's.
    pub(crate) group: i32,
    /// Its session's.
    pub(crate) session: i32,
    /// Clock ticks that it has computed, in user and kernel mode.
    pub(crate) ticks: u64,
    /// Resident pages.
    pub(crate) pages: u64,
}

impl Process {
    /// Reads `id (name) state parent group session ...`, where the name may hold anything (proc(5)). `None` for a zombie.
    pub(crate) fn parse(id: u32, stat: &[u8]) -> Option<Self> {
        let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(&stat[end_of_name + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        // Field 7 follows; user time is field 14, system time 15, resident pages 24.
        let user: u64 = fields.nth(7)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let pages = fields.nth(8)?.parse().ok()?;
        Some(Self { id, parent, group, session, ticks: user.saturating_add(system), pages })
    }

    fn of(id: u32) -> Option<Self> {
        Self::parse(id, &fs::read(format!("/proc/{id}/stat")).ok()?)
    }
}

/// Every living process, by id.
pub(crate) fn all() -> BTreeMap<u32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| Some((id, Process::of(id)?))).collect()
}

/// Those of `all` that descend from one, itself excluded.
pub(crate) fn below(all: &BTreeMap<u32, Process>, root: u32) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in all.values() {
        children.entry(process.parent).or_default().push(process.id);
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        found.extend(children.remove(parent).unwrap_or_default());
        next += 1;
    }
    found.iter().skip(1).filter_map(|id| all.get(id).copied()).collect()
}

/// Kills what `find` finds until it finds nothing. Everything is frozen first, so that nothing can make another
/// while the rest is being found.
pub(crate) fn kill_all(find: impl Fn() -> Vec<Process>) {
    let own_group = nix::unistd::getpgrp().as_raw();
    let mut known = BTreeSet::new();
    let mut empty_rounds = 0;
    for _ in 0..SWEEPS {
        let alive = find();
        if alive.is_empty() {
            empty_rounds += 1;
            if empty_rounds == EMPTY_ROUNDS {
                return;
            }
            continue;
        }
        empty_rounds = 0;
        let before = known.len();
        known.extend(alive.iter().map(|process| process.id));
        if known.len() > before {
            alive.iter().for_each(|process| signal(process.id, Signal::SIGSTOP));
            continue;
        }
        // A signal to a group reaches all of it at once, even what is being forked.
        let groups: BTreeSet<i32> = alive.iter().map(|process| process.group).collect();
        for group in groups.into_iter().filter(|group| *group > 1 && *group != own_group) {
            // Only groups that a process of ours leads: nobody else's are in them.
            if alive.iter().any(|process| i32::try_from(process.id) == Ok(group)) {
                let _already_gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
        }
        alive.iter().for_each(|process| signal(process.id, Signal::SIGKILL));
        std::thread::sleep(PAUSE);
    }
}

/// Signals one process. One that is gone already is as good as signalled.
pub(crate) fn signal(id: u32, signal: Signal) {
    if let Ok(id) = i32::try_from(id)
        && id > 1
    {
        let _already_gone = kill(Pid::from_raw(id), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let mut stat = b"7 (a) R (b)) S 3 7 9 0 -1 4194304 1 2 3 4 50 60".to_vec();
        stat.extend(b" 0 0 20 0 1 0 12345 1000000 77 999");
        let expected = Process { id: 7, parent: 3, group: 7, session: 9, ticks: 110, pages: 77 };
        assert_eq!(Process::parse(7, &stat), Some(expected));
    }

    #[test]
    fn this_process_is_among_all() {
        assert!(all().contains_key(&std::process::id()));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(stat in prop::collection::vec(any::<u8>(), 0..200)) {
            let _any_answer = Process::parse(1, &stat);
        }
    }
}
