//! text-generation-inference's endpoints, with the scripted model.

use serde_json::{Value, json};
use server::Config;

use crate::client::{JSON, get, post, send};
use crate::harness::{TestServer, config};

#[test]
fn generate_gives_text_and_details_where_asked() {
    let server = TestServer::ready();
    let body = json!({"inputs": "abc", "parameters": {"max_new_tokens": 4}});
    assert_eq!(post(server.address, "/generate", &body).json(), json!({"generated_text": "abca"}));
    let parameters = json!({"max_new_tokens": 9, "details": true, "decoder_input_details": true,
        "stop": ["ca"], "return_full_text": true, "seed": 7});
    let reply =
        post(server.address, "/generate", &json!({"inputs": "abc", "parameters": parameters}));
    let told = reply.json();
    // The stop sequence stays in the text, and a greedy answer has no seed.
    assert_eq!(told["generated_text"], "abcabca");
    let details = &told["details"];
    assert_eq!(
        (&details["finish_reason"], &details["seed"]),
        (&json!("stop_sequence"), &Value::Null)
    );
    assert_eq!(details["generated_tokens"], 4);
    assert_eq!(details["prefill"][0], json!({"id": 97, "text": "a", "logprob": null}));
    assert_eq!(
        details["tokens"][0],
        json!({"id": 97, "text": "a", "logprob": 0.0, "special": false})
    );
}

#[test]
fn a_stream_has_one_event_a_token_and_ends_with_the_text() {
    let server = TestServer::ready();
    let body = json!({"inputs": "h\u{e9}", "parameters": {"max_new_tokens": 3}});
    let reply = post(server.address, "/generate_stream", &body);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let events: Vec<Value> = protocol::sse::data(&reply.body)
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let texts: Vec<_> = events.iter().map(|event| event["token"]["text"].clone()).collect();
    assert_eq!(texts, ["h", "", "\u{e9}"]);
    assert_eq!(events.iter().map(|event| event["index"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(events[..2].iter().all(|event| event["generated_text"].is_null()));
    assert_eq!(events[2]["generated_text"], "h\u{e9}");
    let details =
        json!({"finish_reason": "length", "generated_tokens": 3, "seed": null, "input_length": 3});
    assert_eq!(events[2]["details"], details);
}

#[test]
fn what_cannot_be_served_is_a_validation_error() {
    let server = TestServer::ready();
    for body in [
        r#"{"inputs":""}"#,
        r#"{"parameters":{}}"#,
        r#"{"inputs":"a","parameters":{"temperature":0.0}}"#,
        r#"{"inputs":"a","parameters":{"max_new_tokens":64}}"#,
        r#"{"inputs":"a","parameters":{"grammar":{"type":"regex"}}}"#,
    ] {
        let reply = send(server.address, "POST", "/generate", JSON, body.as_bytes()).reply();
        assert_eq!(
            (reply.status, &reply.json()["error_type"]),
            (422, &json!("validation")),
            "{body}"
        );
    }
    assert_eq!(server.load(), 0);
}

#[test]
fn the_server_says_what_it_takes() {
    let server = TestServer::ready();
    let info = get(server.address, "/info").json();
    assert_eq!((&info["model_id"], &info["max_total_tokens"]), (&json!("script"), &json!(64)));
    assert_eq!(info["max_input_tokens"], 63);
}

#[test]
fn tgis_metrics_are_there_only_where_asked_for() {
    let body = json!({"inputs": "abc", "parameters": {"max_new_tokens": 4}});
    let server = TestServer::start(Config { tgi_metrics: true, ..config() }, 1);
    post(server.address, "/generate", &body);
    assert_eq!(server.metric("tgi_request_success "), 1.0);
    assert_eq!(server.metric("tgi_request_generated_tokens_sum "), 4.0);
    let without = TestServer::ready();
    post(without.address, "/generate", &body);
    assert!(!get(without.address, "/metrics").body.contains("tgi_"));
}
