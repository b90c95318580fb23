//! All objects of a cluster: versions, reads, writes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apimachinery::{Key, Kind, Kinds, Meta, Status, builtin};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::bounds;
use crate::clock::{Clock, System, seconds};
use crate::custom;
use crate::delete::{DeleteOptions, Propagation};
use crate::journal::{Journal, OpenError};
use crate::list::{List, ListOptions, Selection};
use crate::log::{Entry, Log};
use crate::namespaces;
use crate::object::{Object, ObjectRef};
use crate::options::{Part, WriteOptions};
use crate::schemas::{SchemaRef, Schemas};
use crate::strategy::{Peers, Write};
use crate::watch::Watch;

/// Seconds that a pod on a node is given to end, unless it or the request says otherwise.
const POD_GRACE_SECONDS: i64 = 30;
/// Letters of a generated name's end: no vowels, so that no words come about (as in Kubernetes).
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Letters of a generated name's end.
const NAME_SUFFIX: usize = 5;

/// All objects of a cluster. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    clock: Box<dyn Clock>,
}

struct State {
    revision: u64,
    kinds: Arc<Kinds>,
    schemas: Schemas,
    /// Where changes are kept; none: in memory alone.
    journal: Option<Journal>,
    tables: HashMap<(String, String), Table>,
}

/// Objects of one resource.
struct Table {
    objects: BTreeMap<Key, ObjectRef>,
    log: Log,
    news: watch::Sender<u64>,
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
        for table in state.tables.values_mut() {
            table.log.compact(state.revision);
        }
        state.journal = Some(journal);
        Ok(Self::of(state, clock))
    }

    /// Waits until everything up to a revision is on the disk; at once in a cluster that is kept in memory.
    ///
    /// # Errors
    /// 500 when the disk refuses it.
    pub async fn written(&self, revision: u64) -> Result<(), Status> {
        let written = self.state().journal.as_ref().map(|journal| journal.written(revision));
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
        let past = table.at(revision, state.revision)?;
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
        if cursor < table.log.compacted() {
            return Err(too_old(cursor, table.log.compacted()));
        }
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
        for table in self.state().tables.values_mut() {
            table.log.compact(revision);
        }
    }

    /// Hands out changes after `cursor`; returns the revision up to which all are handed out.
    pub(crate) fn changes_since(
        &self,
        kind: &Kind,
        cursor: u64,
        mut each: impl FnMut(&Entry),
    ) -> Result<u64, Status> {
        let state = self.state();
        if let Some(table) = state.table(kind) {
            if cursor < table.log.compacted() {
                return Err(too_old(cursor, table.log.compacted()));
            }
            table.log.since(cursor).for_each(&mut each);
        }
        Ok(state.revision.max(cursor))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves a whole number of writes: each becomes visible in one insertion.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new() -> Self {
        Self {
            revision: 1,
            kinds: Arc::new(builtin::kinds()),
            schemas: Schemas::default(),
            journal: None,
            tables: HashMap::new(),
        }
    }

    /// Takes an object over as it was kept.
    fn restore(&mut self, group: &str, plural: &str, value: Value) -> Result<(), OpenError> {
        let key = Key::of(&value);
        let wrong = |why: &str| OpenError::Object {
            at: format!("{plural}.{group} {key}"),
            why: why.to_owned(),
        };
        let kind = self.kinds.named(
            value["apiVersion"].as_str().unwrap_or(""),
            value["kind"].as_str().unwrap_or(""),
        );
        let kind = kind.or_else(|| {
            // A version that is served no longer.
            self.kinds.iter().find(|kind| kind.group == group && kind.plural == plural)
        });
        let kind = Arc::clone(kind.ok_or_else(|| wrong("its kind is not known"))?);
        let revision = value.resource_version().parse();
        let revision = revision.map_err(|_| wrong("it has no version"))?;
        if custom::is_definition(&kind) {
            self.define(&value);
        }
        let object = Object::new(Arc::clone(&kind), revision, value);
        self.table_mut(&kind).objects.insert(key, object);
        Ok(())
    }

    /// Learns the kinds of a definition, in place of those it had.
    fn define(&mut self, definition: &Value) {
        let (group, plural) = custom::defined(definition);
        self.undefine(&group, &plural);
        if !custom::is_established(definition) {
            return;
        }
        let kinds = Arc::make_mut(&mut self.kinds);
        for (kind, schema) in custom::kinds(definition) {
            self.schemas.insert(&kind, schema.as_ref());
            kinds.insert(kind);
        }
    }

    /// Forgets the kinds of a definition.
    fn undefine(&mut self, group: &str, plural: &str) {
        let kinds = Arc::make_mut(&mut self.kinds);
        let old: Vec<Arc<Kind>> = kinds
            .iter()
            .filter(|kind| kind.group == group && kind.plural == plural)
            .cloned()
            .collect();
        for kind in old {
            kinds.remove(&kind);
            self.schemas.remove(&kind);
        }
    }

    /// Deletes what a definition that is going defines; then the definition, unless somebody holds one of them.
    fn clean_up(&mut self, definition: &ObjectRef, now: jiff::Timestamp) -> (ObjectRef, bool) {
        let (group, plural) = custom::defined(definition.value());
        let kind = self.kinds.iter().find(|kind| kind.group == group && kind.plural == plural);
        if let Some(kind) = kind.cloned() {
            let keys: Vec<Key> = self
                .table(&kind)
                .map(|table| table.objects.keys().cloned().collect())
                .unwrap_or_default();
            for key in keys {
                // It is there, and nothing is asked of it.
                let _ = self.delete(&kind, &key, &DeleteOptions::default(), now);
            }
        }
        self.finish_definition(&group, &plural)
            .map_or_else(|| (Arc::clone(definition), false), |gone| (gone, true))
    }

    /// Lets a definition go that waited for its last object; none if it still waits, or does not.
    fn finish_definition(&mut self, group: &str, plural: &str) -> Option<ObjectRef> {
        let objects = self.tables.get(&(group.to_owned(), plural.to_owned()));
        if objects.is_some_and(|table| !table.objects.is_empty()) {
            return None;
        }
        let table = self.tables.get(&custom::table())?;
        let old = Arc::clone(table.objects.get(&custom::key(group, plural))?);
        if !custom::is_waiting(old.value()) {
            return None;
        }
        let mut new = old.value().clone();
        if let Some(list) = new.metadata_mut().get_mut("finalizers").and_then(Value::as_array_mut) {
            list.retain(|one| one != custom::CLEANUP);
        }
        let kind = Arc::clone(old.kind());
        if may_go(&new) {
            Some(self.take(&kind, &old, false))
        } else {
            Some(self.put(&kind, Some(&old), new, false))
        }
    }

    fn delete(
        &mut self,
        kind: &Arc<Kind>,
        key: &Key,
        options: &DeleteOptions,
        now: jiff::Timestamp,
    ) -> Result<(ObjectRef, bool), Status> {
        let found = self.table(kind).and_then(|table| table.objects.get(key)).cloned();
        let old = found.ok_or_else(|| Status::not_found(kind, &key.name))?;
        check_preconditions(kind, &old, options)?;
        namespaces::check_deletion(kind, &key.name)?;
        let grace = grace_seconds(old.value(), options);
        let mut new = old.value().clone();
        let finalizers = match options.propagation {
            Some(Propagation::Foreground) => Some("foregroundDeletion"),
            Some(Propagation::Orphan) => Some("orphan"),
            Some(Propagation::Background) | None => None,
        };
        if let Some(finalizer) = finalizers
            && !new.finalizers().any(|one| one == finalizer)
        {
            let list = new.metadata_mut().entry("finalizers").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(json!(finalizer));
            }
        }
        if custom::is_definition(kind) && !new.finalizers().any(|one| one == custom::CLEANUP) {
            let list = new.metadata_mut().entry("finalizers").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(json!(custom::CLEANUP));
            }
            custom::terminate(&mut new, now);
        }
        let metadata = new.metadata_mut();
        let asked = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
        let grace = asked.map_or(grace, |asked| grace.min(asked));
        if asked != Some(grace) {
            let end = now.checked_add(jiff::SignedDuration::from_secs(grace)).unwrap_or(now);
            metadata.insert("deletionTimestamp".to_owned(), json!(seconds(end)));
            metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
            if metadata.get("generation").is_some() {
                let next = old.value().generation() + 1;
                metadata.insert("generation".to_owned(), json!(next));
            }
            namespaces::terminate(kind, &mut new);
        }
        if may_go(&new) {
            return Ok((self.take(kind, &old, options.dry_run), true));
        }
        if new == *old.value() {
            return Ok((old, false));
        }
        Ok((self.put(kind, Some(&old), new, options.dry_run), false))
    }

    fn table(&self, kind: &Kind) -> Option<&Table> {
        self.tables.get(&(kind.group.clone(), kind.plural.clone()))
    }

    fn table_mut(&mut self, kind: &Kind) -> &mut Table {
        self.tables.entry((kind.group.clone(), kind.plural.clone())).or_insert_with(|| Table {
            objects: BTreeMap::new(),
            log: Log::after(0),
            news: watch::Sender::new(0),
        })
    }

    /// Gives a new object its name, and checks where it wants to live.
    fn name(&self, kind: &Kind, object: &mut Value) -> Result<(), Status> {
        if object.name().is_empty() {
            // Without either, validation says so, beside what else is wrong.
            if let Some(prefix) = object["metadata"]["generateName"].as_str() {
                let name = format!("{prefix}{}", name_suffix());
                object.metadata_mut().insert("name".to_owned(), json!(name));
            }
        }
        if !kind.is_namespaced() {
            object.metadata_mut().remove("namespace");
            return Ok(());
        }
        let namespaces = self.tables.get(&(String::new(), "namespaces".to_owned()));
        let found = namespaces.and_then(|all| all.objects.get(&Key::cluster(object.namespace())));
        match found {
            None => {
                let kinds = &self.kinds;
                let namespace = kinds
                    .at("", "v1", "namespaces")
                    .ok_or_else(|| Status::internal("no namespaces"))?;
                Err(Status::not_found(namespace, object.namespace()))
            }
            Some(namespace) if namespace.value().is_terminating() => {
                Err(namespaces::terminating(kind, object))
            }
            Some(_) => Ok(()),
        }
    }

    fn create(
        &mut self,
        kind: &Arc<Kind>,
        mut object: Value,
        write: &Write<'_>,
    ) -> Result<ObjectRef, Status> {
        self.name(kind, &mut object)?;
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        let metadata = object.metadata_mut();
        for field in
            ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"]
        {
            metadata.remove(field);
        }
        metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
        metadata.insert("creationTimestamp".to_owned(), json!(seconds(write.now)));
        write.prepare_create(self, &mut object)?;
        let key = Key::of(&object);
        if self.table(kind).is_some_and(|table| table.objects.contains_key(&key)) {
            return Err(Status::already_exists(kind, &key.name));
        }
        if custom::is_definition(kind) {
            custom::settle(&mut object, &self.kinds, write.now);
        }
        if !write.options.dry_run {
            self.make_room(kind, &key)?;
        }
        Ok(self.put(kind, None, object, write.options.dry_run))
    }

    /// Makes room for one more object: the oldest events give way, anything else is refused when there are too many.
    fn make_room(&mut self, kind: &Arc<Kind>, key: &Key) -> Result<(), Status> {
        let count = self.table(kind).map_or(0, |table| table.objects.len());
        if bounds::is_event(kind) {
            if count >= bounds::MOST_EVENTS {
                // Some at once, so that not every event looks for the oldest.
                self.forget_events(kind, bounds::MOST_EVENTS / 10, None);
            }
            return Ok(());
        }
        if count < bounds::MOST_OBJECTS {
            return Ok(());
        }
        let most = bounds::MOST_OBJECTS;
        let why = format!("the cluster holds {most} of them, and no more");
        Err(Status::forbidden(kind, &key.name, &why))
    }

    /// Takes the oldest events away: at least so many, and all that were last seen before a time.
    fn forget_events(&mut self, kind: &Arc<Kind>, least: usize, before: Option<jiff::Timestamp>) {
        let Some(table) = self.table(kind) else { return };
        let mut all: Vec<(Option<jiff::Timestamp>, ObjectRef)> = table
            .objects
            .values()
            .map(|event| (bounds::last_seen(event.value()), Arc::clone(event)))
            .collect();
        all.sort_by_key(|(seen, event)| (*seen, event.revision()));
        for (index, (seen, event)) in all.iter().enumerate() {
            if index >= least && before.is_none_or(|before| *seen >= Some(before)) {
                break;
            }
            self.take(kind, event, false);
        }
    }

    /// Makes `new` of `old`, if it may.
    fn change(
        &mut self,
        kind: &Arc<Kind>,
        old: &ObjectRef,
        mut new: Value,
        write: &Write<'_>,
    ) -> Result<ObjectRef, Status> {
        let name = old.value().name();
        let version = new.resource_version();
        if !version.is_empty() && version != old.value().resource_version() {
            return Err(Status::stale(kind, name));
        }
        let uid = new.uid();
        if !uid.is_empty() && uid != old.value().uid() {
            let cause = apimachinery::Cause {
                reason: "FieldValueInvalid".to_owned(),
                message: format!("Invalid value: {uid:?}: field is immutable"),
                field: "metadata.uid".to_owned(),
            };
            return Err(Status::invalid(kind, name, vec![cause.clone(), cause]));
        }
        if new.name() != name && !new.name().is_empty() {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                new.name()
            )));
        }
        write.prepare_update(self, old.value(), &mut new)?;
        if custom::is_definition(kind) {
            custom::settle(&mut new, &self.kinds, write.now);
        }
        new.metadata_mut().insert("resourceVersion".to_owned(), json!(old.revision().to_string()));
        if may_go(&new) {
            return Ok(self.take(kind, old, write.options.dry_run));
        }
        if new == *old.value() {
            return Ok(Arc::clone(old));
        }
        Ok(self.put(kind, Some(old), new, write.options.dry_run))
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
        let table = self.table_mut(kind);
        table.objects.insert(after.key(), Arc::clone(&after));
        table.tell(Entry {
            revision,
            before: before.cloned(),
            after: Arc::clone(&after),
            deleted: false,
        });
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
        let table = self.table_mut(kind);
        table.objects.remove(&old.key());
        table.tell(Entry {
            revision,
            before: Some(Arc::clone(old)),
            after: Arc::clone(&after),
            deleted: true,
        });
        self.keep(kind, &old.key(), revision, None);
        if custom::is_definition(kind) {
            let (group, plural) = custom::defined(old.value());
            self.undefine(&group, &plural);
            if let Some(table) = self.tables.get_mut(&(group, plural)) {
                // Its watchers read what is left, and then end.
                table.news = watch::Sender::new(revision);
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

    fn default_priority(&self) -> Option<ObjectRef> {
        let classes =
            self.tables.get(&("scheduling.k8s.io".to_owned(), "priorityclasses".to_owned()))?;
        classes.objects.values().find(|class| class.value()["globalDefault"] == true).cloned()
    }
}

impl Table {
    fn tell(&mut self, entry: Entry) {
        let revision = entry.revision;
        self.log.push(entry);
        self.news.send_replace(revision);
    }

    /// The objects at an older revision; none when it is the newest.
    fn at(&self, revision: u64, newest: u64) -> Result<Option<BTreeMap<Key, ObjectRef>>, Status> {
        if revision < self.log.compacted() {
            return Err(too_old(revision, self.log.compacted()));
        }
        if revision == newest || self.log.since(revision).next().is_none() {
            return Ok(None);
        }
        let mut objects = self.objects.clone();
        for entry in self.log.since(revision).rev() {
            match &entry.before {
                Some(before) => objects.insert(before.key(), Arc::clone(before)),
                None => objects.remove(&entry.after.key()),
            };
        }
        Ok(Some(objects))
    }
}

fn page(
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

fn check_preconditions(
    kind: &Kind,
    old: &ObjectRef,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let wanted = &options.preconditions;
    let differs = |name: &str, wanted: &Option<String>, is: &str| {
        wanted.as_ref().filter(|wanted| *wanted != is).map(|wanted| {
            format!(
                "the {name} in the precondition ({wanted}) does not match the {name} in record ({is}). The object might have been deleted and then recreated"
            )
        })
    };
    let why = differs("UID", &wanted.uid, old.value().uid()).or_else(|| {
        differs("ResourceVersion", &wanted.resource_version, old.value().resource_version())
    });
    match why {
        Some(why) => Err(Status::conflict(kind, old.value().name(), &why)),
        None => Ok(()),
    }
}

/// Seconds until an object is taken by force: 0 unless it is a pod that a node has.
fn grace_seconds(object: &Value, options: &DeleteOptions) -> i64 {
    let on_node = object["kind"] == "Pod"
        && object["spec"]["nodeName"].as_str().is_some_and(|name| !name.is_empty());
    let ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !on_node || ended {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"].as_i64();
    options.grace_period_seconds.or(own).unwrap_or(POD_GRACE_SECONDS).max(0)
}

/// A terminating object that nobody holds any more.
fn may_go(object: &Value) -> bool {
    object.is_terminating()
        && object.finalizers().next().is_none()
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !(object["kind"] == "Namespace"
            && object["spec"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()))
}

fn too_old(asked: u64, compacted: u64) -> Status {
    Status::expired(format!("too old resource version: {asked} ({compacted})"))
}

fn name_suffix() -> String {
    let random = uuid::Uuid::new_v4();
    random
        .as_bytes()
        .iter()
        .take(NAME_SUFFIX)
        .map(|byte| char::from(NAME_LETTERS[usize::from(*byte) % NAME_LETTERS.len()]))
        .collect()
}
