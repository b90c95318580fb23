//! An engine or a recorder that fails, and what clients see of it.

use std::time::Duration;

use protocol::exposition::MetricFamily;
use serde_json::json;
use serving::{Load, Recorder, RequestSummary, StepReport, Timeline};

use crate::client::{get, post, send_json, wait_until};
use crate::harness::{TestServer, config, script};
use crate::script::{FAIL, PANIC};

const PATH: &str = "/v1/completions";

/// The engine fails at the second token, while a stream, a whole answer and a waiting request depend on it.
fn fails_at(token: u32) {
    let server = TestServer::start(config(), 2);
    server.gate.close();
    let streaming = json!({"prompt": "abcdef", "max_tokens": 30, "temperature": 0, "stream": true});
    let doomed = json!({"prompt": [97, token], "max_tokens": 30, "temperature": 0});
    let mut streaming = send_json(server.address, PATH, &streaming);
    wait_until("a step began", || server.gate.begun() == 1);
    let waiting: Vec<_> = (0..3).map(|_| send_json(server.address, PATH, &doomed)).collect();
    wait_until("all are in", || server.load() == 4);
    server.gate.allow(1);
    let first = streaming.read_until("\"a\"");
    assert!(first.contains("200 OK"));
    server.gate.open();

    let rest = streaming.read_until("[DONE]\n\n");
    let fate = if rest.contains("error") { "failed" } else { "finished" };
    for pending in waiting {
        let reply = pending.reply();
        // One that was on its way to the engine when it failed is turned away instead.
        let fate = (reply.status, reply.json()["error"]["type"].clone());
        let fates = [(500, json!("InternalServerError")), (503, json!("ServiceUnavailableError"))];
        assert!(fates.contains(&fate), "{}", reply.body);
    }
    // The static baseline runs the stream to its end before the doomed ones get their turn.
    assert_eq!(fate, "finished");
    wait_until("it is not ready", || get(server.address, "/health").status == 503);
    assert!(get(server.address, "/health").body.contains("the script says so"));
    assert_eq!(post(server.address, PATH, &doomed).status, 503);
    assert_eq!(get(server.address, "/metrics").status, 200);
    assert_eq!(server.load(), 0);
}

#[test]
fn a_panic_on_the_engine_thread_ends_requests_and_readiness() {
    fails_at(PANIC);
}

#[test]
fn an_executor_that_fails_ends_requests_and_readiness() {
    fails_at(FAIL);
}

#[test]
fn a_stream_that_the_engine_fails_ends_with_an_error_event() {
    let server = TestServer::ready();
    let body =
        json!({"prompt": [97, 98, PANIC], "max_tokens": 30, "temperature": 0, "stream": true});
    let frames = post(server.address, PATH, &body).frames();
    let error = &frames.last().unwrap()["error"];
    assert_eq!((&error["code"], &error["type"]), (&json!(500), &json!("InternalServerError")));
    let timeline = &get(server.address, "/debug/timelines").json()["timelines"][0];
    assert_eq!(timeline["finish_reason"], "error");
}

/// A recorder as a learner may leave it.
struct Unfinished;

impl Recorder for Unfinished {
    fn request(&mut self, _timeline: &Timeline, _summary: &RequestSummary) {
        panic!("not yet implemented: task 1.2");
    }

    fn step(&mut self, _report: &StepReport, _load: &Load) {}

    fn families(&self, _now: Duration) -> Vec<MetricFamily> {
        Vec::new()
    }
}

#[test]
fn a_recorder_that_panics_costs_the_metrics_and_nothing_else() {
    let gate = std::sync::Arc::default();
    let server = TestServer::spawn(config(), Box::new(Unfinished), move || script(&gate, 1, 64));
    server.wait_ready();
    let body = json!({"prompt": "abc", "max_tokens": 3, "temperature": 0});
    for _ in 0..2 {
        assert_eq!(post(server.address, PATH, &body).json()["choices"][0]["text"], "abc");
    }
    let page = get(server.address, "/metrics");
    assert_eq!(page.status, 500);
    assert!(page.body.contains("not yet implemented: task 1.2"), "{}", page.body);
    assert_eq!(get(server.address, "/health").status, 200);
}
