//! The running router and an HTTPRoute, before the course's own API server: weights are moved under load, backends come and go, and what
//! clients see is counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::cluster::{Cluster, POOLS, ROUTES, objects, within};
use crate::common::{Router, Server};
use serde_json::{Value, json};

/// Clients that ask one thing after the other.
const CLIENTS: usize = 3;

impl Cluster {
    fn create_route(&self, rules: &Value) {
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "engine"},
            "spec": {"rules": rules},
        });
        self.must("POST", ROUTES, &route);
    }

    /// As `kubectl patch --type merge` does it.
    fn patch_route(&self, rules: &Value) {
        let patch = json!({"spec": {"rules": rules}});
        self.must("PATCH", &format!("{ROUTES}/engine"), &patch);
    }

    fn router(&self) -> Router {
        let kubeconfig = self.kubeconfig();
        Router::start(&[
            "--http-route",
            "engine",
            "--namespace",
            "default",
            "--kubeconfig",
            &kubeconfig,
        ])
    }
}

/// One rule for everything.
fn split(backends: &[(&str, u32)]) -> Value {
    let backend =
        |(name, weight): &(&str, u32)| json!({"name": name, "port": 80, "weight": weight});
    json!([{"backendRefs": backends.iter().map(backend).collect::<Vec<_>>()}])
}

/// Clients that ask for as long as it lives, and what they were answered.
struct Load {
    statuses: Arc<Mutex<Vec<u16>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(router: &Router) -> Self {
        let (statuses, stop) = (Arc::<Mutex<Vec<u16>>>::default(), Arc::<AtomicBool>::default());
        let client = |_| {
            let (statuses, stop, url) = (statuses.clone(), stop.clone(), router.url.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    // 0: no answer at all.
                    let status = crate::common::ask(&url, "{}", None).unwrap_or(0);
                    statuses.lock().unwrap().push(status);
                }
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { statuses, stop, clients }
    }

    /// Everything that was answered.
    fn end(mut self) -> Vec<u16> {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.drain(..).for_each(|client| client.join().unwrap());
        self.statuses.lock().unwrap().clone()
    }
}

/// Waits until `idle` gets nothing while `busy` gets a hundred.
fn moved(what: &str, idle: &Server, busy: &[&Server]) {
    let all = || busy.iter().map(|server| server.asked()).sum::<usize>();
    within(what, || {
        let (before, from) = (idle.asked(), all());
        within("requests", || (all() >= from + 100).then_some(()));
        (idle.asked() == before).then_some(())
    });
}

#[test]
#[ignore = "builds an API server; run by `cargo xtask test --only peers`"]
fn peer_weights_move_under_load_and_no_request_is_lost() {
    let cluster = Cluster::start();
    let [stable, canary, fresh] = [(); 3].map(|()| Server::start(200));
    cluster.service("stable", &[&stable]);
    cluster.service("canary", &[&canary]);
    cluster.create_route(&split(&[("stable", 1), ("canary", 0)]));
    let router = cluster.router();
    router.wait_for("llm_router_route_endpoints_ready{backend=\"canary:80\"}", 1.0);
    within("an answer", || (router.ask("{}", None) == 200).then_some(()));
    let load = Load::start(&router);
    moved("the canary has weight 0", &canary, &[&stable]);

    cluster.patch_route(&split(&[("stable", 3), ("canary", 1)]));
    within("the canary gets some", || (canary.asked() > 0).then_some(()));
    let from = (stable.asked(), canary.asked());
    within("400 requests", || {
        (stable.asked() + canary.asked() >= from.0 + from.1 + 400).then_some(())
    });
    let (old, new) = (stable.asked() - from.0, canary.asked() - from.1);
    let part = new as f64 / (old + new) as f64;
    assert!((0.15..0.35).contains(&part), "a quarter, not {new} of {}", old + new);

    cluster.patch_route(&split(&[("stable", 0), ("canary", 1)]));
    moved("stable has weight 0", &stable, &[&canary]);

    // A backend that nobody knew takes over at once, and the old ones leave the route.
    cluster.service("fresh", &[&fresh]);
    cluster.patch_route(&split(&[("fresh", 1)]));
    moved("the canary has left", &canary, &[&fresh]);

    // What the router does not read changes nothing.
    let mut filtered = split(&[("stable", 1)]);
    filtered[0]["filters"] = json!([{
        "type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x-a"]},
    }]);
    cluster.patch_route(&filtered);
    moved("the route is refused", &stable, &[&fresh]);

    let statuses = load.end();
    let lost: Vec<u16> = statuses.iter().copied().filter(|status| *status != 200).collect();
    assert!(lost.is_empty(), "{} of {} requests: {lost:?}", lost.len(), statuses.len());
    assert!(statuses.len() > 600, "{}", statuses.len());
}

#[test]
#[ignore = "builds an API server; run by `cargo xtask test --only peers`"]
fn peer_the_part_of_what_is_missing_is_500_of_what_is_empty_503_and_nobody_elses() {
    let cluster = Cluster::start();
    let (stable, gold) = (Server::start(200), Server::start(200));
    cluster.service("stable", &[&stable]);
    cluster.service("gold", &[&gold]);
    cluster.service("empty", &[]);
    let router = cluster.router();
    let seen = |count: usize| {
        let mut all: Vec<u16> = (0..count).map(|_| router.ask("{}", None)).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    within("no route: 404", || (seen(1) == [404]).then_some(()));
    cluster.create_route(&split(&[("stable", 1), ("typo", 1)]));
    within("500 for the part of a name with a typing error", || {
        (seen(40) == [200, 500]).then_some(())
    });
    cluster.patch_route(&split(&[("stable", 1), ("empty", 1)]));
    within("503 for the part of a Service without replicas", || {
        (seen(40) == [200, 503]).then_some(())
    });

    // By a field, all; the path decides whether there is a rule at all.
    cluster.patch_route(&json!([
        {
            "matches": [{"headers": [{"name": "x-llm-version", "value": "canary"}]}],
            "backendRefs": [{"name": "gold", "port": 80}],
        },
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/v1/chat"}}],
            "backendRefs": [{"name": "stable", "port": 80}],
        },
    ]));
    within("nothing for /v1/completions", || (seen(10) == [404]).then_some(()));
    let before = gold.asked();
    assert!((0..10).all(|_| router.ask("{}", Some("canary")) == 200));
    assert_eq!(gold.asked() - before, 10);
    assert!(router.metric("llm_router_route_unrouted_total{reason=\"no_backend\"}") > Some(0.0));

    cluster.must("DELETE", &format!("{ROUTES}/engine"), &Value::Null);
    within("the route is gone: 404 for all", || {
        (router.ask("{}", Some("canary")) == 404).then_some(())
    });
}

#[test]
#[ignore = "builds an API server; run by `cargo xtask test --only peers`"]
fn peer_the_route_and_the_pools_of_deploy_gateway_are_served_as_they_are() {
    let cluster = Cluster::start();
    let servers = [Server::start(200), Server::start(200)];
    let pools = objects("solutions/02-routing/deploy/gateway/pools.yaml");
    assert_eq!(pools.len(), servers.len());
    for (mut pool, server) in pools.into_iter().zip(&servers) {
        // The one thing that a server of this test cannot have.
        pool["spec"]["targetPorts"][0]["number"] = json!(server.address.port());
        cluster.must("POST", POOLS, &pool);
        let name = pool["metadata"]["name"].as_str().unwrap();
        cluster.pod(name, &pool["spec"]["selector"]["matchLabels"]);
    }
    let route = objects("solutions/02-routing/deploy/gateway/route.yaml").remove(0);
    cluster.must("POST", ROUTES, &route);
    let router = cluster.router();
    router.wait_for("llm_router_route_endpoints_ready{backend=\"pool/engine-canary\"}", 1.0);
    within("an answer", || (router.ask("{}", None) == 200).then_some(()));
    let [stable, canary] = servers;
    let before = canary.asked();
    assert!((0..20).all(|_| router.ask_with("{}", Some(("x-canary", "always"))) == 200));
    assert_eq!(canary.asked() - before, 20, "whoever asks for it by a field");
    let from = (stable.asked(), canary.asked());
    assert!((0..400).all(|_| router.ask("{}", None) == 200));
    let (old, new) = (stable.asked() - from.0, canary.asked() - from.1);
    assert!((8..40).contains(&new) && old + new == 400, "5 in 100, not {new} of {}", old + new);

    cluster.must("DELETE", &format!("{POOLS}/engine-canary"), &Value::Null);
    let by_field = || router.ask_with("{}", Some(("x-canary", "always")));
    within("500 for a pool that is gone", || (by_field() == 500).then_some(()));
}
