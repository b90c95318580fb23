//! What Linux tells about the processes of a check, in `/proc`. It changes while it is read; whoever reads knows that.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use process_tree::{Process, Tree};

use super::own_time::{Look, Thread};

/// Clock ticks a second, in which `/proc` counts processor time. Linux has this one value on all that Rust runs on.
const TICKS_A_SECOND: u64 = 100;

/// The process groups of some processes, but not our own.
pub(super) fn groups(ids: &[u32]) -> BTreeSet<i32> {
    let own = nix::unistd::getpgrp().as_raw();
    let groups = ids.iter().filter_map(|id| Some(Process::of(*id)?.group));
    groups.filter(|group| *group > 1 && *group != own).collect()
}

/// Every living process below one.
pub(super) fn below(root: u32) -> Vec<u32> {
    Tree::look().alive_below(root).iter().map(|process| process.id).collect()
}

/// The living children of this process.
pub(super) fn children() -> Vec<u32> {
    let tree = Tree::look();
    let living = tree.children(std::process::id()).filter(Process::is_alive);
    living.map(|process| process.id).collect()
}

/// Looks at all below this process: how many are alive, and what they did with their time.
pub(super) fn look_below() -> (usize, Look) {
    look(&Tree::look().below(std::process::id()), ran_of_the_buried())
}

/// The same for a process group, whose leader has waited for what ended.
pub(super) fn look_at_group(leader: u32) -> (usize, Look) {
    let in_group = |process: &Process| u32::try_from(process.group) == Ok(leader);
    let group: Vec<_> = Tree::look().iter().filter(in_group).collect();
    look(&group, Duration::ZERO)
}

fn look(processes: &[Process], ran_before: Duration) -> (usize, Look) {
    let living = processes.iter().filter(|process| process.is_alive()).map(|process| process.id);
    let living: Vec<u32> = living.collect();
    let ran = processes.iter().map(ran).sum::<Duration>() + ran_before;
    let threads = living.iter().flat_map(|id| threads(*id)).collect();
    (living.len(), Look { ran, threads })
}

/// Processor time of a process and of the children that it has waited for.
fn ran(process: &Process) -> Duration {
    let ticks = process.ticks.saturating_add(process.ticks_of_children);
    Duration::from_millis(ticks.saturating_mul(1000) / TICKS_A_SECOND)
}

/// Processor time of the children that this process has waited for, and of theirs.
fn ran_of_the_buried() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};

    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Duration::ZERO };
    let times = [usage.user_time(), usage.system_time()];
    times.into_iter().map(|time| Duration::from_micros(micros(time))).sum()
}

fn micros(time: nix::sys::time::TimeVal) -> u64 {
    use nix::sys::time::TimeValLike;

    u64::try_from(time.num_microseconds()).unwrap_or_default()
}

/// The threads of a process, and how each has fared.
fn threads(id: u32) -> Vec<(u32, Thread)> {
    let entries = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|thread: u32| Some((thread, how_it_fared(id, thread)?))).collect()
}

fn how_it_fared(process: u32, thread: u32) -> Option<Thread> {
    let seen = Process::of_thread(process, thread)?;
    // Nanoseconds on a processor, nanoseconds in the queue for one, and how often. Not every kernel has it.
    let schedule = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")).ok();
    let queued = schedule.and_then(|text| text.split_ascii_whitespace().nth(1)?.parse().ok());
    Some(Thread {
        queued: queued.map(Duration::from_nanos),
        asleep: seen.state == 'S' || seen.is_stopped(),
    })
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
