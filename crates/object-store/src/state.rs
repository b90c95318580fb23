//! What the store's lock guards: all tables, and how a version becomes the newest.

mod change;
mod create;
mod definitions;
mod delete;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use apimachinery::{Key, Kind, Kinds, Meta, builtin};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::custom;
use crate::history::Entry;
use crate::journal::Journal;
use crate::object::{Object, ObjectRef};
use crate::schemas::Schemas;
use crate::strategy::{Peers, SERVICE_NETWORK};
use crate::table::Table;

/// Bytes of older versions that are remembered as text, of all kinds together. When there are more, the oldest go first:
/// every kind remembers about the same time, as by etcd's compaction.
const REMEMBERED_BYTES: usize = 16 << 20;

/// What the store's lock guards.
pub(crate) struct State {
    pub(crate) revision: u64,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) schemas: Schemas,
    /// Where services get their addresses.
    pub(crate) service_network: Ipv4Addr,
    /// Where changes are kept; none: in memory alone.
    journal: Option<Journal>,
    tables: HashMap<(String, String), Table>,
    /// Nothing up to here is remembered of any kind.
    compacted: u64,
    /// Bytes of older versions.
    remembered: usize,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            revision: 1,
            kinds: Arc::new(builtin::kinds()),
            schemas: Schemas::default(),
            service_network: SERVICE_NETWORK,
            journal: None,
            tables: HashMap::new(),
            compacted: 0,
            remembered: 0,
        }
    }

    /// Keeps changes from now on. What was before is not remembered.
    pub(crate) fn keep_in(&mut self, journal: Journal) {
        self.journal = Some(journal);
        self.compact(self.revision);
    }

    /// Where changes are kept.
    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Forgets changes up to a revision.
    pub(crate) fn compact(&mut self, revision: u64) {
        self.compacted = self.compacted.max(revision);
        self.tables.values_mut().for_each(|table| table.history.compact(revision));
        self.remembered = self.tables.values().map(|table| table.history.bytes()).sum();
    }

    pub(crate) fn table(&self, kind: &Kind) -> Option<&Table> {
        self.tables.get(&(kind.group.clone(), kind.plural.clone()))
    }

    pub(crate) fn table_mut(&mut self, kind: &Kind) -> &mut Table {
        let compacted = self.compacted;
        self.tables.entry((kind.group.clone(), kind.plural.clone())).or_insert_with(|| {
            let mut table = Table::default();
            table.history.compact(compacted);
            table
        })
    }

    /// Remembers a change, and forgets the oldest ones when they are too many.
    fn tell(&mut self, kind: &Kind, entry: Entry) {
        let table = self.table_mut(kind);
        let before = table.history.bytes();
        table.tell(entry);
        let after = table.history.bytes();
        self.remembered = self.remembered + after - before;
        while self.remembered > REMEMBERED_BYTES {
            let of_texts = self.tables.values_mut().filter(|table| table.history.bytes() > 0);
            let Some(table) = of_texts.min_by_key(|table| table.history.oldest()) else { return };
            let before = table.history.bytes();
            table.history.forget_oldest();
            self.remembered -= before - table.history.bytes();
        }
    }

    /// Makes a version the newest.
    fn put(
        &mut self,
        kind: &Arc<Kind>,
        before: Option<&ObjectRef>,
        mut object: Value,
        dry_run: bool,
    ) -> ObjectRef {
        if dry_run {
            return Object::new(Arc::clone(kind), before.map_or(0, |old| old.revision()), object);
        }
        self.revision += 1;
        let revision = self.revision;
        object.metadata_mut().insert("resourceVersion".to_owned(), json!(revision.to_string()));
        let after = Object::new(Arc::clone(kind), revision, object);
        if custom::is_definition(kind) {
            self.define(after.value());
        }
        self.keep(kind, &after.key(), revision, Some(&after));
        self.table_mut(kind).objects.insert(after.key(), Arc::clone(&after));
        self.tell(kind, Entry::new(before, &after, false));
        after
    }

    /// Takes an object away; returns its last state, under the revision of its going.
    fn take(&mut self, kind: &Arc<Kind>, old: &ObjectRef, dry_run: bool) -> ObjectRef {
        if dry_run {
            return Arc::clone(old);
        }
        self.revision += 1;
        let revision = self.revision;
        let mut last = old.value().clone();
        last.metadata_mut().insert("resourceVersion".to_owned(), json!(revision.to_string()));
        let after = Object::new(Arc::clone(kind), revision, last);
        self.table_mut(kind).objects.remove(&old.key());
        self.tell(kind, Entry::new(Some(old), &after, true));
        self.keep(kind, &old.key(), revision, None);
        if custom::is_definition(kind) {
            let (group, plural) = custom::defined(old.value());
            self.undefine(&group, &plural);
            if let Some(table) = self.tables.get_mut(&(group, plural)) {
                // Its watchers read what is left, and then end.
                table.news = watch::Sender::new(revision);
                let before = table.history.bytes();
                table.history.pack();
                self.remembered = self.remembered + table.history.bytes() - before;
            }
        } else if kind.group.contains('.') {
            self.finish_definition(&kind.group, &kind.plural);
        }
        after
    }

    /// Hands a change to the disk.
    fn keep(&self, kind: &Kind, key: &Key, revision: u64, object: Option<&ObjectRef>) {
        if let Some(journal) = &self.journal {
            journal.write((&kind.group, &kind.plural), key, revision, object);
        }
    }
}

impl Peers for State {
    fn find(&self, group: &str, plural: &str, key: &Key) -> Option<ObjectRef> {
        let table = self.tables.get(&(group.to_owned(), plural.to_owned()))?;
        table.objects.get(key).cloned()
    }

    fn all(&self, group: &str, plural: &str) -> Vec<ObjectRef> {
        let table = self.tables.get(&(group.to_owned(), plural.to_owned()));
        table.map(|table| table.objects.values().cloned().collect()).unwrap_or_default()
    }

    fn service_network(&self) -> Ipv4Addr {
        self.service_network
    }
}
