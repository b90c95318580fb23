//! The objects of one resource, and its last changes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use apimachinery::{Key, Status};
use tokio::sync::watch;

use crate::history::{Entry, History};
use crate::list::{List, ListOptions, Selection};
use crate::object::ObjectRef;

/// Objects of one resource.
pub(crate) struct Table {
    pub(crate) objects: BTreeMap<Key, ObjectRef>,
    pub(crate) history: History,
    pub(crate) news: watch::Sender<u64>,
}

impl Default for Table {
    fn default() -> Self {
        let (objects, history) = (BTreeMap::new(), History::default());
        Self { objects, history, news: watch::Sender::new(0) }
    }
}

impl Table {
    /// Remembers a change, and wakes whoever waits for one.
    pub(crate) fn tell(&mut self, entry: Entry) {
        let revision = entry.revision;
        self.history.push(entry);
        self.news.send_replace(revision);
    }

    /// The objects at an older revision; none when nothing has changed since.
    ///
    /// # Errors
    /// 410 when that revision is no longer remembered.
    pub(crate) fn at(&self, revision: u64) -> Result<Option<BTreeMap<Key, ObjectRef>>, Status> {
        self.remembers(revision)?;
        let mut since = self.history.since(revision).peekable();
        if since.peek().is_none() {
            return Ok(None);
        }
        let mut objects = self.objects.clone();
        let mut undone = HashSet::new();
        // The first change of each object says what it was.
        for entry in since.filter(|entry| undone.insert(&entry.key)) {
            match entry.before() {
                Some(before) => objects.insert(Key::clone(&entry.key), before),
                None => objects.remove(&entry.key),
            };
        }
        Ok(Some(objects))
    }

    /// # Errors
    /// 410 when changes after a revision have been forgotten.
    pub(crate) fn remembers(&self, revision: u64) -> Result<(), Status> {
        let compacted = self.history.compacted();
        if revision < compacted {
            return Err(Status::expired(format!(
                "too old resource version: {revision} ({compacted})"
            )));
        }
        Ok(())
    }
}

/// A page of objects.
pub(crate) fn page(
    objects: &BTreeMap<Key, ObjectRef>,
    revision: u64,
    selection: &Selection,
    options: &ListOptions,
) -> List {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let from = match (&options.after, &selection.namespace) {
        (Some((_, key)), _) => Excluded(key.clone()),
        (None, Some(namespace)) => Included(Key::namespaced(namespace.clone(), "")),
        (None, None) => Unbounded,
    };
    let in_namespace =
        |key: &Key| selection.namespace.as_ref().is_none_or(|one| *one == key.namespace);
    let mut all = objects
        .range((from, Unbounded))
        .take_while(|(key, _)| in_namespace(key))
        .filter(|(_, object)| selection.includes(object.value()));
    let limit = if options.limit == 0 { usize::MAX } else { options.limit };
    let items: Vec<ObjectRef> =
        all.by_ref().take(limit).map(|(_, object)| Arc::clone(object)).collect();
    let rest = if items.len() == limit { all.count() } else { 0 };
    let next = (rest > 0).then(|| items.last().map(|last| last.key())).flatten();
    let remaining = (rest > 0 && selection.matches.is_none()).then_some(rest as u64);
    List { revision, items, next, remaining }
}
