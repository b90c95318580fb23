//! How many may wait, and that nobody waits for somebody slow.

use insta::assert_snapshot;
use serde_json::json;
use server::Config;
use serving::baseline::Counters;

use crate::client::{get, post, send_json, wait_until};
use crate::harness::{TestServer, config, script};

const PATH: &str = "/v1/completions";

#[test]
fn more_than_max_queue_waiting_requests_are_told_to_come_back() {
    let server = TestServer::start(Config { max_queue: 2, ..config() }, 1);
    server.gate.close();
    let body = json!({"prompt": "abc", "max_tokens": 2, "temperature": 0});
    let running = send_json(server.address, PATH, &body);
    wait_until("the first one runs", || server.gate.begun() == 1);
    // It got its place, but nobody knows before its step ends.
    server.gate.allow(1);
    wait_until("its second step began", || server.gate.begun() == 2);
    let waiting = [(); 2].map(|()| send_json(server.address, PATH, &body));
    wait_until("two wait", || server.load() == 3);

    let refused = post(server.address, PATH, &body);
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_snapshot!(refused.body);
    assert_eq!(get(server.address, "/health").status, 200);

    server.gate.open();
    for pending in waiting.into_iter().chain([running]) {
        assert_eq!(pending.reply().json()["choices"][0]["text"], "ab");
    }
    assert_eq!(post(server.address, PATH, &body).status, 200);
}

#[test]
fn http_answers_while_a_step_takes_long() {
    let server = TestServer::ready();
    server.gate.close();
    let body = json!({"prompt": "abc", "max_tokens": 2, "temperature": 0});
    let pending = send_json(server.address, PATH, &body);
    wait_until("a step began", || server.gate.begun() == 1);
    for path in ["/health", "/metrics", "/v1/models", "/version", "/debug/timelines"] {
        assert_eq!(get(server.address, path).status, 200, "{path}");
    }
    assert_eq!(post(server.address, "/tokenize", &json!({"prompt": "ab"})).status, 200);
    assert_eq!(post(server.address, PATH, &json!({"prompt": ""})).status, 400);
    server.gate.open();
    assert_eq!(pending.reply().status, 200);
}

#[test]
fn an_engine_goes_on_for_a_client_that_reads_nothing() {
    const TOKENS: usize = 40_000;
    let gate = std::sync::Arc::default();
    let load = move || script(&gate, 1, TOKENS + 8);
    let server = TestServer::spawn(config(), Box::new(Counters::new("script")), load);
    server.wait_ready();
    let body = json!({"prompt": "abcd", "max_tokens": TOKENS, "temperature": 0, "stream": true});
    let slow = send_json(server.address, PATH, &body);
    let generated = || server.metric("vllm:generation_tokens_total") as usize;
    wait_until("all tokens are there, none of them read", || generated() == TOKENS);
    assert_eq!(server.metric("vllm:kv_cache_usage_perc"), 0.0);

    let frames = slow.reply().frames();
    let text: String = frames.iter().map(|f| f["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text, "abcd".repeat(TOKENS / 4));
    assert_eq!(frames.last().unwrap()["choices"][0]["finish_reason"], "length");
}
