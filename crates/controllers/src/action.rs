//! What a controller wants done. Planned without a store, carried out by the runner, in order; the first refusal ends the
//! plan, and the object is looked at again.

use std::time::Duration;

use apimachinery::{Key, Meta};
use object_store::{Part, Propagation};
use serde_json::{Value, json};

use crate::resource::Of;

/// One write, or one event.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Store a new object; say so about `tell`, if given.
    Create { of: Of, object: Value, tell: Option<Tell> },
    /// Merge a patch (RFC 7386) into the version that was seen.
    Change { of: Of, key: Key, seen: String, part: Part, patch: Value, tell: Option<Event> },
    /// Replace the status of the version that was seen, and merge into its metadata, where status and annotations go together.
    Status { of: Of, key: Key, seen: String, status: Value, metadata: Option<Value> },
    /// Delete, if it still has this uid.
    Delete {
        of: Of,
        key: Key,
        uid: String,
        grace: Option<i64>,
        propagation: Option<Propagation>,
        tell: Option<Event>,
    },
    /// Say something about an object.
    Tell(Event),
}

/// Whom to tell of a creation: its outcome is known afterwards only.
#[derive(Clone, Debug)]
pub(crate) struct Tell {
    pub(crate) regarding: Value,
    pub(crate) style: TellStyle,
}

/// The words about a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TellStyle {
    /// `Created pod: NAME`, as most controllers say it.
    Pod,
    /// `create Pod NAME in StatefulSet OWNER successful`.
    Stateful,
}

/// What is said about an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// Its `apiVersion`, `kind`, `metadata`: enough to point at it.
    pub(crate) regarding: Value,
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Event {
    pub(crate) fn normal(regarding: &Value, reason: &str, message: impl Into<String>) -> Self {
        Self {
            regarding: pointer(regarding),
            warning: false,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn warning(regarding: &Value, reason: &str, message: impl Into<String>) -> Self {
        Self { warning: true, ..Self::normal(regarding, reason, message) }
    }
}

/// What an event needs of the object that it is about.
pub(crate) fn pointer(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": {
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
    })
}

impl Action {
    pub(crate) fn create(of: impl Into<Of>, object: Value) -> Self {
        Self::Create { of: of.into(), object, tell: None }
    }

    pub(crate) fn create_told(
        of: impl Into<Of>,
        object: Value,
        about: &Value,
        style: TellStyle,
    ) -> Self {
        let tell = Some(Tell { regarding: pointer(about), style });
        Self::Create { of: of.into(), object, tell }
    }

    /// Merges into everything but the status.
    pub(crate) fn change(of: impl Into<Of>, object: &Value, patch: Value) -> Self {
        Self::change_part(of, object, Part::Main, patch)
    }

    pub(crate) fn change_part(of: impl Into<Of>, object: &Value, part: Part, patch: Value) -> Self {
        let (key, seen) = (Key::of(object), object.resource_version().to_owned());
        Self::Change { of: of.into(), key, seen, part, patch, tell: None }
    }

    /// Replaces the owner references.
    pub(crate) fn references(of: impl Into<Of>, object: &Value, all: Vec<Value>) -> Self {
        Self::change(of, object, json!({"metadata": {"ownerReferences": all}}))
    }

    /// Replaces the finalizers.
    pub(crate) fn finalizers(of: impl Into<Of>, object: &Value, all: &[&str]) -> Self {
        Self::change(of, object, json!({"metadata": {"finalizers": all}}))
    }

    /// Replaces the status, if it differs.
    pub(crate) fn status(of: impl Into<Of>, object: &Value, status: Value) -> Option<Self> {
        let (key, seen) = (Key::of(object), object.resource_version().to_owned());
        (object["status"] != status).then(|| Self::Status {
            of: of.into(),
            key,
            seen,
            status,
            metadata: None,
        })
    }

    pub(crate) fn delete(of: impl Into<Of>, object: &Value) -> Self {
        let (key, uid) = (Key::of(object), object.uid().to_owned());
        Self::Delete { of: of.into(), key, uid, grace: None, propagation: None, tell: None }
    }

    /// The same, with something to say once it is done.
    pub(crate) fn telling(mut self, event: Event) -> Self {
        if let Self::Change { tell, .. } | Self::Delete { tell, .. } = &mut self {
            *tell = Some(event);
        }
        self
    }
}

/// What a look at an object came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    /// Look again after this long, whatever happens.
    pub(crate) again: Option<Duration>,
}

impl Plan {
    pub(crate) fn of(actions: Vec<Action>) -> Self {
        Self { actions, again: None }
    }

    /// Look again after this long at the latest.
    pub(crate) fn again_in(&mut self, wait: Duration) {
        self.again = Some(self.again.map_or(wait, |known| known.min(wait)));
    }
}
