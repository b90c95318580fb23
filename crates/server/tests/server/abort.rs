//! A client that goes away frees its blocks within one step.

use serde_json::json;

use crate::client::{get, post, send_json, wait_until};
use crate::harness::TestServer;

const PATH: &str = "/v1/completions";
const USAGE: &str = "vllm:kv_cache_usage_perc";
const ABORTED: &str =
    "vllm:request_success_total{engine=\"0\",model_name=\"script\",finished_reason=\"abort\"}";

/// Runs a long request up to its second step, hangs up, and lets that step end.
fn hang_up(stream: bool) {
    let server = TestServer::ready();
    server.gate.close();
    let body = json!({"prompt": "abc", "max_tokens": 60, "temperature": 0, "stream": stream});
    let client = send_json(server.address, PATH, &body);
    server.gate.allow(1);
    wait_until("the second step began", || server.gate.begun() == 2);
    assert!(server.metric(USAGE) > 0.0);
    drop(client);
    wait_until("the server saw it", || server.load() == 0);

    server.gate.allow(1);
    wait_until("the blocks are free", || server.metric(USAGE) == 0.0);
    assert_eq!(server.gate.begun(), 2, "no step ran for a client that was gone");
    assert_eq!(server.metric("vllm:num_requests_running"), 0.0);
    assert_eq!(server.metric(ABORTED), 1.0);

    let timeline = &get(server.address, "/debug/timelines").json()["timelines"][0];
    assert_eq!(timeline["finish_reason"], "abort");
    let last = timeline["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["kind"], "aborted");
    server.gate.open();
    let next = json!({"prompt": "x", "max_tokens": 60});
    assert_eq!(post(server.address, PATH, &next).status, 200);
}

#[test]
fn while_its_answer_streams() {
    hang_up(true);
}

#[test]
fn while_it_waits_for_a_whole_answer() {
    hang_up(false);
}

#[test]
fn while_it_waits_in_the_queue() {
    let server = TestServer::start(crate::harness::config(), 1);
    server.gate.close();
    let body = json!({"prompt": "abc", "max_tokens": 3, "temperature": 0});
    let running = send_json(server.address, PATH, &body);
    wait_until("the first one runs", || server.gate.begun() == 1);
    let waiting = send_json(server.address, PATH, &body);
    wait_until("the second one waits", || server.load() == 2);
    drop(waiting);
    wait_until("the server saw it", || server.load() == 1);
    server.gate.open();
    assert_eq!(running.reply().json()["choices"][0]["text"], "abc");
    wait_until("it is counted", || server.metric(ABORTED) == 1.0);
    assert_eq!(server.gate.begun(), 3, "only the first one's three tokens ran");
    assert_eq!(server.metric(USAGE), 0.0);
}

#[test]
fn one_of_two_costs_the_other_nothing() {
    let server = TestServer::ready();
    server.gate.close();
    let first = json!({"prompt": "abc", "max_tokens": 30, "temperature": 0, "stream": true});
    let second = json!({"prompt": ["xyz", "uvw"], "max_tokens": 6, "temperature": 0});
    let first = send_json(server.address, PATH, &first);
    wait_until("the first one runs", || server.gate.begun() == 1);
    let second = send_json(server.address, PATH, &second);
    wait_until("the second one waits", || server.load() == 2);
    drop(first);
    wait_until("the server saw it", || server.load() == 1);
    server.gate.open();
    let reply = second.reply().json();
    assert_eq!(reply["choices"][0]["text"], "xyzxyz");
    assert_eq!(reply["choices"][1]["text"], "uvwuvw");
    // The batch of the first one ended with it: its one step, and six for the second.
    assert_eq!(server.gate.begun(), 7);
}
