//! Deletions: at once, or marked where somebody else must finish.

use std::sync::Arc;

use apimachinery::{Key, Kind, Meta, Status};
use serde_json::{Value, json};

use super::State;
use crate::clock::seconds;
use crate::custom;
use crate::delete::{DeleteOptions, Propagation};
use crate::namespaces;
use crate::object::ObjectRef;

/// Seconds that a pod on a node is given to end, unless it or the request says otherwise.
const POD_GRACE_SECONDS: i64 = 30;

impl State {
    pub(crate) fn delete(
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
pub(super) fn may_go(object: &Value) -> bool {
    object.is_terminating()
        && object.finalizers().next().is_none()
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !(object["kind"] == "Namespace"
            && object["spec"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()))
}
