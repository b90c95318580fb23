//! All objects of a cluster: what anybody may ask of them.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apimachinery::{Key, Kind, Kinds, Meta, Status};
use serde_json::{Value, json};

use crate::bounds;
use crate::clock::{Clock, System};
use crate::custom;
use crate::delete::DeleteOptions;
use crate::history::Entry;
use crate::journal::{Journal, OpenError};
use crate::list::{List, ListOptions, Selection};
use crate::object::ObjectRef;
use crate::options::{Part, WriteOptions};
use crate::schemas::SchemaRef;
use crate::state::State;
use crate::strategy::Write;
use crate::table::page;
use crate::watch::Watch;

/// All objects of a cluster. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    clock: Box<dyn Clock>,
}

/// A change that is computed from the newest version, under the store's lock: it must be quick and must not use the store.
pub type Patch<'a> = &'a mut dyn FnMut(&Value) -> Result<Value, Status>;

impl Default for Store {
    fn default() -> Self {
        Self::new(System)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl Store {
    /// An empty cluster that knows the built-in kinds and has no namespace yet.
    #[must_use]
    pub fn new(clock: impl Clock + 'static) -> Self {
        Self::of(State::new(), clock)
    }

    fn of(state: State, clock: impl Clock + 'static) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(state), clock: Box::new(clock) }) }
    }

    /// A cluster whose objects are kept in a file, which is made if it is not there. Watches and lists at revisions from
    /// before are answered with 410. The last handle that is dropped waits until everything is on the disk.
    ///
    /// # Errors
    /// [`OpenError`]: a file that is damaged, in use, or of another format.
    pub fn open(path: &Path, clock: impl Clock + 'static) -> Result<Self, OpenError> {
        let (journal, revision, mut kept) = Journal::open(path)?;
        let mut state = State::new();
        state.revision = revision.max(state.revision);
        // Definitions first: the others may be of the kinds that they define.
        let definitions = custom::table();
        kept.sort_by_key(|(group, plural, _)| (group, plural) != (&definitions.0, &definitions.1));
        for (group, plural, value) in kept {
            state.restore(&group, &plural, value)?;
        }
        state.keep_in(journal);
        Ok(Self::of(state, clock))
    }

    /// Waits until everything up to a revision is on the disk; at once in a cluster that is kept in memory.
    ///
    /// # Errors
    /// 500 when the disk refuses it.
    pub async fn written(&self, revision: u64) -> Result<(), Status> {
        let written = self.state().journal().map(|journal| journal.written(revision));
        match written {
            Some(written) => written.await,
            None => Ok(()),
        }
    }

    /// The schema of a kind.
    #[must_use]
    pub fn schema(&self, kind: &Kind) -> SchemaRef {
        self.state().schemas.of(kind)
    }

    /// Its clock's time.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        self.shared.clock.now()
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.state().revision
    }

    /// The kinds it knows now.
    #[must_use]
    pub fn kinds(&self) -> Arc<Kinds> {
        Arc::clone(&self.state().kinds)
    }

    /// A built-in kind by its path, like `("apps", "deployments")`.
    ///
    /// # Panics
    /// If there is none: a typing error of the caller.
    #[must_use]
    pub fn kind(&self, group: &str, plural: &str) -> Arc<Kind> {
        let kinds = self.kinds();
        let found = kinds.iter().find(|kind| kind.group == group && kind.plural == plural);
        Arc::clone(found.unwrap_or_else(|| panic!("no built-in kind {plural} in group {group:?}")))
    }

    /// One object.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, kind: &Kind, key: &Key) -> Result<ObjectRef, Status> {
        let state = self.state();
        let found = state.table(kind).and_then(|table| table.objects.get(key));
        found.cloned().ok_or_else(|| Status::not_found(kind, &key.name))
    }

    /// Objects of a kind, by namespace and name.
    ///
    /// # Errors
    /// 410 when the revision asked for is no longer remembered.
    pub fn list(
        &self,
        kind: &Kind,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<List, Status> {
        let state = self.state();
        let at = options.after.as_ref().map(|(at, _)| *at).or(options.at);
        let revision = at.unwrap_or(state.revision);
        if revision > state.revision {
            return Err(Status::bad_request(format!(
                "resourceVersion {revision} is newer than the newest, {}",
                state.revision
            )));
        }
        let Some(table) = state.table(kind) else {
            return Ok(List { revision, items: Vec::new(), next: None, remaining: None });
        };
        let past = table.at(revision)?;
        let objects = past.as_ref().unwrap_or(&table.objects);
        Ok(page(objects, revision, selection, options))
    }

    /// Every object of a kind that is meant, now. The cluster's own loops read by this.
    #[must_use]
    pub fn select(&self, kind: &Kind, selection: &Selection) -> Vec<ObjectRef> {
        let state = self.state();
        let Some(table) = state.table(kind) else { return Vec::new() };
        page(&table.objects, state.revision, selection, &ListOptions::default()).items
    }

    /// Changes after a revision. `None`: from now on.
    ///
    /// # Errors
    /// 410 when changes since then have been forgotten.
    pub fn watch(
        &self,
        kind: &Arc<Kind>,
        selection: Selection,
        since: Option<u64>,
    ) -> Result<Watch, Status> {
        let mut state = self.state();
        let cursor = since.unwrap_or(state.revision);
        let table = state.table_mut(kind);
        table.remembers(cursor)?;
        let news = table.news.subscribe();
        drop(state);
        let (kind, store) = (Arc::clone(kind), self.clone());
        Ok(Watch { store, kind, selection, cursor, ready: VecDeque::new(), news })
    }

    /// Stores a new object.
    ///
    /// # Errors
    /// 409 if the name is taken, 404 if its namespace is missing, 400 or 422 if it is not valid.
    pub fn create(
        &self,
        kind: &Arc<Kind>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<ObjectRef, Status> {
        let now = self.now();
        let mut state = self.state();
        let write = Write { kind, schema: state.schemas.of(kind), options, now, tracked: false };
        state.create(kind, object, &write)
    }

    /// Applies a configuration on the server's side: creates the object, or changes the fields that it names.
    /// `options.manager` is the applier. The flag says whether the object is new.
    ///
    /// # Errors
    /// 409 with a cause for each field that another manager owns, unless `force`; as for [`Store::create`] and
    /// [`Store::update`].
    pub fn apply(
        &self,
        kind: &Arc<Kind>,
        key: &Key,
        config: &Value,
        force: bool,
        options: &WriteOptions,
    ) -> Result<(ObjectRef, bool), Status> {
        let now = self.now();
        let mut state = self.state();
        let write = Write { kind, schema: state.schemas.of(kind), options, now, tracked: true };
        match state.table(kind).and_then(|table| table.objects.get(key)).cloned() {
            Some(old) => {
                let new = write.apply(Some(old.value()), config, force)?;
                Ok((state.change(kind, &old, new, &write)?, false))
            }
            None if options.part == Part::Status => Err(Status::not_found(kind, &key.name)),
            None if !config.resource_version().is_empty() => Err(Status::stale(kind, &key.name)),
            None => {
                let mut new = write.apply(None, config, force)?;
                new.metadata_mut().insert("name".to_owned(), json!(key.name));
                if kind.is_namespaced() {
                    new.metadata_mut().insert("namespace".to_owned(), json!(key.namespace));
                }
                Ok((state.create(kind, new, &write)?, true))
            }
        }
    }

    /// Replaces an object. Its `metadata.resourceVersion`, if set, must be the newest.
    ///
    /// # Errors
    /// 404, 409 when stale, 422.
    pub fn replace(
        &self,
        kind: &Arc<Kind>,
        object: &Value,
        options: &WriteOptions,
    ) -> Result<ObjectRef, Status> {
        self.update(kind, &Key::of(object), options, &mut |old| {
            let uid = object.uid();
            if !uid.is_empty() && uid != old.uid() {
                let why = format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    old.uid()
                );
                return Err(Status::conflict(kind, object.name(), &why));
            }
            Ok(object.clone())
        })
    }

    /// Changes an object: `patch` makes the new version from the newest one. Writes that change nothing keep the
    /// revision. A last finalizer that goes takes a terminating object with it.
    ///
    /// # Errors
    /// 404, 409 when the patch names an older version, 422, and what `patch` says.
    pub fn update(
        &self,
        kind: &Arc<Kind>,
        key: &Key,
        options: &WriteOptions,
        patch: Patch<'_>,
    ) -> Result<ObjectRef, Status> {
        let now = self.now();
        let mut state = self.state();
        let found = state.table(kind).and_then(|table| table.objects.get(key)).cloned();
        let old = found.ok_or_else(|| Status::not_found(kind, &key.name))?;
        let new = patch(old.value())?;
        let write = Write { kind, schema: state.schemas.of(kind), options, now, tracked: false };
        state.change(kind, &old, new, &write)
    }

    /// Deletes an object, or marks it as terminating where somebody else must finish: finalizers, a pod on a node.
    /// Returns the object as it is now, and whether it is gone.
    ///
    /// # Errors
    /// 404, 409 when a precondition fails.
    pub fn delete(
        &self,
        kind: &Arc<Kind>,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<(ObjectRef, bool), Status> {
        let now = self.now();
        let mut state = self.state();
        let (object, gone) = state.delete(kind, key, options, now)?;
        if custom::is_definition(kind) && !gone && !options.dry_run {
            return Ok(state.clean_up(&object, now));
        }
        Ok((object, gone))
    }

    /// Takes away events that are older than an hour. To be called now and then.
    pub fn expire_events(&self) {
        let now = self.now();
        let mut state = self.state();
        let kinds: Vec<Arc<Kind>> =
            state.kinds.iter().filter(|kind| bounds::is_event(kind)).cloned().collect();
        let Ok(before) = now.checked_sub(bounds::EVENT_LIFE) else { return };
        for kind in kinds {
            state.forget_events(&kind, 0, Some(before));
        }
    }

    /// Forgets changes up to a revision, as etcd's compaction does: older watches and lists get 410.
    pub fn compact(&self, revision: u64) {
        self.state().compact(revision);
    }

    /// Gives services their addresses from here; the 65,533 that follow belong to services too.
    pub fn set_service_network(&self, network: Ipv4Addr) {
        self.state().service_network = network;
    }

    /// Changes after `cursor`, and the revision up to which all are among them.
    pub(crate) fn changes_since(
        &self,
        kind: &Kind,
        cursor: u64,
        into: &mut VecDeque<Entry>,
    ) -> Result<u64, Status> {
        let state = self.state();
        if let Some(table) = state.table(kind) {
            table.remembers(cursor)?;
            into.extend(table.history.since(cursor).cloned());
        }
        Ok(state.revision.max(cursor))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves a whole number of writes: each becomes visible in one insertion.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
