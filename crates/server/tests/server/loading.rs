//! A server before its model is there.

use std::sync::mpsc::{SyncSender, sync_channel};

use serde_json::json;
use server::{Config, ServeError};
use serving::baseline::Counters;

use crate::client::{get, post, send_json, wait_until};
use crate::harness::{TestServer, config, script};

const PATH: &str = "/v1/completions";

/// A server that loads until it is told to go on.
fn loading(config: Config) -> (TestServer, SyncSender<()>) {
    let (go_on, wait) = sync_channel::<()>(1);
    let gate = std::sync::Arc::default();
    let load = move || {
        let _ = wait.recv();
        script(&gate, 1, 64)
    };
    (TestServer::spawn(config, Box::new(Counters::new("script")), load), go_on)
}

#[test]
fn an_early_request_waits_and_its_timeline_says_so() {
    let (server, go_on) = loading(config());
    let health = get(server.address, "/health");
    assert_eq!((health.status, health.header("retry-after")), (503, Some("1")));
    assert_eq!(get(server.address, "/v1/models").status, 503);
    assert_eq!(get(server.address, "/metrics").status, 200);
    let body = json!({"prompt": "abc", "max_tokens": 2, "temperature": 0});
    let early = send_json(server.address, PATH, &body);
    wait_until("it is in", || server.load() == 1);
    assert_eq!(post(server.address, PATH, &json!({"prompt": 7})).status, 400);
    go_on.send(()).unwrap();
    assert_eq!(early.reply().json()["choices"][0]["text"], "ab");

    let timeline = &get(server.address, "/debug/timelines").json()["timelines"][0];
    let kinds: Vec<_> = timeline["events"].as_array().unwrap().iter().map(|e| &e["kind"]).collect();
    assert_eq!(
        json!(kinds),
        json!([
            "arrived",
            "model_ready",
            "queued",
            "scheduled",
            "prefill_done",
            "token",
            "token",
            "flushed"
        ])
    );
}

#[test]
fn no_more_than_max_queue_requests_wait_for_the_model() {
    let (server, go_on) = loading(Config { max_queue: 1, ..config() });
    let body = json!({"prompt": "abc", "max_tokens": 2, "temperature": 0});
    let early = send_json(server.address, PATH, &body);
    wait_until("it is in", || server.load() == 1);
    assert_eq!(post(server.address, PATH, &body).status, 429);
    drop(early);
    wait_until("it went away", || server.load() == 0);
    let timeline = &get(server.address, "/debug/timelines").json()["timelines"][0];
    assert_eq!(
        (&timeline["finish_reason"], &timeline["events"][1]["kind"]),
        (&json!("abort"), &json!("aborted"))
    );
    let next = send_json(server.address, PATH, &body);
    wait_until("its place was free", || server.load() == 1);
    go_on.send(()).unwrap();
    assert_eq!(next.reply().status, 200);
}

#[test]
fn a_drain_waits_for_the_model_where_a_request_does() {
    let (mut server, go_on) = loading(config());
    let body = json!({"prompt": "abc", "max_tokens": 2, "temperature": 0});
    let early = send_json(server.address, PATH, &body);
    wait_until("it is in", || server.load() == 1);
    server.drain();
    wait_until("it drains", || get(server.address, "/health").body.contains("shutting down"));
    assert_eq!(post(server.address, PATH, &body).status, 503);
    go_on.send(()).unwrap();
    assert_eq!(early.reply().status, 200);
    server.join().unwrap();
}

#[test]
fn a_model_that_does_not_load_ends_the_server() {
    let counters = Box::new(Counters::new("script"));
    let server = TestServer::spawn(config(), counters, || Err("no such file: x.gguf".into()));
    let error = server.join().unwrap_err();
    assert!(matches!(error, ServeError::Load(_)));
    assert_eq!(error.to_string(), "the model did not load: no such file: x.gguf");
    let server = TestServer::spawn(config(), Box::new(Counters::new("script")), || panic!("oh"));
    assert_eq!(server.join().unwrap_err().to_string(), "the model did not load: it panicked: oh");
}
