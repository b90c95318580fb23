//! New objects: their names, and room for them.

use std::sync::Arc;

use apimachinery::{Key, Kind, Meta, Status};
use serde_json::{Value, json};

use super::State;
use crate::bounds;
use crate::clock::seconds;
use crate::custom;
use crate::names;
use crate::namespaces;
use crate::object::ObjectRef;
use crate::strategy::Write;

impl State {
    /// Gives a new object its name, and checks where it wants to live.
    fn name(&self, kind: &Kind, object: &mut Value) -> Result<(), Status> {
        if object.name().is_empty() {
            // Without either, validation says so, beside what else is wrong.
            if let Some(prefix) = object["metadata"]["generateName"].as_str() {
                let name = names::generate(prefix);
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

    pub(crate) fn create(
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
    pub(crate) fn forget_events(
        &mut self,
        kind: &Arc<Kind>,
        least: usize,
        before: Option<jiff::Timestamp>,
    ) {
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
}
