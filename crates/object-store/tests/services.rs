//! Addresses and ports that services are given in the write that asks for them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashSet;
use std::sync::Arc;

use apimachinery::{Key, Kind, Status};
use object_store::{ObjectRef, Store, WriteOptions, bootstrap};
use serde_json::{Value, json};

struct Cluster {
    store: Store,
    services: Arc<Kind>,
}

impl Cluster {
    fn new() -> Self {
        let store = Store::default();
        bootstrap(&store, std::net::Ipv4Addr::LOCALHOST, 443).unwrap();
        Self { services: store.kind("", "services"), store }
    }

    fn create(&self, name: &str, spec: Value) -> Result<ObjectRef, Status> {
        let service = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
        self.store.create(&self.services, service, &WriteOptions::by("test"))
    }

    fn change(&self, name: &str, change: impl Fn(&mut Value)) -> Result<ObjectRef, Status> {
        let key = Key::namespaced("default", name);
        self.store.update(&self.services, &key, &WriteOptions::by("test"), &mut |old| {
            let mut new = old.clone();
            change(&mut new["spec"]);
            Ok(new)
        })
    }
}

fn ports(kind: &str, ports: Value) -> Value {
    json!({"type": kind, "selector": {"app": "a"}, "ports": ports})
}

fn node_ports(service: &ObjectRef) -> Vec<i64> {
    let ports = service.value()["spec"]["ports"].as_array().unwrap().iter();
    ports.filter_map(|port| port["nodePort"].as_i64()).collect()
}

fn address(service: &ObjectRef) -> &str {
    service.value()["spec"]["clusterIP"].as_str().unwrap()
}

#[test]
fn no_two_services_share_an_address_or_a_port() {
    let cluster = Cluster::new();
    let two = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    let all: Vec<ObjectRef> = (0..50)
        .map(|i| cluster.create(&format!("s{i}"), ports("NodePort", two.clone())).unwrap())
        .collect();
    let addresses: HashSet<&str> = all.iter().map(address).collect();
    let numbers: HashSet<i64> = all.iter().flat_map(node_ports).collect();
    assert_eq!((addresses.len(), numbers.len()), (50, 100));
    assert!(addresses.iter().all(|address| address.starts_with("127.96.")));
}

#[test]
fn what_is_taken_or_out_of_range_is_refused_in_the_words_of_kubernetes() {
    let cluster = Cluster::new();
    let one = json!([{"port": 80, "nodePort": 30080}]);
    let first = cluster.create("first", ports("NodePort", one.clone())).unwrap();
    let refused = |spec: Value| cluster.create("second", spec).unwrap_err().message;
    assert_eq!(
        refused(ports("NodePort", one)),
        "Service \"second\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    );
    assert_eq!(
        refused(ports("NodePort", json!([{"port": 80, "nodePort": 80}]))),
        "Service \"second\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"
    );
    let asking = |address: &str| {
        let mut spec = ports("ClusterIP", json!([{"port": 80}]));
        spec["clusterIP"] = json!(address);
        spec
    };
    let address = address(&first);
    assert_eq!(
        refused(asking(address)),
        format!(
            "Service \"second\" is invalid: spec.clusterIPs: Invalid value: [{address:?}]: failed to allocate IP {address}: provided IP is already allocated"
        )
    );
    assert!(refused(asking("10.0.0.1")).ends_with(
        "the provided IP (10.0.0.1) is not in the valid range. The range of valid IPs is 127.96.0.0/16"
    ));
    assert_eq!(
        cluster.create("second", asking("127.96.0.7")).unwrap().value()["spec"]["clusterIPs"],
        json!(["127.96.0.7"])
    );
}

#[test]
fn an_address_and_its_ports_stay_while_the_type_has_a_use_for_them() {
    let cluster = Cluster::new();
    let made = cluster.create("a", ports("ClusterIP", json!([{"port": 80}]))).unwrap();
    let opened = cluster.change("a", |spec| spec["type"] = json!("NodePort")).unwrap();
    assert_eq!((address(&opened), node_ports(&opened).len()), (address(&made), 1));
    // A replace that names neither keeps both.
    let bare = ports("NodePort", json!([{"port": 8080}]));
    let replaced = cluster.change("a", |spec| *spec = bare.clone()).unwrap();
    assert_eq!((address(&replaced), node_ports(&replaced)), (address(&made), node_ports(&opened)));
    let closed = cluster.change("a", |spec| spec["type"] = json!("ClusterIP")).unwrap();
    assert_eq!(node_ports(&closed), Vec::<i64>::new());
    let external = json!({"type": "ExternalName", "externalName": "a.example"});
    let external = cluster.change("a", |spec| *spec = external.clone()).unwrap();
    assert!(external.value()["spec"].get("clusterIP").is_none());
}

#[test]
fn a_headless_or_external_service_gets_no_address() {
    let cluster = Cluster::new();
    let headless = json!({"clusterIP": "None", "selector": {"a": "b"}});
    assert_eq!(address(&cluster.create("headless", headless).unwrap()), "None");
    let external = json!({"type": "ExternalName", "externalName": "a.example"});
    let external = cluster.create("external", external).unwrap();
    assert!(external.value()["spec"].get("clusterIP").is_none());
}

#[test]
fn a_claim_that_names_no_class_gets_the_default_one() {
    let cluster = Cluster::new();
    let claims = cluster.store.kind("", "persistentvolumeclaims");
    let create = |name: &str, class: Value| {
        let claim = json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": {"requests": {"storage": "1Gi"}}},
        });
        let made = cluster.store.create(&claims, claim, &WriteOptions::by("test")).unwrap();
        made.value()["spec"]["storageClassName"].clone()
    };
    assert_eq!(create("a", Value::Null), "standard");
    assert_eq!(create("b", json!("")), "", "an empty name means none");
    assert_eq!(create("c", json!("other")), "other");
}
