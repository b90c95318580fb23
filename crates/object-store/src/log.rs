//! The last changes of one kind, oldest first: what watches read, and what lists at an older revision undo.

use std::collections::VecDeque;

use crate::object::ObjectRef;

/// Changes that one kind remembers. A watch that falls further behind is told to list again (410).
pub(crate) const REMEMBERED_CHANGES: usize = 4096;

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) revision: u64,
    /// What it was; none: it was created.
    pub(crate) before: Option<ObjectRef>,
    /// What it is; for a deletion, its last state under the deletion's revision.
    pub(crate) after: ObjectRef,
    pub(crate) deleted: bool,
}

/// The last changes of one kind.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    /// The newest revision that has been forgotten.
    compacted: u64,
}

impl Log {
    /// A log that begins after a revision: what was before is not remembered.
    pub(crate) fn after(revision: u64) -> Self {
        Self { entries: VecDeque::new(), compacted: revision }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if self.entries.len() == REMEMBERED_CHANGES
            && let Some(oldest) = self.entries.pop_front()
        {
            self.compacted = oldest.revision;
        }
        self.entries.push_back(entry);
    }

    /// The newest revision that has been forgotten: nothing at or before it can be answered from here.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets everything up to a revision.
    pub(crate) fn compact(&mut self, revision: u64) {
        while self.entries.front().is_some_and(|entry| entry.revision <= revision) {
            self.entries.pop_front();
        }
        self.compacted = self.compacted.max(revision);
    }

    /// Changes after a revision, oldest first.
    pub(crate) fn since(&self, revision: u64) -> impl DoubleEndedIterator<Item = &Entry> {
        let start = self.entries.partition_point(|entry| entry.revision <= revision);
        self.entries.range(start..)
    }
}
