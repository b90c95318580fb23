//! Events, as the kubelet writes them: one object for the same thing, with a count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use apimachinery::{Key, Kind, Meta};
use object_store::{Store, WriteOptions};
use serde_json::{Value, json};

/// Different events that are remembered for counting; then all are forgotten, and counting starts anew.
const REMEMBERED: usize = 4096;
/// Longest message (core/v1 Event validation: 1024).
const MESSAGE: usize = 1024;

/// How an event is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Level {
    /// All is well.
    Normal,
    /// Something is wrong.
    Warning,
}

/// Writes events.
#[derive(Debug)]
pub(crate) struct Recorder {
    store: Store,
    kind: Arc<Kind>,
    /// The object of what was said before.
    known: Mutex<HashMap<Said, Key>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Said {
    uid: String,
    path: String,
    level: Level,
    reason: String,
    message: String,
}

/// What an event is about.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The object reference, without a field path.
    pub(crate) involved: Value,
    /// The node that says it.
    pub(crate) node: String,
}

impl About {
    /// About an object, said by a node.
    pub(crate) fn object(object: &Value, node: &str) -> Self {
        let mut involved = json!({
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "name": object.name(),
            "uid": object.uid(),
            "resourceVersion": object.resource_version(),
        });
        if !object.namespace().is_empty() {
            involved["namespace"] = json!(object.namespace());
        }
        Self { involved, node: node.to_owned() }
    }
}

impl Recorder {
    pub(crate) fn new(store: Store) -> Self {
        let kind = store.kind("", "events");
        Self { store, kind, known: Mutex::default() }
    }

    /// Says something about an object; `path`: about which part, like `spec.containers{main}`.
    pub(crate) fn say(&self, about: &About, path: &str, level: Level, reason: &str, message: &str) {
        let mut message = message.to_owned();
        if message.len() > MESSAGE {
            let end = (0..=MESSAGE).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
            message.truncate(end);
        }
        let said = Said {
            uid: about.involved["uid"].as_str().unwrap_or("").to_owned(),
            path: path.to_owned(),
            level,
            reason: reason.to_owned(),
            message,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.get(&said)
            && self.count(key)
        {
            return;
        }
        if known.len() >= REMEMBERED {
            known.clear();
        }
        if let Some(key) = self.create(about, &said) {
            known.insert(said, key);
        }
    }

    /// Counts an event that exists. `false`: it does not any more.
    fn count(&self, key: &Key) -> bool {
        let now = seconds(self.store.now());
        let patch = &mut |old: &Value| {
            let mut new = old.clone();
            new["count"] = json!(old["count"].as_i64().unwrap_or(1) + 1);
            new["lastTimestamp"] = json!(now);
            Ok(new)
        };
        self.store.update(&self.kind, key, &WriteOptions::by("kubelet"), patch).is_ok()
    }

    fn create(&self, about: &About, said: &Said) -> Option<Key> {
        let now = self.store.now();
        // Objects without a namespace have their events in `default`.
        let namespace = about.involved["namespace"].as_str().unwrap_or("default");
        let object = about.involved["name"].as_str().unwrap_or("");
        let mut involved = about.involved.clone();
        if !said.path.is_empty() {
            involved["fieldPath"] = json!(said.path);
        }
        let level = match said.level {
            Level::Normal => "Normal",
            Level::Warning => "Warning",
        };
        let source = json!({"component": "kubelet", "host": about.node});
        let name = format!("{object}.{:x}", now.as_nanosecond());
        for attempt in 0..4 {
            let name = if attempt == 0 { name.clone() } else { format!("{name}{attempt}") };
            let event = json!({
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": involved,
                "reason": said.reason,
                "message": said.message,
                "type": level,
                "count": 1,
                "firstTimestamp": seconds(now),
                "lastTimestamp": seconds(now),
                "eventTime": null,
                "source": source,
                "reportingComponent": "kubelet",
                "reportingInstance": about.node,
            });
            match self.store.create(&self.kind, event, &WriteOptions::by("kubelet")) {
                Ok(object) => return Some(object.key()),
                // Two events of one nanosecond.
                Err(refused) if refused.code == 409 => {}
                Err(refused) => {
                    // A namespace that is going away takes no events; nothing is lost that anybody could read.
                    tracing::debug!(%refused, reason = said.reason, "an event was refused");
                    return None;
                }
            }
        }
        None
    }
}

/// A time as objects carry it: whole seconds, in UTC.
pub(crate) fn seconds(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
