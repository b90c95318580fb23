//! `/v1/chat/completions`, with the scripted model.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::client::{post, redact};
use crate::harness::{MAX_MODEL_LEN, TestServer};

const PATH: &str = "/v1/chat/completions";

/// A request to say `u`, with these fields too.
fn body(fields: Value) -> Value {
    let mut body = json!({"model": "script", "temperature": 0, "max_tokens": 6,
        "messages": [{"role": "u", "content": "Hi, you"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn content(reply: &Value) -> &str {
    reply["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn a_chat_has_vllms_shape() {
    let server = TestServer::ready();
    let reply = post(server.address, PATH, &body(json!({})));
    assert_snapshot!(redact(&reply.body));
}

#[test]
fn content_may_be_text_parts() {
    let server = TestServer::ready();
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let messages = json!([{"role": "u", "content": parts}, {"role": "v"}]);
    let reply = post(server.address, PATH, &body(json!({"messages": messages, "max_tokens": 9})));
    assert_eq!(content(&reply.json()), "u:a\nb;v:;");
}

#[test]
fn max_completion_tokens_wins_over_max_tokens() {
    let server = TestServer::ready();
    let reply = post(server.address, PATH, &body(json!({"max_completion_tokens": 3})));
    assert_eq!(content(&reply.json()), "u:H");
}

#[test]
fn max_tokens_is_the_rest_of_the_context_where_the_request_has_none() {
    let server = TestServer::ready();
    let reply = post(server.address, PATH, &body(json!({"max_tokens": null}))).json();
    assert_eq!(reply["usage"]["total_tokens"], MAX_MODEL_LEN);
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_stream_has_vllms_frames() {
    let server = TestServer::ready();
    server.gate.close();
    let body = body(json!({"max_tokens": 2, "stream": true}));
    let mut pending = crate::client::send_json(server.address, PATH, &body);
    server.gate.allow(1);
    let head = pending.read_until("\"token_ids\":null}]}\n\n");
    server.gate.allow(1);
    let tail = pending.read_until("data: [DONE]\n\n");
    let frames: String = [head, tail]
        .iter()
        .flat_map(|part| part.lines())
        .filter(|line| line.starts_with("data: "))
        .map(|line| redact(line) + "\n")
        .collect();
    assert_snapshot!(frames);
}

#[test]
fn continuous_usage_is_in_every_frame() {
    let server = TestServer::ready();
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    let reply = post(
        server.address,
        PATH,
        &body(json!({"max_tokens": 2, "stream": true, "stream_options": options})),
    );
    let frames = reply.frames();
    assert!(frames.iter().all(|frame| frame["usage"]["prompt_tokens"] == 10));
    assert_snapshot!(redact(&frames[0].to_string()));
    assert_snapshot!(frames.last().unwrap()["usage"].to_string());
}

#[test]
fn every_choice_of_a_stream_is_introduced_once() {
    let server = TestServer::ready();
    let fields = json!({"max_tokens": 2, "stream": true, "n": 2, "temperature": 1, "seed": 0});
    let frames = post(server.address, PATH, &body(fields)).frames();
    let choices: Vec<_> =
        frames.iter().flat_map(|frame| frame["choices"].as_array().unwrap()).collect();
    let roles = choices.iter().filter(|choice| choice["delta"]["role"] == "assistant").count();
    let ends = choices.iter().filter(|choice| choice["finish_reason"] == "length").count();
    assert_eq!((roles, ends), (2, 2));
}
