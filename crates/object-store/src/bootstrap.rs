//! What every cluster has from the start, as a kube-apiserver makes it.

use std::sync::Arc;

use apimachinery::{Kind, Status};
use serde_json::{Value, json};

use crate::options::{Part, WriteOptions};
use crate::store::Store;

/// Namespaces of every cluster.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Priority classes of every cluster, with their values.
const PRIORITIES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "For what a cluster needs, but may move between nodes.",
    ),
    ("system-node-critical", 2_000_001_000, "For what a node needs, and what must not leave it."),
];

/// The class of claims that name none. It is made of directories: whoever runs the controllers makes them.
const STORAGE_CLASS: &str = "standard";

/// Makes the namespaces, their default service accounts, the service `kubernetes` at `address`, the priority classes of
/// the system and the default storage class, where they are missing.
///
/// # Errors
/// What the store refuses, except that something is there already.
pub fn bootstrap(store: &Store, address: std::net::Ipv4Addr, port: u16) -> Result<(), Status> {
    for name in NAMESPACES {
        let namespace = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        add(store, &store.kind("", "namespaces"), namespace)?;
        let account = json!({"metadata": {"name": "default", "namespace": name}});
        add(store, &store.kind("", "serviceaccounts"), account)?;
    }
    for (name, value, description) in PRIORITIES {
        let class = json!({
            "metadata": {"name": name},
            "value": value,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        });
        add(store, &store.kind("scheduling.k8s.io", "priorityclasses"), class)?;
    }
    let class = json!({
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "embedded-cluster/directory",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    });
    add(store, &store.kind("storage.k8s.io", "storageclasses"), class)?;
    let service = json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address.to_string(),
            "clusterIPs": [address.to_string()],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            "sessionAffinity": "None",
        },
        "status": {"loadBalancer": {}},
    });
    add(store, &store.kind("", "services"), service)
}

fn add(store: &Store, kind: &Arc<Kind>, object: Value) -> Result<(), Status> {
    let options = WriteOptions::by("kube-apiserver").of(Part::Whole);
    match store.create(kind, object, &options) {
        Err(status) if status.code != 409 => Err(status),
        _ => Ok(()),
    }
}
