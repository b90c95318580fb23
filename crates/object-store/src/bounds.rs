//! How much a kind may hold, and how long.

use apimachinery::Kind;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Objects of one kind. A cluster of one process holds no more; Kubernetes bounds its database instead.
pub(crate) const MOST_OBJECTS: usize = 50_000;
/// Events, of which the oldest give way.
pub(crate) const MOST_EVENTS: usize = 2_000;
/// How long an event is kept, as in Kubernetes.
pub(crate) const EVENT_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// Whether a kind is that of events.
pub(crate) fn is_event(kind: &Kind) -> bool {
    kind.kind == "Event" && (kind.group.is_empty() || kind.group == "events.k8s.io")
}

/// When an event last happened: what its age is counted from.
pub(crate) fn last_seen(event: &Value) -> Option<Timestamp> {
    let series = &event["series"]["lastObservedTime"];
    let fields = [series, &event["lastTimestamp"], &event["metadata"]["creationTimestamp"]];
    fields.into_iter().find_map(|value| value.as_str()?.parse().ok())
}
