//! `Event` objects: what controllers say about objects, counted instead of repeated, and bounded.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use apimachinery::{Key, Meta, Reason, Status};
use jiff::{SignedDuration, Timestamp};
use object_store::WriteOptions;
use serde_json::{Value, json};

use crate::action::Event;
use crate::fields::{Fields, micro_stamp, stamp};
use crate::resource::{EVENTS, Of};
use crate::view::View;

/// The source that writes events of the newer API.
const SCHEDULER: &str = "default-scheduler";
/// Events and objects that are remembered, as in client-go's correlator.
const REMEMBERED: usize = 4096;
/// Events about one object by one source before they are held back, and how often one more is let through (client-go's spam
/// filter).
const BURST: u32 = 25;
const REFILL: SignedDuration = SignedDuration::from_mins(5);

/// Writes events. What is said again is counted in the event that said it first.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    known: Bounded<Said, Key>,
    allowance: Bounded<(String, String), (u32, Timestamp)>,
}

/// What was said, about what, by whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Said {
    source: &'static str,
    uid: String,
    reason: String,
    message: String,
}

impl Recorder {
    /// Says something. An event that cannot be written is lost, as in Kubernetes: nothing depends on it.
    pub(crate) fn record(&mut self, view: &View, source: &'static str, event: &Event) {
        let now = view.now();
        let uid = event.regarding.uid().to_owned();
        if !self.allow(source, &uid, now) {
            return;
        }
        let said =
            Said { source, uid, reason: event.reason.clone(), message: event.message.clone() };
        if let Some(key) = self.known.get(&said).cloned()
            && count_again(view, &key, now).is_ok()
        {
            return;
        }
        let kind = view.kind(&Of::from(EVENTS));
        match view.store().create(&kind, object(source, event, now), &WriteOptions::default()) {
            Ok(stored) => self.known.insert(said, stored.key()),
            Err(status) if matches!(status.reason, Reason::NotFound | Reason::Forbidden) => {}
            Err(status) => tracing::debug!(%status, reason = event.reason, "event lost"),
        }
    }

    /// Whether this source may say one more thing about this object.
    fn allow(&mut self, source: &str, uid: &str, now: Timestamp) -> bool {
        let of = (source.to_owned(), uid.to_owned());
        let (left, since) = self.allowance.get(&of).copied().unwrap_or((BURST, now));
        let passed = now.duration_since(since).as_secs().max(0) / REFILL.as_secs();
        let refilled = u32::try_from(passed).unwrap_or(BURST).saturating_add(left).min(BURST);
        let since = if passed > 0 { now } else { since };
        self.allowance.insert(of, (refilled.saturating_sub(1), since));
        refilled > 0
    }
}

fn count_again(view: &View, key: &Key, now: Timestamp) -> Result<(), Status> {
    let kind = view.kind(&Of::from(EVENTS));
    let again = &mut |old: &Value| {
        let mut new = old.clone();
        if old.has("eventTime") {
            let count = old.count("series/count").max(1) + 1;
            new["series"] = json!({"count": count, "lastObservedTime": micro_stamp(now)});
        } else {
            new["count"] = json!(old.count("count").max(1) + 1);
            new["lastTimestamp"] = json!(stamp(now));
        }
        Ok(new)
    };
    view.store().update(&kind, key, &WriteOptions::default(), again).map(|_| ())
}

fn object(source: &str, event: &Event, now: Timestamp) -> Value {
    let regarding = &event.regarding;
    let namespace = match regarding.namespace() {
        "" => "default",
        namespace => namespace,
    };
    let suffix = format!("{:016x}", now.as_nanosecond().unsigned_abs() as u64);
    let mut involved = json!({
        "apiVersion": regarding["apiVersion"],
        "kind": regarding["kind"],
        "name": regarding.name(),
        "uid": regarding.uid(),
    });
    for field in ["namespace", "resourceVersion"] {
        if regarding["metadata"][field].is_string() {
            involved[field] = regarding["metadata"][field].clone();
        }
    }
    let mut object = json!({
        "metadata": {
            "generateName": format!("{}.{suffix}.", regarding.name()),
            "namespace": namespace,
        },
        "involvedObject": involved,
        "type": if event.warning { "Warning" } else { "Normal" },
        "reason": event.reason,
        "message": event.message,
        "source": {"component": source},
        "reportingComponent": source,
        "reportingInstance": "",
        "firstTimestamp": stamp(now),
        "lastTimestamp": stamp(now),
        "eventTime": null,
        "count": 1,
    });
    // The scheduler speaks the newer API of events, which says what it was about to do.
    let action = match event.reason.as_str() {
        "Scheduled" => "Binding",
        "Preempted" => "Preempting",
        _ => "Scheduling",
    };
    if source == SCHEDULER {
        let newer = json!({
            "action": action, "eventTime": micro_stamp(now), "source": {"component": null},
            "reportingInstance": format!("{SCHEDULER}-embedded"),
            "firstTimestamp": null, "lastTimestamp": null, "count": null,
        });
        crate::execute::merge(&mut object, &newer);
    }
    object
}

/// A map that forgets what was added first once it holds [`REMEMBERED`] entries.
#[derive(Debug)]
struct Bounded<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_map_forgets_what_came_first() {
        let mut map = Bounded::default();
        for i in 0..=REMEMBERED {
            map.insert(i, i);
            map.insert(i, i);
        }
        assert_eq!(map.get(&0), None);
        assert_eq!((map.entries.len(), map.order.len()), (REMEMBERED, REMEMBERED));
    }
}
