//! Processes by their ids: who descends from this one, and how to be rid of them.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most rounds of freezing and killing before a supervisor gives up.
const SWEEPS: usize = 200;
/// Rounds in a row that must find nobody: reading `/proc` takes time, and what forks and dies meanwhile can be
/// missed by one reading.
const EMPTY_ROUNDS: usize = 3;
/// Pause between rounds.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// Children that this process started itself. Held while one is being started, so that nobody takes it for
/// a stranger.
static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn own() -> MutexGuard<'static, BTreeSet<u32>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child and remembers it as our own.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut own = own();
    let child = command.spawn()?;
    own.insert(child.id());
    Ok(child)
}

/// To be called when a child has been waited for.
pub(crate) fn forget(child: &Child) {
    own().remove(&child.id());
}

/// Gives a child a process group of its own, so that a signal to ours does not reach it, nor the other way.
pub(crate) fn own_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _one_group_is_all_there_is = command;
}

/// Kills a process group that [`own_group`] made.
pub(crate) fn kill_group(leader: u32) {
    #[cfg(unix)]
    if let Ok(leader) = i32::try_from(leader) {
        use nix::sys::signal::{Signal, killpg};
        let _already_gone = killpg(nix::unistd::Pid::from_raw(leader), Signal::SIGKILL);
    }
    #[cfg(not(unix))]
    let _ends_by_itself = leader;
}

/// Makes this process the parent of every descendant whose own parent dies.
pub(super) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    {
        let _only_detached_processes_escape = nix::sys::prctl::set_child_subreaper(true);
        // Whoever is a child already came with `exec`, from a shell perhaps, and is not ours to kill.
        let before = linux::children();
        own().extend(before);
    }
}

/// Waits for a child in a thread. With `reap_all`, also for every orphan that this process adopts.
pub(super) fn await_exit(mut child: Child, reap_all: bool) -> Receiver<ExitStatus> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        #[cfg(unix)]
        if reap_all {
            reap_every_child(child.id(), &sender);
            return;
        }
        let _ = reap_all;
        if let Ok(status) = child.wait() {
            let _nobody_waits = sender.send(status);
        }
        forget(&child);
    });
    receiver
}

#[cfg(unix)]
fn reap_every_child(main: u32, sender: &std::sync::mpsc::SyncSender<ExitStatus>) {
    use nix::errno::Errno;
    use nix::sys::wait::{WaitStatus, waitpid};
    use std::os::unix::process::ExitStatusExt;

    loop {
        let (pid, raw) = match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, (code & 0xff) << 8),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, signal as i32),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(_) => return,
        };
        if u32::try_from(pid.as_raw()) == Ok(main) {
            let _nobody_waits = sender.try_send(ExitStatus::from_raw(raw));
        }
    }
}

/// Every living process below this one.
#[cfg(target_os = "linux")]
pub(super) fn descendants() -> Vec<u32> {
    linux::below(std::process::id())
}

/// None are known: process groups are all there is.
#[cfg(not(target_os = "linux"))]
pub(super) fn descendants() -> Vec<u32> {
    Vec::new()
}

/// Kills every descendant and every one of `members`, and says how many there were. They are frozen first, so
/// that none can make another while the rest are being found.
#[cfg(target_os = "linux")]
pub(super) fn sweep(members: impl Fn() -> Vec<u32>) -> usize {
    kill_all(|| {
        let mut alive = descendants();
        alive.extend(members());
        alive
    })
}

/// Kills the group of everything that was started.
#[cfg(not(target_os = "linux"))]
pub(super) fn sweep(_members: impl Fn() -> Vec<u32>) -> usize {
    for id in own().iter() {
        kill_group(*id);
    }
    0
}

/// Kills what a dead supervisor left to us: children that we did not start, and all below them.
pub(super) fn kill_adopted() {
    #[cfg(target_os = "linux")]
    {
        // Held all the while: what another thread starts meanwhile would look like a stranger.
        let own = own();
        let strangers = || {
            let adopted = linux::children().into_iter().filter(|id| !own.contains(id));
            adopted.flat_map(|id| std::iter::once(id).chain(linux::below(id))).collect()
        };
        kill_all(strangers);
        linux::reap(|id| !own.contains(&id));
    }
}

#[cfg(target_os = "linux")]
fn kill_all(find: impl Fn() -> Vec<u32>) -> usize {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let mut known = BTreeSet::new();
    let mut empty_rounds = 0;
    for _ in 0..SWEEPS {
        let alive = find();
        if alive.is_empty() {
            empty_rounds += 1;
            if empty_rounds == EMPTY_ROUNDS {
                break;
            }
            std::thread::sleep(PAUSE);
            continue;
        }
        empty_rounds = 0;
        let pids = || alive.iter().filter_map(|id| Some(Pid::from_raw(i32::try_from(*id).ok()?)));
        let before = known.len();
        known.extend(alive.iter().copied());
        // A signal to a group reaches all of it at once, even what is being forked. Checks lead sessions of
        // their own, so no group of theirs has anybody else in it.
        for group in linux::groups(&alive) {
            _ = nix::sys::signal::killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        // One that is gone already is as good as killed.
        let send = |signal| pids().for_each(|pid| _ = kill(pid, signal));
        if known.len() > before {
            send(Signal::SIGSTOP);
        } else {
            send(Signal::SIGKILL);
            std::thread::sleep(PAUSE);
        }
    }
    known.len()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;

    /// Parent of every process that is not a zombie.
    fn parents() -> BTreeMap<u32, u32> {
        let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
        let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(|id: u32| Some((id, living_parent(id)?))).collect()
    }

    fn living_parent(id: u32) -> Option<u32> {
        let stat = Stat::of(id)?;
        (!matches!(stat.state, 'Z' | 'X')).then_some(stat.parent)
    }

    /// The process groups of some processes, but not our own.
    pub(super) fn groups(ids: &[u32]) -> BTreeSet<i32> {
        let own = nix::unistd::getpgrp().as_raw();
        let groups = ids.iter().filter_map(|id| Some(Stat::of(*id)?.group));
        groups.filter(|group| *group > 1 && *group != own).collect()
    }

    /// The beginning of `/proc/ID/stat`: `id (name) state parent group ...`, where the name may hold anything.
    struct Stat {
        state: char,
        parent: u32,
        group: i32,
    }

    impl Stat {
        fn of(id: u32) -> Option<Self> {
            let stat = fs::read(format!("/proc/{id}/stat")).ok()?;
            let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
            let rest = std::str::from_utf8(&stat[end_of_name + 1..]).ok()?;
            let mut fields = rest.split_ascii_whitespace();
            Some(Self {
                state: fields.next()?.chars().next()?,
                parent: fields.next()?.parse().ok()?,
                group: fields.next()?.parse().ok()?,
            })
        }
    }

    /// Every living process below one.
    pub(super) fn below(root: u32) -> Vec<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (id, parent) in parents() {
            children.entry(parent).or_default().push(id);
        }
        let mut found = vec![root];
        let mut next = 0;
        while let Some(parent) = found.get(next) {
            found.extend(children.remove(parent).unwrap_or_default());
            next += 1;
        }
        found.split_off(1)
    }

    /// The living children of this process.
    pub(super) fn children() -> Vec<u32> {
        let me = std::process::id();
        parents().into_iter().filter(|(_, parent)| *parent == me).map(|(id, _)| id).collect()
    }

    /// Waits for dead children that the predicate picks, without blocking.
    pub(super) fn reap(picks: impl Fn(u32) -> bool) {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};

        let zombies = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = zombies.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        for id in ids.filter(|id| u32::try_from(*id).is_ok_and(&picks)) {
            // Fails at once for what is no child of ours.
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
            let _not_a_child = waitid(Id::Pid(nix::unistd::Pid::from_raw(id)), flags);
        }
    }
}
