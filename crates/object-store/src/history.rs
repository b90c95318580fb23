//! The last changes of one kind, oldest first: what watches read, and what lists at an older revision undo.
//!
//! The newest are kept whole, since the cluster's own loops are about to read them. Older ones are kept as text: a tree of
//! maps takes ten times the memory of its text, and hardly anybody comes back so late.

use std::collections::VecDeque;
use std::sync::Arc;

use apimachinery::{Key, Kind};
use bytes::Bytes;

use crate::object::{Object, ObjectRef};

/// Changes that one kind remembers. A watch that falls further behind is told to list again (410).
pub(crate) const REMEMBERED_CHANGES: usize = 4096;
/// Changes of one kind that are kept whole.
const WHOLE_CHANGES: usize = 64;

/// A version that is remembered. Cloning it copies no content.
#[derive(Clone, Debug)]
enum Version {
    Whole(ObjectRef),
    Text { kind: Arc<Kind>, revision: u64, text: Bytes },
}

/// One change. Cloning it copies no content.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) revision: u64,
    pub(crate) key: Arc<Key>,
    before: Option<Version>,
    after: Version,
    pub(crate) deleted: bool,
}

/// The last changes of one kind.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// All but the last [`WHOLE_CHANGES`] are texts.
    entries: VecDeque<Entry>,
    /// The newest revision that has been forgotten.
    compacted: u64,
    /// Of all texts; one that two neighbours share is counted once.
    bytes: usize,
}

// === impl Version ===

impl Version {
    fn object(&self) -> ObjectRef {
        match self {
            Self::Whole(object) => Arc::clone(object),
            Self::Text { kind, revision, text } => {
                Object::of_text(Arc::clone(kind), *revision, text.clone())
            }
        }
    }

    fn pack(&mut self) {
        if let Self::Whole(object) = self {
            let (kind, revision) = (Arc::clone(object.kind()), object.revision());
            *self = Self::Text { kind, revision, text: object.json().clone() };
        }
    }
}

// === impl Entry ===

impl Entry {
    /// A change. `before` is none for a creation; `after` of a deletion is the last state, under the deletion's revision.
    pub(crate) fn new(before: Option<&ObjectRef>, after: &ObjectRef, deleted: bool) -> Self {
        Self {
            revision: after.revision(),
            key: Arc::new(after.key()),
            before: before.map(|before| Version::Whole(Arc::clone(before))),
            after: Version::Whole(Arc::clone(after)),
            deleted,
        }
    }

    /// What it was; none: it was created.
    pub(crate) fn before(&self) -> Option<ObjectRef> {
        self.before.as_ref().map(Version::object)
    }

    /// What it is.
    pub(crate) fn after(&self) -> ObjectRef {
        self.after.object()
    }

    /// Bytes that are kept for it alone.
    fn bytes(&self) -> usize {
        match &self.after {
            Version::Whole(_) => 0,
            Version::Text { text, .. } => text.len(),
        }
    }

    fn pack(&mut self) {
        self.after.pack();
        if let Some(before) = &mut self.before {
            before.pack();
        }
    }
}

// === impl History ===

impl History {
    pub(crate) fn push(&mut self, entry: Entry) {
        if self.entries.len() == REMEMBERED_CHANGES {
            self.forget_oldest();
        }
        self.entries.push_back(entry);
        if self.entries.len() > WHOLE_CHANGES {
            self.pack_at(self.entries.len() - WHOLE_CHANGES - 1);
        }
    }

    /// Keeps nothing whole: hardly anybody will ask any more.
    pub(crate) fn pack(&mut self) {
        for index in self.entries.len().saturating_sub(WHOLE_CHANGES)..self.entries.len() {
            self.pack_at(index);
        }
    }

    fn pack_at(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            self.bytes -= entry.bytes();
            entry.pack();
            self.bytes += entry.bytes();
        }
    }

    /// The newest revision that has been forgotten: nothing at or before it can be answered from here.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Bytes of the texts that it remembers.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The revision of the oldest change that is remembered.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.revision)
    }

    /// Forgets the oldest change.
    pub(crate) fn forget_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.compacted = oldest.revision;
            self.bytes -= oldest.bytes();
        }
    }

    /// Forgets everything up to a revision.
    pub(crate) fn compact(&mut self, revision: u64) {
        while self.oldest().is_some_and(|oldest| oldest <= revision) {
            self.forget_oldest();
        }
        self.compacted = self.compacted.max(revision);
    }

    /// Changes after a revision, oldest first.
    pub(crate) fn since(&self, revision: u64) -> impl Iterator<Item = &Entry> {
        let start = self.entries.partition_point(|entry| entry.revision <= revision);
        self.entries.range(start..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn version(revision: u64) -> ObjectRef {
        let kind = apimachinery::builtin::kinds().at("", "v1", "configmaps").unwrap().clone();
        let metadata =
            json!({"name": "a", "namespace": "b", "resourceVersion": revision.to_string()});
        Object::new(
            kind,
            revision,
            json!({"metadata": metadata, "data": {"turn": revision.to_string()}}),
        )
    }

    fn filled(changes: u64) -> History {
        let mut history = History::default();
        for revision in 1..=changes {
            history.push(Entry::new(Some(&version(revision - 1)), &version(revision), false));
        }
        history
    }

    #[test]
    fn older_versions_are_texts_and_read_as_they_were_written() {
        let history = filled(200);
        let whole = |entry: &&Entry| matches!(entry.after, Version::Whole(_));
        assert_eq!(history.since(0).filter(whole).count(), WHOLE_CHANGES);
        for entry in history.since(0) {
            let (before, after) = (entry.before().unwrap(), entry.after());
            assert_eq!(after.value()["data"]["turn"], entry.revision.to_string());
            assert_eq!(before.revision() + 1, after.revision());
            assert_eq!(after.json(), version(entry.revision).json());
        }
    }

    #[test]
    fn bytes_are_those_of_the_texts_whatever_is_forgotten() {
        let sum = |history: &History| history.since(0).map(Entry::bytes).sum::<usize>();
        let mut history = filled(REMEMBERED_CHANGES as u64 + 100);
        assert_eq!(history.since(0).count(), REMEMBERED_CHANGES);
        assert_eq!((history.bytes(), history.compacted()), (sum(&history), 100));
        history.forget_oldest();
        history.compact(1000);
        assert_eq!((history.bytes(), history.oldest()), (sum(&history), Some(1001)));
        history.compact(u64::MAX);
        assert_eq!(history.bytes(), 0);
    }
}
