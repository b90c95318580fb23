//! The smallest manifests that a cluster accepts, for behaviours that are about something else.

use serde_json::{Value, json};

/// The course's stub program as an image.
pub const STUB_IMAGE: &str = "lab/stub:1";

/// A container named `main` that nobody needs to run.
#[must_use]
pub fn container() -> Value {
    json!({"name": "main", "image": STUB_IMAGE})
}

/// A pod of one container that no scheduler of the cluster looks at.
#[must_use]
pub fn idle_pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"schedulerName": "nobody", "containers": [container()]},
    })
}

/// A Deployment named `name` whose pods no scheduler looks at.
#[must_use]
pub fn idle_deployment(name: &str, replicas: u32) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": idle_template(name),
        },
    })
}

/// A pod template labelled `app: name` whose pods no scheduler looks at.
#[must_use]
pub fn idle_template(name: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"schedulerName": "nobody", "containers": [container()]},
    })
}

/// A Service on port 80 for pods labelled `app: name`.
#[must_use]
pub fn service(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}
