//! Kinds come and go with their definitions.

use std::sync::Arc;

use apimachinery::{Key, Kind, Meta};
use serde_json::Value;

use super::State;
use super::delete::may_go;
use crate::custom;
use crate::delete::DeleteOptions;
use crate::journal::OpenError;
use crate::object::{Object, ObjectRef};

impl State {
    /// Takes an object over as it was kept.
    pub(crate) fn restore(
        &mut self,
        group: &str,
        plural: &str,
        value: Value,
    ) -> Result<(), OpenError> {
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
    pub(super) fn define(&mut self, definition: &Value) {
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
    pub(super) fn undefine(&mut self, group: &str, plural: &str) {
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
    pub(crate) fn clean_up(
        &mut self,
        definition: &ObjectRef,
        now: jiff::Timestamp,
    ) -> (ObjectRef, bool) {
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
    pub(super) fn finish_definition(&mut self, group: &str, plural: &str) -> Option<ObjectRef> {
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
}
