//! All processes of this machine at about one time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::Process;

/// Processes, dead ones that nobody has waited for too. They change while they are read: what forks and dies meanwhile can be
/// missed, and a child can be seen without its parent.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    processes: BTreeMap<u32, Process>,
    children: BTreeMap<u32, Vec<u32>>,
}

impl Tree {
    /// Reads them all, which costs a millisecond for each hundred.
    #[must_use]
    pub fn look() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(Process::of).collect()
    }

    /// The one with this id.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<Process> {
        self.processes.get(&id).copied()
    }

    /// Every one, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Process> {
        self.processes.values().copied()
    }

    /// The children of one.
    pub fn children(&self, parent: u32) -> impl Iterator<Item = Process> {
        let ids = self.children.get(&parent).into_iter().flatten();
        ids.filter_map(|id| self.get(*id))
    }

    /// Every one that descends from `root`, itself excluded, the nearest first.
    #[must_use]
    pub fn below(&self, root: u32) -> Vec<Process> {
        let mut found: Vec<Process> = self.children(root).collect();
        // An id that was given anew while others were read can make a circle.
        let mut seen = BTreeSet::from([root]);
        let mut next = 0;
        while let Some(parent) = found.get(next).map(|process| process.id) {
            if seen.insert(parent) {
                found.extend(self.children(parent));
                next += 1;
            } else {
                found.remove(next);
            }
        }
        found
    }

    /// Those of [`Tree::below`] that are alive.
    #[must_use]
    pub fn alive_below(&self, root: u32) -> Vec<Process> {
        self.below(root).into_iter().filter(Process::is_alive).collect()
    }
}

impl FromIterator<Process> for Tree {
    fn from_iter<I: IntoIterator<Item = Process>>(all: I) -> Self {
        let processes = all.into_iter().map(|process| (process.id, process)).collect();
        let mut tree = Self { processes, children: BTreeMap::new() };
        for process in tree.processes.values() {
            tree.children.entry(process.parent).or_default().push(process.id);
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes with these ids, parents and states.
    fn tree(of: &[(u32, u32, char)]) -> Tree {
        let process = |&(id, parent, state): &(u32, u32, char)| {
            Process::parse(format!("{id} (a) {state} {parent} 1 1").as_bytes()).unwrap()
        };
        of.iter().map(process).collect()
    }

    fn ids(all: &[Process]) -> Vec<u32> {
        all.iter().map(|process| process.id).collect()
    }

    #[test]
    fn who_descends_from_one_is_found_past_the_dead_and_nobody_else_is() {
        let tree = tree(&[(2, 1, 'S'), (3, 2, 'Z'), (4, 3, 'S'), (5, 1, 'S'), (6, 4, 'R')]);
        assert_eq!(ids(&tree.below(2)), [3, 4, 6]);
        assert_eq!(ids(&tree.alive_below(2)), [4, 6]);
        assert_eq!(ids(&tree.children(1).collect::<Vec<_>>()), [2, 5]);
        assert!(tree.below(6).is_empty() && tree.below(9).is_empty());
    }

    #[test]
    fn a_circle_of_reused_ids_comes_to_an_end() {
        let tree = tree(&[(2, 4, 'S'), (3, 2, 'S'), (4, 3, 'S'), (7, 7, 'S')]);
        assert_eq!(ids(&tree.below(2)), [3, 4]);
        assert!(tree.below(7).is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_is_below_this_process() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let tree = Tree::look();
        let own = std::process::id();
        let seen = ids(&tree.alive_below(own));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(seen.contains(&child.id()), "{seen:?}");
        assert!(tree.get(own).is_some() && tree.iter().count() >= 2);
    }
}
