//! StressChaos: something else eats a pod's CPU and memory, as `kubectl top` shows it.

use std::time::{Duration, Instant};

use kube::api::{Api, ApiResource, DynamicObject};
use serde_json::json;

use crate::place::{LIMIT, Place, only};

/// Thousandths of a CPU, and bytes, that a pod uses.
fn usage(place: &Place, pod: &str) -> Option<(f64, f64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(async {
        let root = std::env::var("LAB_ROOT").unwrap();
        let file = format!("{root}/.lab/cluster/embedded/kubeconfig");
        let config = kube_connect::config(Some(file.as_ref()), None).await.unwrap();
        let client = kube_connect::client(config).unwrap();
        let resource = ApiResource {
            group: "metrics.k8s.io".into(),
            version: "v1beta1".into(),
            api_version: "metrics.k8s.io/v1beta1".into(),
            kind: "PodMetrics".into(),
            plural: "pods".into(),
        };
        let namespace = place.cluster.namespace();
        let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
        api.get_opt(pod).await.unwrap()
    });
    let usage = found?.data.pointer("/containers/0/usage").cloned()?;
    Some((quantity(usage["cpu"].as_str()?), quantity(usage["memory"].as_str()?)))
}

/// `12345n`, `12m` in thousandths; `12Ki` in bytes.
fn quantity(text: &str) -> f64 {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: f64 = text[..split].parse().unwrap();
    let factor = match &text[split..] {
        "n" => 1e-6,
        "u" => 1e-3,
        "m" => 1.0,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "" => 1.0,
        other => panic!("unit {other}"),
    };
    number * factor
}

/// Waits until usage is as it should be.
fn until(place: &Place, pod: &str, what: &str, so: impl Fn((f64, f64)) -> bool) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let now = usage(place, pod);
        if now.is_some_and(&so) {
            return;
        }
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}; now {now:?}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn cpu_and_memory_are_eaten_in_one_pod_until_the_fault_ends() {
    let place = Place::of(2);
    let [hit, spared] = place.pods().try_into().unwrap();
    until(&place, &hit.name, "an idle stub", |(cpu, _)| cpu < 50.0);
    let stressors = json!({
        "cpu": { "workers": 1, "load": 50 }, "memory": { "workers": 1, "size": "64MiB" },
    });
    let spec = json!({ "selector": only(&hit), "stressors": stressors });
    let fault = place.inject("StressChaos", spec);
    let megabytes = f64::from(64 << 20);
    // Half a core was asked for; a busy machine gives less.
    until(&place, &hit.name, "a busy stub", |(cpu, memory)| cpu > 100.0 && memory > megabytes);
    let (cpu, memory) = usage(&place, &spared.name).unwrap();
    assert!(cpu < 100.0 && memory < megabytes, "the other one: {cpu} m, {memory} bytes");
    assert_eq!(place.pods().len(), 2);
    fault.clear();
    until(&place, &hit.name, "an idle stub again", |(cpu, memory)| {
        cpu < 50.0 && memory < megabytes
    });
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn stress_that_cannot_be_honest_is_refused() {
    let place = Place::of(1);
    for (stressors, what) in [
        (json!({ "memory": { "workers": 1, "size": "50%" } }), "memory as a part of what there is"),
        (
            json!({ "cpu": { "workers": 1, "options": ["--cpu-method fft"] } }),
            "options of stress-ng",
        ),
    ] {
        let refusal = place.refusal("StressChaos", json!({ "stressors": stressors }));
        assert!(refusal.contains(&format!("not supported here: {what}")), "{refusal}");
    }
}
