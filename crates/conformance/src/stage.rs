//! Nodes that nobody runs, and a stand-in for their kubelets: so workloads can be watched on a bare control plane.
//!
//! The nodes carry a taint and a label of the behaviour's namespace, and its pods a toleration and a selector, so that
//! neither another cluster's pods come here nor these pods run elsewhere. What a pod's fate is, its annotation says.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::fixture::container;
use crate::place::{Place, RUN_LABEL};
use crate::resource::{NODES, PODS};
use crate::unmet::{Met, condition, items, text};
use crate::wire::Wire;

/// Label and taint of a behaviour's nodes; the value is its namespace.
pub const PLACE_LABEL: &str = "conformance/place";
/// Annotation of a pod: `unready`, `succeed`, `fail` or `linger`; otherwise it becomes ready.
pub const FATE: &str = "conformance/fate";
/// Time between two looks at the pods.
const LOOK_EVERY: Duration = Duration::from_millis(60);
/// Looks between two signs of life of the nodes.
const LOOKS_PER_HEARTBEAT: usize = 100;

/// Nodes with a stand-in for their kubelets, which ends when this is dropped.
pub struct Stage {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stage {
    /// Sets up `nodes` nodes of 4 CPUs, 8 GiB and 20 pods, named `NAMESPACE-0` and so on, and runs their pods.
    ///
    /// # Errors
    /// [`crate::unmet::Unmet::Fail`] when the nodes are refused or do not become schedulable.
    pub async fn set(at: &Place, nodes: usize) -> Met<Self> {
        for number in 0..nodes {
            node(at, &number.to_string(), json!({})).await?;
        }
        Ok(Self::run(at))
    }

    /// Runs the pods of nodes that the behaviour has made itself.
    #[must_use]
    pub fn run(at: &Place) -> Self {
        let (wire, namespace) = (at.wire.apart(), at.namespace.clone());
        let task = tokio::spawn(async move {
            for look in 0_usize.. {
                // A lost look is made up for by the next one.
                let _ = run_pods(&wire, &namespace).await;
                if look % LOOKS_PER_HEARTBEAT == LOOKS_PER_HEARTBEAT - 1 {
                    let _ = beat(&wire, &namespace).await;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { task }
    }
}

/// Creates the node `NAMESPACE-suffix` with `extra` merged into its manifest, and waits until pods can go there.
///
/// # Errors
/// [`crate::unmet::Unmet::Fail`] when it is refused or does not become schedulable.
pub async fn node(at: &Place, suffix: &str, extra: Value) -> Met<String> {
    let name = format!("{}-{suffix}", at.namespace);
    let mut object = json!({
        "metadata": {"name": name, "labels": {
            PLACE_LABEL: at.namespace, RUN_LABEL: at.settings.run, "kubernetes.io/hostname": name,
        }},
        "spec": {"taints": [taint(&at.namespace)]},
    });
    merge(&mut object, &extra);
    let amounts = json!({"cpu": "4", "memory": "8Gi", "pods": "20"});
    let mut status = json!({"capacity": amounts, "allocatable": amounts, "conditions": [ready()]});
    merge(&mut status, &object["status"]);
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    at.create(NODES, object).await?;
    at.merge(NODES, &format!("{name}/status"), json!({"status": status})).await?;
    at.until(NODES, &name, "no taint of an unready node", |node| {
        items(node, "/spec/taints").iter().all(|taint| {
            !taint["key"].as_str().unwrap_or_default().starts_with("node.kubernetes.io/not-ready")
        })
    })
    .await?;
    Ok(name)
}

fn taint(namespace: &str) -> Value {
    json!({"key": PLACE_LABEL, "value": namespace, "effect": "NoSchedule"})
}

fn ready() -> Value {
    let now = now();
    json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "a stand-in",
        "lastHeartbeatTime": now, "lastTransitionTime": now})
}

fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string()
}

/// Merges `extra` into `object`; lists are replaced.
pub fn merge(object: &mut Value, extra: &Value) {
    match (object, extra) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (object, extra) => *object = extra.clone(),
    }
}

/// A pod spec that is scheduled to the behaviour's nodes alone.
#[must_use]
pub fn pod_spec(at: &Place) -> Value {
    json!({
        "containers": [container()],
        "nodeSelector": {PLACE_LABEL: at.namespace},
        "tolerations": [{"key": PLACE_LABEL, "operator": "Equal", "value": at.namespace}],
        "terminationGracePeriodSeconds": 5,
    })
}

/// A pod for the behaviour's nodes, with `extra` merged into its spec.
#[must_use]
pub fn pod(at: &Place, name: &str, extra: Value) -> Value {
    let mut spec = pod_spec(at);
    merge(&mut spec, &extra);
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// A template labelled `app: app` for the behaviour's nodes, of a pod with that fate.
#[must_use]
pub fn template(at: &Place, app: &str, fate: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}, "annotations": {FATE: fate}},
        "spec": pod_spec(at),
    })
}

/// A workload named `name` with a selector and a template, and `extra` merged into its spec.
#[must_use]
pub fn workload(at: &Place, name: &str, replicas: u32, extra: Value) -> Value {
    let mut spec = json!({
        "replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": template(at, name, "ready"),
    });
    merge(&mut spec, &extra);
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn run_pods(wire: &Wire, namespace: &str) -> Met {
    let pods = PODS.collection(namespace);
    let list = wire.call(Method::GET, pods.clone()).send().await?.ok()?;
    let own = format!("{namespace}-");
    for (number, pod) in items(&list, "/items").iter().enumerate() {
        if !pod["spec"]["nodeName"].as_str().is_some_and(|node| node.starts_with(&own)) {
            continue;
        }
        let name = text(pod, "/metadata/name")?;
        let fate = pod["metadata"]["annotations"][FATE].as_str().unwrap_or("ready");
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            if fate != "linger" {
                let now = json!({"gracePeriodSeconds": 0});
                wire.call(Method::DELETE, format!("{pods}/{name}")).json(&now).send().await?;
            }
            continue;
        }
        let wanted = status(pod, fate, number);
        let same = pod["status"]["phase"] == wanted["phase"]
            && condition(pod, "Ready")["status"]
                == condition(&json!({"status": wanted}), "Ready")["status"];
        if !same {
            let body = json!({"status": wanted}).to_string();
            let call = wire.call(Method::PATCH, format!("{pods}/{name}/status"));
            call.body("application/strategic-merge-patch+json", body).send().await?;
        }
    }
    Ok(())
}

/// The status that a kubelet would report of `pod` with that fate.
fn status(pod: &Value, fate: &str, number: usize) -> Value {
    let now = now();
    let (phase, ready, state) = match fate {
        "succeed" => (
            "Succeeded",
            false,
            json!({"terminated": {"exitCode": 0, "reason": "Completed",
            "startedAt": now, "finishedAt": now}}),
        ),
        "fail" => (
            "Failed",
            false,
            json!({"terminated": {"exitCode": 1, "reason": "Error",
            "startedAt": now, "finishedAt": now}}),
        ),
        "unready" => ("Running", false, json!({"running": {"startedAt": now}})),
        _ => ("Running", true, json!({"running": {"startedAt": now}})),
    };
    let is = |holds: bool| if holds { "True" } else { "False" };
    let conditions = [("Initialized", true), ("Ready", ready), ("ContainersReady", ready)]
        .map(|(kind, holds)| json!({"type": kind, "status": is(holds), "lastTransitionTime": now}));
    let containers: Vec<_> = items(pod, "/spec/containers")
        .iter()
        .map(|container| {
            json!({
                "name": container["name"], "image": container["image"], "imageID": "stand-in",
                "ready": ready, "started": ready, "restartCount": 0, "state": state,
            })
        })
        .collect();
    // 192.0.2.0/24 is for documentation: nobody answers there.
    let given = pod["status"]["podIP"].as_str().map(ToOwned::to_owned);
    let address = given.unwrap_or_else(|| format!("192.0.2.{}", 1 + number % 250));
    json!({
        "phase": phase, "startTime": now, "hostIP": "192.0.2.254", "podIP": address,
        "podIPs": [{"ip": address}], "conditions": conditions, "containerStatuses": containers,
    })
}

async fn beat(wire: &Wire, namespace: &str) -> Met {
    let nodes = NODES.collection("");
    let query =
        format!("{nodes}?labelSelector={PLACE_LABEL}%3D{namespace}").replacen("ce/p", "ce%2Fp", 1);
    let list = wire.call(Method::GET, query).send().await?.ok()?;
    for node in items(&list, "/items") {
        let name = text(node, "/metadata/name")?;
        let body = json!({"status": {"conditions": [ready()]}}).to_string();
        let call = wire.call(Method::PATCH, format!("{nodes}/{name}/status"));
        call.body("application/strategic-merge-patch+json", body).send().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_goes_into_maps_and_replaces_lists() {
        let mut object = json!({"a": {"b": 1, "c": [1]}});
        merge(&mut object, &json!({"a": {"c": [2], "d": 3}}));
        assert_eq!(object, json!({"a": {"b": 1, "c": [2], "d": 3}}));
    }

    #[test]
    fn a_fate_decides_phase_and_readiness() {
        let pod = json!({"spec": {"containers": [{"name": "main"}]}});
        for (fate, phase, ready) in [
            ("ready", "Running", "True"),
            ("unready", "Running", "False"),
            ("fail", "Failed", "False"),
        ] {
            let status = json!({"status": status(&pod, fate, 0)});
            assert_eq!(status["status"]["phase"], phase);
            assert_eq!(condition(&status, "Ready")["status"], ready);
        }
    }
}
