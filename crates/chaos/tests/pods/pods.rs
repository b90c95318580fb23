//! PodChaos: pods that are killed, that do not run, and containers that are killed.

use std::collections::BTreeSet;

use serde_json::json;
use testbed::PodSeen;

use crate::place::{Place, get};

fn uids(pods: &[PodSeen]) -> BTreeSet<String> {
    pods.iter().map(|pod| pod.uid.clone()).collect()
}

fn restarts(pods: &[PodSeen]) -> u32 {
    pods.iter().map(|pod| pod.restarts).sum()
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_killed_pod_is_another_one_afterwards() {
    let place = Place::of(3);
    let before = uids(&place.pods());
    let _fault = place.inject("PodChaos", json!({ "action": "pod-kill", "mode": "one" }));
    place.until("three are ready again, one of them new", |pods| {
        pods.len() == 3 && pods.iter().all(|pod| pod.ready) && uids(pods) != before
    });
    let after = uids(&place.pods());
    assert_eq!(before.intersection(&after).count(), 2, "two were left alone");
    assert_eq!(restarts(&place.pods()), 0, "a killed pod does not restart: it goes");
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_pod_that_fails_stays_and_does_not_serve_until_the_fault_ends() {
    let place = Place::of(2);
    let pods = place.pods();
    let fault = place.inject("PodChaos", json!({ "action": "pod-failure", "mode": "one" }));
    place.until("one is not ready", |pods| pods.iter().filter(|pod| pod.ready).count() == 1);
    let now = place.pods();
    assert_eq!(uids(&pods), uids(&now), "both are still the same");
    let (well, failed): (Vec<_>, Vec<_>) = now.iter().partition(|pod| pod.ready);
    assert_eq!(get(&place.url(well[0])).status, Some(200));
    assert_eq!(get(&place.url(failed[0])).status, None, "nobody serves in it");
    fault.clear();
    place.until("both serve again", |pods| {
        pods.len() == 2
            && pods.iter().all(|pod| pod.ready && get(&place.url(pod)).status == Some(200))
    });
    assert_eq!(uids(&pods), uids(&place.pods()));
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_killed_container_restarts_in_the_same_pod() {
    let place = Place::of(2);
    let before = place.pods();
    let spec = json!({ "action": "container-kill", "mode": "one", "containerNames": ["stub"] });
    let fault = place.inject("PodChaos", spec);
    place.until("one restarted, and both are ready", |pods| {
        restarts(pods) == 1 && pods.len() == 2 && pods.iter().all(|pod| pod.ready)
    });
    assert_eq!(uids(&before), uids(&place.pods()));
    fault.clear();
    let spec = json!({ "action": "container-kill", "mode": "one", "containerNames": ["nobody"] });
    let refusal = place.refusal("PodChaos", spec);
    assert!(refusal.contains("no container \"nobody\""), "{refusal}");
}
