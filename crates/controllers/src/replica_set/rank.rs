//! Which of a set's pods goes first.
//!
//! The order of kube-controller-manager 1.34 (`ActivePodsWithRanks`): what is of least use goes first.

use std::cmp::Ordering;
use std::collections::HashMap;

use apimachinery::Meta;
use jiff::Timestamp;
use serde_json::Value;

use crate::fields::Fields;
use crate::pod;

/// The annotation by which a user says what a pod's deletion costs.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// `Less`: `a` goes before `b`. `neighbours`: how many pods of the same owner each node has.
pub(crate) fn first_to_go(
    a: &Value,
    b: &Value,
    neighbours: &HashMap<&str, usize>,
    now: Timestamp,
) -> Ordering {
    let bound = |one: &Value| !pod::node(one).is_empty();
    let crowd = |one: &Value| neighbours.get(pod::node(one)).copied().unwrap_or(0);
    bound(a)
        .cmp(&bound(b))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| pod::is_ready(a).cmp(&pod::is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| crowd(b).cmp(&crowd(a)))
        .then_with(|| both_ready(a, b, now))
        .then_with(|| pod::restarts(b).cmp(&pod::restarts(a)))
        .then_with(|| {
            younger(a.time("metadata/creationTimestamp"), b.time("metadata/creationTimestamp"), now)
        })
        .then_with(|| a.uid().cmp(b.uid()))
}

fn phase_rank(pod: &Value) -> u8 {
    match pod::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn cost(pod: &Value) -> i64 {
    pod.annotation(COST).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn both_ready(a: &Value, b: &Value, now: Timestamp) -> Ordering {
    if pod::is_ready(a) && pod::is_ready(b) {
        younger(pod::ready_since(a), pod::ready_since(b), now)
    } else {
        Ordering::Equal
    }
}

/// The younger first; ages count by their power of two, so that pods of one batch are alike and chance decides.
fn younger(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let age = |since: Option<Timestamp>| {
        let Some(since) = since else { return 0 };
        let nanoseconds = now.duration_since(since).as_nanos().max(1).unsigned_abs();
        nanoseconds.ilog2()
    };
    age(a).cmp(&age(b))
}
