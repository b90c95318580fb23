//! The committed definitions are the generated ones, and structural.

use std::path::Path;

use kube::CustomResourceExt;
use serde_json::Value;

#[test]
fn the_committed_definitions_are_the_generated_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clusters/chaos-mesh/crds.yaml");
    let committed = std::fs::read_to_string(path).unwrap();
    let command = "cargo run -p chaos --example crds > clusters/chaos-mesh/crds.yaml";
    assert!(committed == chaos::crds::manifest().unwrap(), "out of step: {command}");
}

#[test]
fn only_workflows_have_a_status_subresource() {
    for crd in chaos::crds::all() {
        let status = crd.spec.versions[0].subresources.as_ref().and_then(|sub| sub.status.as_ref());
        assert_eq!(status.is_some(), crd.spec.names.kind == "Workflow", "{}", crd.spec.names.kind);
    }
}

/// What a Kubernetes server does not take in a structural schema.
fn walk(path: &str, schema: &Value) {
    let Some(map) = schema.as_object() else { return };
    let preserved = map.contains_key("x-kubernetes-preserve-unknown-fields");
    assert!(map.contains_key("type") || preserved, "{path} has no type");
    let both = map.contains_key("properties") && map.contains_key("additionalProperties");
    assert!(!both, "{path} has properties and additionalProperties");
    for name in ["oneOf", "anyOf", "$ref", "definitions", "$defs", "const"] {
        assert!(!map.contains_key(name), "{path} has {name}");
    }
    for (name, each) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(&format!("{path}.{name}"), each);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = map.get(name) {
            walk(&format!("{path}[]"), inner);
        }
    }
}

#[test]
fn schemas_are_structural() {
    for crd in chaos::crds::all() {
        let value = serde_json::to_value(&crd).unwrap();
        let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert!(schema.is_object());
        walk(crd.metadata.name.as_deref().unwrap(), schema);
    }
}

/// Facts of Chaos Mesh 2.7's own definitions that manifests rely on.
#[test]
fn required_fields_and_enums_are_chaos_meshs() {
    let of = |crd: &Value, name: &str| {
        crd.pointer(&format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec{name}"))
            .cloned()
    };
    let required = |crd: &Value| {
        let mut all: Vec<String> = serde_json::from_value(of(crd, "/required").unwrap()).unwrap();
        all.sort();
        all.join(" ")
    };
    let json = |crd| serde_json::to_value(crd).unwrap();
    let network = json(chaos::api::NetworkChaos::crd());
    assert_eq!(required(&network), "action mode selector");
    assert_eq!(required(&json(chaos::api::PodChaos::crd())), "action mode selector");
    assert_eq!(required(&json(chaos::api::HTTPChaos::crd())), "mode selector target");
    assert_eq!(required(&json(chaos::api::StressChaos::crd())), "mode selector");
    assert_eq!(required(&json(chaos::api::IOChaos::crd())), "action mode selector volumePath");
    assert_eq!(required(&json(chaos::api::TimeChaos::crd())), "mode selector timeOffset");
    assert_eq!(required(&json(chaos::api::Schedule::crd())), "schedule type");
    assert_eq!(required(&json(chaos::api::Workflow::crd())), "entry templates");
    let actions = of(&network, "/properties/action/enum").unwrap();
    let wanted = ["netem", "delay", "loss", "duplicate", "corrupt", "partition", "bandwidth"];
    assert_eq!(actions, serde_json::json!(wanted));
    let latency = of(&network, "/properties/delay/properties/latency/pattern").unwrap();
    assert_eq!(latency, r"^[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h)$");
    let direction = of(&network, "/properties/direction").unwrap();
    assert_eq!(direction["default"], "to");
    let workers = of(
        &json(chaos::api::StressChaos::crd()),
        "/properties/stressors/properties/cpu/properties/workers",
    )
    .unwrap();
    assert_eq!((workers["maximum"].as_f64(), workers.get("format")), (Some(8192.0), None));
    let policy = of(&json(chaos::api::Schedule::crd()), "/properties/concurrencyPolicy").unwrap();
    assert_eq!(policy["default"], "Forbid");
}
