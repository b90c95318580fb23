//! Processes by their ids: who descends from this one, and how to be rid of them.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(target_os = "linux")]
use super::linux;
use super::own_time::Look;

/// Most rounds of freezing and killing before a supervisor gives up.
const SWEEPS: usize = 200;
/// Rounds in a row that must find nobody: reading `/proc` takes time, and what forks and dies meanwhile can be
/// missed by one reading.
const EMPTY_ROUNDS: usize = 3;
/// Pause between rounds.
const PAUSE: Duration = Duration::from_millis(2);
/// How long the thread that waits for children may take to find that there are none.
const LAST_WAIT: Duration = Duration::from_millis(20);

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
    let _only_detached_processes_escape = nix::sys::prctl::set_child_subreaper(true);
}

/// Remembers all children as our own: they came with `exec`, from a shell perhaps, and are not ours to kill.
pub(super) fn spare_children() {
    #[cfg(target_os = "linux")]
    {
        let before = linux::children();
        own().extend(before);
    }
}

/// Waits for a child in a thread. With `reap_all`, also for every orphan that this process adopts; the channel closes when
/// the last is gone.
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

    // Children of every kind: also those whose end is told by another signal, or by none.
    #[cfg(target_os = "linux")]
    let kinds = Some(nix::sys::wait::WaitPidFlag::__WALL);
    #[cfg(not(target_os = "linux"))]
    let kinds = None;
    loop {
        let (pid, raw) = match waitpid(None, kinds) {
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

/// Whether nobody descends from this process any more, by the kernel's own word: it adopts every orphan, and a wait
/// for any child has just found none (the channel of [`await_exit`] closed). No reading of `/proc` is as sure.
pub(super) fn nobody_is_left(ended: &Receiver<ExitStatus>) -> bool {
    #[cfg(target_os = "linux")]
    let adopts = nix::sys::prctl::get_child_subreaper() == Ok(true);
    #[cfg(not(target_os = "linux"))]
    let adopts = false;
    adopts && matches!(ended.recv_timeout(LAST_WAIT), Err(RecvTimeoutError::Disconnected))
}

/// How many processes there are below this one, or in a group, and what they did with their time; `None` where nobody
/// says.
pub(super) fn look(group: Option<u32>) -> Option<(usize, Look)> {
    #[cfg(target_os = "linux")]
    let seen = Some(group.map_or_else(linux::look_below, linux::look_at_group));
    #[cfg(not(target_os = "linux"))]
    let seen = group.and(None);
    seen
}

/// Whether a process was stopped by a signal and not yet continued.
pub(super) fn is_stopped(id: u32) -> bool {
    process_tree::Process::of(id).is_some_and(|process| process.is_stopped())
}

/// Kills every descendant and every one of `members`, and says how many there were. They are frozen first, so
/// that none can make another while the rest are being found.
#[cfg(target_os = "linux")]
pub(super) fn sweep(members: impl Fn() -> Vec<u32>) -> usize {
    kill_all(|| {
        let mut alive = linux::below(std::process::id());
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
