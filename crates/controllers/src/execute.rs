//! Carries out what a controller planned.

use std::collections::HashMap;

use apimachinery::{Key, Meta, Reason, Status};
use object_store::{DeleteOptions, Part, Preconditions, WriteOptions};
use serde_json::{Value, json};

use crate::action::{Action, Event, Tell, TellStyle};
use crate::events::Recorder;
use crate::fields::Fields;
use crate::resource::Of;
use crate::view::View;

/// Who a controller is when it writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// The source of its events.
    pub(crate) source: &'static str,
    /// The manager of the fields that it writes.
    pub(crate) manager: &'static str,
}

/// Versions that this plan made itself: what was seen, and what it is now.
type Own = HashMap<(String, String, Key), (String, String)>;

/// Carries out actions in order until one is refused. What is gone already needs no change and no deletion.
///
/// # Errors
/// The refusal: 409 when somebody else was faster.
pub(crate) fn execute(
    view: &View,
    recorder: &mut Recorder,
    identity: Identity,
    actions: Vec<Action>,
) -> Result<(), Status> {
    let mut own = Own::new();
    for action in actions {
        match action {
            Action::Tell(event) => recorder.record(view, identity.source, &event),
            Action::Create { of, object, tell } => {
                create(view, recorder, identity, &of, object, tell)?;
            }
            Action::Change { of, key, seen, part, patch, tell } => {
                let merged = |old: &Value| {
                    let mut new = old.clone();
                    merge(&mut new, &patch);
                    new
                };
                if write(view, identity, &mut own, (&of, &key, &seen, part), merged)?
                    && let Some(event) = tell
                {
                    recorder.record(view, identity.source, &event);
                }
            }
            Action::Status { of, key, seen, status, metadata } => {
                let replaced = |old: &Value| {
                    let mut new = old.clone();
                    new["status"] = status.clone();
                    if let Some(metadata) = &metadata {
                        merge(&mut new["metadata"], metadata);
                    }
                    new
                };
                let part = if metadata.is_some() { Part::Whole } else { Part::Status };
                write(view, identity, &mut own, (&of, &key, &seen, part), replaced)?;
            }
            Action::Delete { of, key, uid, grace, propagation, tell } => {
                let preconditions = Preconditions { uid: Some(uid), resource_version: None };
                let options = DeleteOptions {
                    grace_period_seconds: grace,
                    propagation,
                    preconditions,
                    dry_run: false,
                };
                match view.store().delete(&view.kind(&of), &key, &options) {
                    Ok(_) => {
                        tell.iter().for_each(|event| recorder.record(view, identity.source, event))
                    }
                    Err(gone) if matches!(gone.reason, Reason::NotFound | Reason::Conflict) => {}
                    Err(status) => return Err(status),
                }
            }
        }
    }
    Ok(())
}

fn create(
    view: &View,
    recorder: &mut Recorder,
    identity: Identity,
    of: &Of,
    object: Value,
    tell: Option<Tell>,
) -> Result<(), Status> {
    let outcome = view.store().create(&view.kind(of), object, &WriteOptions::by(identity.manager));
    let Some(Tell { regarding, style }) = tell else { return outcome.map(|_| ()) };
    match outcome {
        Ok(stored) => {
            let name = stored.value().name();
            let message = match style {
                TellStyle::Pod => format!("Created pod: {name}"),
                TellStyle::Stateful => {
                    format!("create Pod {name} in StatefulSet {} successful", regarding.name())
                }
            };
            recorder.record(
                view,
                identity.source,
                &Event::normal(&regarding, "SuccessfulCreate", message),
            );
            Ok(())
        }
        Err(status) => {
            // While its namespace goes, an owner needs no telling.
            if !is_terminating(&status) {
                let message = format!("Error creating: {status}");
                recorder.record(
                    view,
                    identity.source,
                    &Event::warning(&regarding, "FailedCreate", message),
                );
            }
            Err(status)
        }
    }
}

/// Whether something was refused because its namespace goes.
fn is_terminating(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Writes a new version of what was seen. False: it is gone.
fn write(
    view: &View,
    identity: Identity,
    own: &mut Own,
    (of, key, seen, part): (&Of, &Key, &str, Part),
    change: impl Fn(&Value) -> Value,
) -> Result<bool, Status> {
    let place = (of.group().to_owned(), of.plural().to_owned(), key.clone());
    let newest = match own.get(&place) {
        Some((first, newest)) if first == seen => newest.clone(),
        _ => seen.to_owned(),
    };
    let patch = &mut |old: &Value| {
        let mut new = change(old);
        new.metadata_mut().insert("resourceVersion".to_owned(), json!(newest));
        Ok(new)
    };
    let options = WriteOptions::by(identity.manager).of(part);
    match view.store().update(&view.kind(of), key, &options, patch) {
        Ok(stored) => {
            own.insert(place, (seen.to_owned(), stored.value().resource_version().to_owned()));
            Ok(true)
        }
        Err(gone) if gone.reason == Reason::NotFound => Ok(false),
        Err(status) => Err(status),
    }
}

pub(crate) use json_patch::merge;

/// Whether a merge would change anything.
pub(crate) fn changes(target: &Value, patch: &Value) -> bool {
    match patch {
        Value::Object(fields) => {
            !target.is_object()
                || fields.iter().any(|(name, value)| match value {
                    Value::Null => target.has(name),
                    value => changes(&target[name.as_str()], value),
                })
        }
        other => target != other,
    }
}
