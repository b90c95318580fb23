//! How to be rid of some processes of a pod while others go on.

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use process_tree::Process;

/// Most rounds of freezing and killing before a supervisor gives up.
const SWEEPS: usize = 200;
/// Rounds in a row that must find nobody: reading `/proc` takes time, and what forks and dies meanwhile can be
/// missed by one reading.
const EMPTY_ROUNDS: usize = 2;
/// Pause between rounds.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

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
