//! NetworkChaos: links that are slow, thin, lossy or cut, by direction and target.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::PodSeen;

use crate::place::{LATE, LATENCY, Place, fault, get, only};

/// Three stubs: a client, a server, and one that has nothing to do with it.
fn three() -> (Place, PodSeen, PodSeen, PodSeen) {
    let place = Place::of(3);
    let [client, server, other] = place.pods().try_into().unwrap();
    (place, client, server, other)
}

/// A fault of the links from a client to a server.
fn link(client: &PodSeen, server: &PodSeen, direction: &str, mut spec: Value) -> Value {
    spec["selector"] = only(client);
    spec["direction"] = direction.into();
    spec["target"] = json!({ "mode": "all", "selector": only(server) });
    spec
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_delay_hits_one_pod_and_goes_with_the_fault() {
    let place = Place::of(2);
    let [hit, spared] = place.pods().try_into().unwrap();
    let spec =
        json!({ "action": "delay", "selector": only(&hit), "delay": { "latency": "500ms" } });
    let fault = place.inject("NetworkChaos", spec);
    assert!(place.is_late(&hit, LATE));
    assert!(!place.is_late(&spared, LATE));
    fault.clear();
    assert!(!place.is_late(&hit, LATE), "it is undone when the object is gone");
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn jitter_lets_some_answers_come_earlier_than_the_latency_alone_would() {
    let place = Place::of(1);
    let [pod] = place.pods().try_into().unwrap();
    let url = place.url(&pod);
    let with_jitter = |jitter: &str, look: &dyn Fn()| {
        let delay = json!({ "latency": "500ms", "jitter": jitter });
        let fault = place.inject("NetworkChaos", json!({ "action": "delay", "delay": delay }));
        look();
        fault.clear();
    };
    with_jitter("0ms", &|| assert!(place.is_late(&pod, LATE)));
    with_jitter("500ms", &|| {
        let mut took = (0..40).map(|_| get(&url).took);
        let early = took.find(|took| *took < LATE);
        // The first half of it, the handshake, takes the latency as it is.
        assert!(early.is_some_and(|took| took >= LATENCY), "{early:?} of at most 40");
    });
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_delay_towards_a_target_hits_no_other_link() {
    let (place, client, server, other) = three();
    for direction in ["to", "from", "both"] {
        let spec = json!({ "action": "delay", "delay": { "latency": "500ms" } });
        let fault = place.inject("NetworkChaos", link(&client, &server, direction, spec));
        let times = if direction == "both" { 2 } else { 1 };
        assert!(place.is_late_between(&client, &server, times * LATE), "{direction}");
        for (from, to) in [(&client, &other), (&other, &server), (&other, &client)] {
            assert!(!place.is_late_between(from, to, LATE), "{} to {}", from.name, to.name);
        }
        assert!(!place.is_late(&server, LATE), "nor one from outside");
        fault.clear();
        assert!(!place.is_late_between(&client, &server, LATE), "{direction}: undone");
    }
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn bandwidth_limits_the_direction_that_is_named() {
    let (place, client, server, _) = three();
    // An answer of 100 kB at 40 kB a second takes 2.5 s, less what a bucket of 1 kB lets through at once.
    let least = Duration::from_millis(2400);
    let thin = json!({ "rate": "40kbps", "limit": 100_000, "buffer": 1000 });
    let spec = json!({ "action": "bandwidth", "bandwidth": thin });
    let large = || place.between(&client, &server, "bytes/100000");
    let fault = place.inject("NetworkChaos", link(&client, &server, "from", spec.clone()));
    let answer = large();
    assert!(answer.took >= least && answer.body.len() == 100_000, "{:?}", answer.took);
    fault.clear();
    let fault = place.inject("NetworkChaos", link(&client, &server, "to", spec));
    let answer = large();
    assert!(answer.took < least, "only what the client sends is limited: {:?}", answer.took);
    fault.clear();
    assert!(large().took < least);
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_partition_cuts_one_link_and_heals() {
    let (place, client, server, other) = three();
    let spec = link(&client, &server, "both", json!({ "action": "partition" }));
    let fault = place.inject("NetworkChaos", spec);
    assert_eq!(place.between(&client, &server, "").status, None);
    assert_eq!(place.between(&other, &server, "").status, Some(200));
    assert_eq!(place.between(&client, &other, "").status, Some(200));
    assert!(place.pods().iter().all(|pod| pod.ready), "the kubelet is on no such link");
    fault.clear();
    assert_eq!(place.between(&client, &server, "").status, Some(200));
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn loss_costs_a_part_of_the_connections() {
    let (place, client, server, other) = three();
    let lost = |from: &PodSeen| -> usize {
        let answers = (0..60).map(|_| place.between(from, &server, ""));
        answers.filter(|seen| seen.status.is_none()).count()
    };
    let half = link(&client, &server, "to", json!({ "action": "loss", "loss": { "loss": "50" } }));
    let fault = place.inject("NetworkChaos", half);
    let count = lost(&client);
    // Of 60 fair coins, fewer than 10 or more than 50 heads are a matter of 1 in 10 million.
    assert!((10..=50).contains(&count), "{count} of 60");
    assert_eq!(lost(&other), 0);
    fault.clear();
    let whole =
        link(&client, &server, "to", json!({ "action": "loss", "loss": { "loss": "100" } }));
    let fault = place.inject("NetworkChaos", whole);
    assert_eq!(lost(&client), 60);
    fault.clear();
    assert_eq!(lost(&client), 0);
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn what_only_a_kernel_can_do_ends_in_a_condition_that_says_so() {
    let place = Place::of(1);
    for (spec, what) in [
        (
            json!({ "action": "corrupt", "corrupt": { "corrupt": "5" } }),
            "packets with flipped bits",
        ),
        (
            json!({ "action": "duplicate", "duplicate": { "duplicate": "5" } }),
            "packets that come twice",
        ),
        (
            json!({ "action": "delay", "delay": { "latency": "1ms", "reorder": { "reorder": "5", "gap": 1 } } }),
            "packets that overtake others",
        ),
        (
            json!({ "action": "partition", "externalTargets": ["example.org"] }),
            "targets outside the cluster",
        ),
    ] {
        let refusal = place.refusal("NetworkChaos", spec);
        assert!(refusal.contains(&format!("not supported here: {what}")), "{refusal}");
        assert!(refusal.contains("needs Chaos Mesh on a real cluster"), "{refusal}");
    }
    let io = json!({ "action": "latency", "volumePath": "/data", "delay": "1s" });
    let time = json!({ "timeOffset": "-10m" });
    for (kind, spec, what) in [
        ("IOChaos", io, "faults of a volume's files"),
        ("TimeChaos", time, "a clock that differs from the machine's"),
    ] {
        let refusal = place.refusal(kind, spec);
        assert!(refusal.contains(&format!("not supported here: {what}")), "{refusal}");
    }
    let nobody =
        json!({ "action": "partition", "selector": { "labelSelectors": { "app": "none" } } });
    let refusal = place.cluster.try_inject(&fault("NetworkChaos", nobody)).err().unwrap();
    assert!(refusal.to_string().contains("no pod is selected"), "{refusal}");
}
