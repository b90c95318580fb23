//! What Linux tells about processes, in `/proc`. It changes while it is read; whoever reads knows that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use super::own_time::{Look, Thread};

/// Clock ticks a second, in which `/proc` counts processor time. Linux has this one value on all that Rust runs on.
const TICKS_A_SECOND: u64 = 100;

/// The part of `/proc/ID/stat` that matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stat {
    /// `R` runs or wants to, `S` sleeps, `D` waits for the disk, `T` is stopped, `Z` is dead.
    pub(super) state: char,
    pub(super) parent: u32,
    pub(super) group: i32,
    /// Processor time of its threads, ended ones too, and of the children that it has waited for.
    pub(super) ran: Duration,
}

impl Stat {
    /// Of a process, or with `ID/task/ID` of a thread.
    pub(super) fn of(id: impl std::fmt::Display) -> Option<Self> {
        let stat = fs::read(format!("/proc/{id}/stat")).ok()?;
        // `id (name) state parent group ...`, where the name may hold anything.
        let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(&stat[end_of_name + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        // After eight others: its time as a user and in the kernel, and the same of its children.
        let times = fields.skip(8).take(4).filter_map(|field| field.parse::<u64>().ok());
        let ran = Duration::from_millis(times.sum::<u64>() * 1000 / TICKS_A_SECOND);
        Some(Self { state, parent, group, ran })
    }

    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// Every process, dead ones that nobody has waited for too.
fn all() -> BTreeMap<u32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| Some((id, Stat::of(id)?))).collect()
}

/// The process groups of some processes, but not our own.
pub(super) fn groups(ids: &[u32]) -> BTreeSet<i32> {
    let own = nix::unistd::getpgrp().as_raw();
    let groups = ids.iter().filter_map(|id| Some(Stat::of(id)?.group));
    groups.filter(|group| *group > 1 && *group != own).collect()
}

/// Every process below one, dead ones too.
pub(super) fn family(root: u32) -> Vec<(u32, Stat)> {
    let mut children: BTreeMap<u32, Vec<(u32, Stat)>> = BTreeMap::new();
    for (id, stat) in all() {
        children.entry(stat.parent).or_default().push((id, stat));
    }
    let mut found = children.remove(&root).unwrap_or_default();
    let mut next = 0;
    while let Some((parent, _)) = found.get(next) {
        let below = children.remove(parent).unwrap_or_default();
        found.extend(below);
        next += 1;
    }
    found
}

/// Every living process below one.
pub(super) fn below(root: u32) -> Vec<u32> {
    let living = family(root).into_iter().filter(|(_, stat)| stat.is_alive());
    living.map(|(id, _)| id).collect()
}

/// The living children of this process.
pub(super) fn children() -> Vec<u32> {
    let me = std::process::id();
    let living = all().into_iter().filter(|(_, stat)| stat.parent == me && stat.is_alive());
    living.map(|(id, _)| id).collect()
}

/// Looks at all below this process: how many are alive, and what they did with their time.
pub(super) fn look_below() -> (usize, Look) {
    look(&family(std::process::id()), ran_of_the_buried())
}

/// The same for a process group, whose leader has waited for what ended.
pub(super) fn look_at_group(leader: u32) -> (usize, Look) {
    let in_group = |stat: &Stat| u32::try_from(stat.group) == Ok(leader);
    let group: Vec<_> = all().into_iter().filter(|(_, stat)| in_group(stat)).collect();
    look(&group, Duration::ZERO)
}

fn look(processes: &[(u32, Stat)], ran_before: Duration) -> (usize, Look) {
    let living = processes.iter().filter(|(_, stat)| stat.is_alive()).map(|(id, _)| *id);
    let living: Vec<u32> = living.collect();
    let ran = processes.iter().map(|(_, stat)| stat.ran).sum::<Duration>() + ran_before;
    let threads = living.iter().flat_map(|id| threads(*id)).collect();
    (living.len(), Look { ran, threads })
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
    let task = format!("{process}/task/{thread}");
    let stat = Stat::of(&task)?;
    // Nanoseconds on a processor, nanoseconds in the queue for one, and how often. Not every kernel has it.
    let schedule = fs::read_to_string(format!("/proc/{task}/schedstat")).ok();
    let queued = schedule.and_then(|text| text.split_ascii_whitespace().nth(1)?.parse().ok());
    Some(Thread {
        queued: queued.map(Duration::from_nanos),
        asleep: stat.state == 'S' || stat.is_stopped(),
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
