use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::api::Phase;

fn record(key: &str, id: &str) -> Record {
    Record {
        id: id.to_owned(),
        selector_key: key.to_owned(),
        phase: Phase::NotInjected,
        injected_count: 0,
        recovered_count: 0,
        events: Vec::new(),
    }
}

fn resource<K: DeserializeOwned>(mut spec: Value) -> K {
    spec["mode"] = json!("all");
    spec["selector"] = json!({});
    serde_json::from_value(json!({ "metadata": { "name": "x" }, "spec": spec }))
        .expect("a resource")
}

fn of<K: Faulty + DeserializeOwned>(spec: Value) -> Result<Fault, FaultError> {
    let all = [record(SELF, "serving/r"), record(TARGET, "serving/a"), record(TARGET, "serving/b")];
    resource::<K>(spec).fault(&all[0], &all)
}

#[test]
fn a_delay_names_its_peers_and_its_direction() {
    let fault = of::<NetworkChaos>(json!({
        "action": "delay", "direction": "from",
        "delay": { "latency": "90ms", "jitter": "10ms", "correlation": "25" },
        "target": { "mode": "all", "selector": {} },
    }));
    let peers = ["a", "b"].map(|name| ("serving".to_owned(), name.to_owned()));
    let delay = LinkDelay {
        latency: Duration::from_millis(90),
        jitter: Duration::from_millis(10),
        correlation: 0.25,
    };
    let wanted = LinkFault {
        peers: Peers::Pods(peers.to_vec()),
        outgoing: false,
        incoming: true,
        effect: LinkEffect { delay: Some(delay), ..LinkEffect::default() },
    };
    assert_eq!(fault, Ok(Fault::Link(wanted)));
}

#[test]
fn a_link_without_a_target_is_one_to_everyone() {
    let Ok(Fault::Link(link)) = of::<NetworkChaos>(json!({ "action": "partition" })) else {
        panic!("no link");
    };
    assert_eq!((link.peers, link.outgoing, link.incoming), (Peers::Everyone, true, false));
    assert!(link.effect.partition);
}

#[test]
fn the_far_end_needs_nothing_of_its_own() {
    let chaos: NetworkChaos = resource(json!({ "action": "partition" }));
    assert_eq!(chaos.fault(&record(TARGET, "serving/a"), &[]), Ok(Fault::FarEnd));
}

#[test]
fn only_a_kernel_can_do_these_and_the_error_says_so() {
    let network = [
        json!({ "action": "duplicate", "duplicate": { "duplicate": "5" } }),
        json!({ "action": "corrupt", "corrupt": { "corrupt": "5" } }),
        json!({ "action": "delay", "delay": { "latency": "1ms", "reorder": { "reorder": "5", "gap": 2 } } }),
        json!({ "action": "netem", "delay": { "latency": "1ms" }, "corrupt": { "corrupt": "5" } }),
        json!({ "action": "partition", "externalTargets": ["example.org"] }),
        json!({ "action": "partition", "device": "eth1" }),
    ];
    for spec in network {
        let error = of::<NetworkChaos>(spec.clone()).expect_err("unsupported");
        assert!(matches!(error, FaultError::Unsupported(_)), "{spec}: {error}");
    }
    let io = json!({ "action": "latency", "volumePath": "/data", "delay": "1s" });
    assert!(matches!(of::<IOChaos>(io), Err(FaultError::Unsupported(_))));
    let time = json!({ "timeOffset": "-10m" });
    assert!(matches!(of::<TimeChaos>(time), Err(FaultError::Unsupported(_))));
    let stress = json!({ "stressngStressors": "--vm 1" });
    assert!(matches!(of::<StressChaos>(stress), Err(FaultError::Unsupported(_))));
}

#[test]
fn an_action_without_its_parameters_is_invalid() {
    for spec in
        [json!({ "action": "delay" }), json!({ "action": "netem" }), json!({ "action": "loss" })]
    {
        assert!(matches!(of::<NetworkChaos>(spec), Err(FaultError::Invalid(_))));
    }
    let spec = json!({ "action": "delay", "delay": { "latency": "soon" } });
    assert!(matches!(of::<NetworkChaos>(spec), Err(FaultError::Notation(_))));
    for spec in
        [json!({ "target": "Request", "abort": true }), json!({ "target": "Request", "port": 80 })]
    {
        assert!(matches!(of::<HTTPChaos>(spec), Err(FaultError::Invalid(_))));
    }
    assert!(matches!(of::<StressChaos>(json!({})), Err(FaultError::Invalid(_))));
}

#[test]
fn http_faults_keep_their_filter() {
    let fault = of::<HTTPChaos>(json!({
        "target": "Response", "port": 8000, "path": "/v1/*", "code": 200, "delay": "2s",
        "replace": { "code": 503 },
    }));
    let Ok(Fault::Http(http)) = fault else { panic!("{fault:?}") };
    assert_eq!((http.port, http.delay), (8000, Duration::from_secs(2)));
    assert_eq!((http.filter.path.as_deref(), http.filter.code), (Some("/v1/*"), Some(200)));
    assert_eq!(http.replace.and_then(|replace| replace.code), Some(503));
}

#[test]
fn stress_is_workers_and_how_much_each() {
    let fault = of::<StressChaos>(json!({
        "stressors": { "cpu": { "workers": 2, "load": 50 }, "memory": { "workers": 1, "size": "64MB" } },
    }));
    let wanted = StressFault { cpu: Some((2, 0.5)), memory: Some((1, Size::Bytes(64_000_000))) };
    assert_eq!(fault, Ok(Fault::Stress(wanted)));
}

#[test]
fn a_bandwidth_is_a_bucket() {
    let spec = json!({
        "action": "bandwidth", "bandwidth": { "rate": "1mbps", "limit": 20_971_520, "buffer": 10_000 },
    });
    let Ok(Fault::Link(link)) = of::<NetworkChaos>(spec) else { panic!("no link") };
    assert_eq!(link.effect.bandwidth, Some(LinkBandwidth { rate: 1e6, burst: 10_000 }));
}
