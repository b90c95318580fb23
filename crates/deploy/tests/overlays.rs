//! Every overlay renders, every object in it is what Kubernetes' schemas say, and every pod keeps to the restricted standard.

mod common;

use apimachinery::decode::{self, FieldValidation};
use apimachinery::schema::{Typed, builtin};
use common::{render, root, text};
use serde_json::Value;

/// Each overlay, and the kinds in it that are not Kubernetes', which nobody checks.
const OVERLAYS: [(&str, &[&str]); 7] = [
    ("solutions/01-triage/deploy", &[]),
    ("clusters/smollm2", &[]),
    ("clusters/gpu", &[]),
    ("clusters/eks", &[]),
    ("clusters/gke", &["PodMonitoring"]),
    ("clusters/aks", &[]),
    ("clusters/openshift", &["Route"]),
];

#[test]
fn every_overlay_of_the_folder_is_checked() {
    let mut found: Vec<String> = std::fs::read_dir(root().join("clusters"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("kustomization.yaml").is_file())
        .map(|path| format!("clusters/{}", path.file_name().unwrap().to_string_lossy()))
        .collect();
    found.sort();
    let mut known: Vec<&str> = OVERLAYS.iter().map(|(folder, _)| *folder).skip(1).collect();
    known.sort_unstable();
    assert_eq!(found, known);
}

#[test]
fn objects_are_what_kubernetes_schemas_say() {
    for (folder, foreign) in OVERLAYS {
        let mut unchecked = Vec::new();
        for object in render(folder) {
            let (version, kind) = (text(&object, "/apiVersion"), text(&object, "/kind"));
            let name = format!("{folder}: {kind} {}", text(&object, "/metadata/name"));
            let Some(definition) = builtin().of_kind(version, kind) else {
                unchecked.push(kind.to_owned());
                continue;
            };
            let kinds = apimachinery::builtin::kinds();
            let kind = kinds.named(version, kind).expect(kind);
            let body = object.to_string();
            let decoded = decode::object(
                kind,
                Typed::new(&definition.schema),
                body.as_bytes(),
                FieldValidation::Strict,
            );
            if let Err(status) = decoded {
                panic!("{name}: {status}");
            }
        }
        assert_eq!(unchecked, foreign, "{folder}: kinds that nobody checks");
    }
}

#[test]
fn a_misspelt_field_would_be_found() {
    let definition = builtin().of_kind("apps/v1", "Deployment").unwrap();
    let kinds = apimachinery::builtin::kinds();
    let kind = kinds.named("apps/v1", "Deployment").unwrap();
    let body = br#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"},"spec":{"replica":1}}"#;
    let decoded =
        decode::object(kind, Typed::new(&definition.schema), body, FieldValidation::Strict);
    assert!(decoded.unwrap_err().to_string().contains("replica"));
}

fn deployment(folder: &str) -> Value {
    render(folder).into_iter().find(|object| object["kind"] == "Deployment").expect(folder)
}

/// Kubernetes' Pod Security Standards, profile restricted.
#[test]
fn pods_keep_to_the_restricted_standard() {
    for (folder, _) in OVERLAYS {
        let deployment = deployment(folder);
        let pod = &deployment["spec"]["template"]["spec"];
        let of = |path: &str| pod.pointer(path).cloned().unwrap_or_default();
        assert_eq!(of("/securityContext/runAsNonRoot"), true, "{folder}");
        assert_eq!(of("/securityContext/seccompProfile/type"), "RuntimeDefault", "{folder}");
        assert_eq!(of("/automountServiceAccountToken"), false, "{folder}");
        for name in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod.get(name).is_none(), "{folder}: {name}");
        }
        let engine = &pod["containers"][0];
        let context = &engine["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{folder}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{folder}");
        assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]), "{folder}");
        assert!(engine["resources"]["limits"]["memory"].is_string(), "{folder}");
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            assert_eq!(engine[probe]["httpGet"]["path"], "/health", "{folder}: {probe}");
        }
        for volume in pod["volumes"].as_array().unwrap() {
            assert!(volume.get("hostPath").is_none(), "{folder}: {volume}");
        }
    }
}

/// A pod that is told to end serves until routers know, then drains, and only then may be killed.
#[test]
fn the_grace_period_covers_the_drain() {
    for (folder, _) in OVERLAYS {
        let pod = deployment(folder)["spec"]["template"]["spec"].clone();
        let engine = &pod["containers"][0];
        let args = engine["args"].as_array().unwrap().iter().filter_map(Value::as_str);
        let drain = args.filter_map(|arg| arg.strip_prefix("--drain-timeout-s=")).next_back();
        let drain: u64 = drain.map_or(30, |seconds| seconds.parse().unwrap());
        let before = engine["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace > before + drain, "{folder}: {grace} s for {before} + {drain} s");
    }
}

#[test]
fn each_overlay_says_what_its_cloud_asks_for() {
    let pod = |folder| deployment(folder)["spec"]["template"]["spec"].clone();
    let gpu = pod("clusters/gpu");
    assert_eq!(gpu["runtimeClassName"], "nvidia");
    assert_eq!(gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"], "1");
    assert_eq!(gpu["nodeSelector"]["nvidia.com/gpu.present"], "true");
    let openshift = pod("clusters/openshift");
    for name in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert!(openshift["securityContext"].get(name).is_none(), "OpenShift gives its own {name}");
    }
    for (folder, key) in [
        ("clusters/eks", "spot"),
        ("clusters/gke", "cloud.google.com/gke-spot"),
        ("clusters/aks", "kubernetes.azure.com/scalesetpriority"),
    ] {
        let pod = pod(folder);
        let keys: Vec<&str> =
            pod["tolerations"].as_array().unwrap().iter().map(|each| text(each, "/key")).collect();
        assert_eq!(keys, [key], "{folder}");
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace <= 15, "{folder}: no cloud waits {grace} s for a spot node");
    }
}

/// The address that a pod binds to is its own, on a cluster of machines as on one of processes.
#[test]
fn engines_bind_to_their_pods_address() {
    for (folder, _) in OVERLAYS {
        let engine = deployment(folder)["spec"]["template"]["spec"]["containers"][0].clone();
        let args = engine["args"].to_string();
        assert!(args.contains("--host=$(POD_IP)"), "{folder}: {args}");
        assert_eq!(
            engine["env"][0]["valueFrom"]["fieldRef"]["fieldPath"], "status.podIP",
            "{folder}"
        );
    }
}
