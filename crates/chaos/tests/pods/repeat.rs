//! Schedules and workflows: faults again and again, and one after another.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use testbed::Manifests;

use crate::place::{LATE, LIMIT, Place, complete, get, object, only};

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_schedule_makes_its_fault_again_until_it_is_paused_or_gone() {
    let place = Place::of(1);
    let mut kill = json!({ "action": "pod-kill", "mode": "one" });
    complete(&mut kill);
    let applied = |paused: bool| {
        let spec = json!({
            "schedule": "@every 2s", "type": "PodChaos", "concurrencyPolicy": "Allow",
            "historyLimit": 1, "podChaos": kill,
        });
        let mut schedule = object("Schedule", "again", spec);
        if paused {
            let annotation = json!({ "experiment.chaos-mesh.org/pause": "true" });
            schedule["metadata"]["annotations"] = annotation;
        }
        place.cluster.apply(&Manifests::yaml(schedule.to_string()));
    };
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut wait_for = |more: usize, what: &str| {
        let wanted = seen.len() + more;
        place.until(what, |pods| {
            seen.extend(pods.iter().map(|pod| pod.uid.clone()));
            seen.len() >= wanted
        });
    };
    wait_for(1, "the first pod");
    applied(false);
    wait_for(2, "two starts have killed two pods");
    applied(true);
    // One that was about to be killed may still be.
    std::thread::sleep(Duration::from_secs(3));
    place.cluster.ready("Deployment/stub");
    let before = place.pods();
    std::thread::sleep(Duration::from_secs(5));
    let after = place.pods();
    assert_eq!(before[0].uid, after[0].uid, "nothing is killed while it is paused");
    applied(false);
    place.until("it goes on", |pods| pods.iter().all(|pod| pod.uid != after[0].uid));
    place.cluster.delete(&["Schedule/again"]);
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_workflow_makes_its_faults_in_turn_and_then_none() {
    let place = Place::of(2);
    let [first, second] = place.pods().try_into().unwrap();
    let slow = |name: &str, pod| {
        let mut chaos = json!({
            "action": "delay", "delay": { "latency": "500ms" }, "selector": only(pod),
        });
        complete(&mut chaos);
        json!({ "name": name, "templateType": "NetworkChaos", "deadline": "8s", "networkChaos": chaos })
    };
    let spec = json!({
        "entry": "turns",
        "templates": [
            { "name": "turns", "templateType": "Serial", "children": ["one", "rest", "two"] },
            slow("one", &first),
            { "name": "rest", "templateType": "Suspend", "deadline": "5s" },
            slow("two", &second),
        ],
    });
    place.cluster.apply(&Manifests::yaml(object("Workflow", "turns", spec).to_string()));
    // An answer that is not late proves that its pod is spared; one that is may be so by chance, and both by the machine's mood.
    let look = || {
        let late = |pod| {
            let url = place.url(pod);
            move || get(&url).took >= LATE
        };
        let (one, two) = (late(&first), late(&second));
        std::thread::scope(|scope| {
            let one = scope.spawn(one);
            let two = two();
            (one.join().unwrap(), two)
        })
    };
    let wanted = [(true, false), (false, false), (false, true), (false, false)];
    let mut turns = wanted.iter();
    let mut history = Vec::new();
    let deadline = Instant::now() + LIMIT;
    let mut next = turns.next();
    while let Some(turn) = next {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {turn:?} after {history:?}");
        let seen = look();
        history.push(seen);
        if seen == *turn {
            next = turns.next();
        }
    }
    let begins = history.iter().find(|seen| **seen != (false, false));
    assert!(begins.is_some_and(|seen| seen.0), "the second one after the first: {history:?}");
    place.cluster.delete(&["Workflow/turns"]);
}
