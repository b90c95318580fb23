//! The running router and Services, before the course's own API server: a catalogue's, each for itself, and those of a canary.

use crate::cluster::{Cluster, SLICES};
use crate::common::{Router, Server};
use serde_json::Value;

fn ask(router: &Router, model: &str) -> u16 {
    router.ask(&format!("{{\"model\":\"{model}\",\"prompt\":\"hi\"}}"), None)
}

#[test]
#[ignore = "builds an API server; run by `cargo xtask test --only peers`"]
fn peer_the_services_of_a_catalogue_are_followed_each_for_itself() {
    let cluster = Cluster::start();
    let [first, second, small, fixed] = [(); 4].map(|()| Server::start(200));
    cluster.service("large", &[&first, &second]);
    cluster.service("small", &[&small]);
    let entry = |model: &str, place: &str| {
        format!(
            "  - {{model: {model}, version: '1', {place}, features: [completions], context_tokens: 100}}\n"
        )
    };
    let text = [
        "deployments:\n".to_owned(),
        entry("large", "service: default/large"),
        entry("small", "service: default/small"),
        entry("fixed", &format!("endpoints: ['{}']", fixed.url())),
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text.concat()).unwrap();
    let (path, kubeconfig) = (file.path().to_str().unwrap(), cluster.kubeconfig());
    let router = Router::start(&["--catalogue", path, "--kubeconfig", &kubeconfig]);
    router.wait_for("llm_router_endpoints_ready", 4.0);
    for model in ["large", "large", "small", "fixed"] {
        assert_eq!(ask(&router, model), 200, "{model}");
    }
    assert_eq!([&first, &second, &small, &fixed].map(Server::asked), [1; 4]);
    // One goes: its model is away, and nobody else's.
    let slice = format!("{SLICES}/small-{}", small.address.port());
    cluster.must("DELETE", &slice, &Value::Null);
    router.wait_for("llm_router_endpoints_ready", 3.0);
    assert_eq!(["small", "large", "fixed"].map(|model| ask(&router, model)), [503, 200, 200]);
}

#[test]
#[ignore = "builds an API server; run by `cargo xtask test --only peers`"]
fn peer_a_replica_of_both_services_is_the_canarys() {
    let cluster = Cluster::start();
    let [old, both] = [(); 2].map(|()| Server::start(200));
    cluster.service("old", &[&old, &both]);
    cluster.service("new", &[&both]);
    let kubeconfig = cluster.kubeconfig();
    let router = Router::start(&[
        "--service",
        "default/old",
        "--canary-service",
        "default/new",
        "--canary-slow",
        "30s",
        "--canary-steps",
        "50",
        "--canary-header",
        "--kubeconfig",
        &kubeconfig,
    ]);
    router.wait_for("llm_router_endpoints_ready", 2.0);
    for _ in 0..4 {
        assert_eq!(router.ask("{}", Some("stable")), 200);
    }
    assert_eq!([old.asked(), both.asked()], [4, 0]);
    assert_eq!(router.ask("{}", Some("canary")), 200);
    assert_eq!([old.asked(), both.asked()], [4, 1]);
}
