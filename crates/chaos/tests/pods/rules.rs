//! What all kinds share: modes, duration, pause, and a finalizer that undoes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::Manifests;

use crate::place::{LATE, LIMIT, Place, get, object};

fn delay(mut spec: Value) -> Value {
    spec["action"] = "delay".into();
    spec["delay"] = json!({ "latency": "500ms" });
    spec
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_mode_says_how_many_pods_are_hit() {
    let place = Place::of(4);
    for (mode, value, wanted) in
        [("one", "", 1), ("all", "", 4), ("fixed", "2", 2), ("fixed-percent", "75", 3)]
    {
        let mut spec = json!({ "mode": mode });
        if !value.is_empty() {
            spec["value"] = value.into();
        }
        let fault = place.inject("NetworkChaos", delay(spec));
        assert_eq!(place.late(LATE), wanted, "mode {mode} {value}");
        fault.clear();
    }
    assert_eq!(place.late(LATE), 0);
    let refusal = place.refusal("NetworkChaos", delay(json!({ "mode": "fixed", "value": "two" })));
    assert!(refusal.contains("mode fixed needs a value"), "{refusal}");
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_fault_ends_after_its_duration_and_its_object_stays() {
    let place = Place::of(1);
    let began = Instant::now();
    let fault = place.inject("NetworkChaos", delay(json!({ "duration": "8s" })));
    let url = place.url(&place.pods()[0]);
    let late = get(&url).took >= LATE;
    // Where the machine was too slow to look in time, nothing was seen.
    assert!(late || began.elapsed() > Duration::from_secs(6), "it bites");
    place.until("it is over", |pods| !place.is_late(&pods[0], LATE));
    // Creation times are whole seconds: one may seem to be older than it is.
    assert!(began.elapsed() >= Duration::from_secs(7), "not before its time");
    let spec = delay(json!({ "duration": "8s" }));
    let again = Manifests::yaml(object("NetworkChaos", "fault", spec).to_string());
    assert_eq!(place.cluster.apply(&again), fault.objects(), "the object is still there");
    fault.clear();
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_paused_fault_is_none_until_it_goes_on() {
    let place = Place::of(1);
    let applied = |paused: bool| {
        let mut chaos = object("NetworkChaos", "fault", delay(json!({})));
        if paused {
            let annotation = json!({ "experiment.chaos-mesh.org/pause": "true" });
            chaos["metadata"]["annotations"] = annotation;
        }
        place.cluster.apply(&Manifests::yaml(chaos.to_string()));
    };
    let is_late = |wanted: bool, what: &str| {
        let deadline = Instant::now() + LIMIT;
        while place.is_late(&place.pods()[0], LATE) != wanted {
            assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        }
    };
    applied(false);
    is_late(true, "it bites");
    applied(true);
    is_late(false, "it is paused");
    applied(false);
    is_late(true, "it goes on");
    place.cluster.delete(&["NetworkChaos/fault"]);
    assert!(!place.is_late(&place.pods()[0], LATE), "its finalizer has undone it");
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn faults_that_overlap_add_up_and_go_one_by_one() {
    let place = Place::of(1);
    let [pod] = place.pods().try_into().unwrap();
    let one = object("NetworkChaos", "one", delay(json!({})));
    let two = object("NetworkChaos", "two", delay(json!({})));
    let faults = place.cluster.inject(&Manifests::yaml(format!("{one}\n---\n{two}")));
    assert!(place.is_late(&pod, 2 * LATE));
    place.cluster.delete(&["NetworkChaos/two"]);
    assert!(place.is_late(&pod, LATE) && !place.is_late(&pod, 2 * LATE));
    faults.clear();
    assert!(!place.is_late(&pod, LATE));
}
