//! `/v1/completions`, with the scripted model.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::client::{JSON, post, redact, send, send_json};
use crate::harness::TestServer;
use crate::script::EOS;

const PATH: &str = "/v1/completions";

/// The text of each choice.
fn texts(reply: &Value) -> Vec<&str> {
    reply["choices"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap()).collect()
}

/// A request with these fields and greedy sampling.
fn ask(server: &TestServer, fields: Value) -> Value {
    let mut body = json!({"model": "script", "temperature": 0});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let reply = post(server.address, PATH, &body);
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

#[test]
fn a_completion_has_vllms_shape() {
    let server = TestServer::ready();
    let reply = post(
        server.address,
        PATH,
        &json!({"model": "script", "prompt": "abcdef", "max_tokens": 4, "temperature": 0}),
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_snapshot!(redact(&reply.body));
}

#[test]
fn a_prompt_may_be_text_texts_tokens_or_lists_of_tokens() {
    let server = TestServer::ready();
    let of = |prompt: Value| ask(&server, json!({"prompt": prompt, "max_tokens": 2}));
    assert_eq!(texts(&of(json!("abc"))), ["ab"]);
    assert_eq!(texts(&of(json!(["abc"]))), ["ab"]);
    assert_eq!(texts(&of(json!(["abc", "xyz"]))), ["ab", "xy"]);
    assert_eq!(texts(&of(json!([104, 105]))), ["hi"]);
    assert_eq!(texts(&of(json!([[104, 105], [111, 107]]))), ["hi", "ok"]);
    let both = of(json!(["abc", "vwxyz"]));
    let usage = json!([8, 12, 4]);
    let seen = &both["usage"];
    assert_eq!(
        json!([seen["prompt_tokens"], seen["total_tokens"], seen["completion_tokens"]]),
        usage
    );
}

#[test]
fn max_tokens_is_16_where_the_request_has_none() {
    let server = TestServer::ready();
    let reply = ask(&server, json!({"prompt": "abcd"}));
    assert_eq!(texts(&reply), ["abcd".repeat(4)]);
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
}

#[test]
fn max_tokens_shrinks_to_the_context_only_where_the_request_has_none() {
    let server = TestServer::ready();
    let reply = ask(&server, json!({"prompt": "a".repeat(60)}));
    assert_eq!(texts(&reply), ["aaaa"]);
}

#[test]
fn the_choices_of_a_seeded_request_differ_and_repeat() {
    let server = TestServer::ready();
    let fields = json!({"prompt": "abcdef", "max_tokens": 3, "n": 3, "seed": 1, "temperature": 1});
    let first = ask(&server, fields.clone());
    assert_eq!(texts(&first), ["bcd", "cde", "def"]);
    assert_eq!(texts(&ask(&server, fields)), texts(&first));
    assert_eq!(first["usage"]["prompt_tokens"], 6);
    assert_eq!(first["usage"]["completion_tokens"], 9);
}

#[test]
fn prompts_times_n_makes_choices_in_order() {
    let server = TestServer::ready();
    let fields =
        json!({"prompt": ["abc", "xyz"], "max_tokens": 1, "n": 2, "seed": 0, "temperature": 1});
    let reply = ask(&server, fields);
    assert_eq!(texts(&reply), ["a", "b", "x", "y"]);
    let indices: Vec<_> =
        reply["choices"].as_array().unwrap().iter().map(|c| c["index"].clone()).collect();
    assert_eq!(indices, [0, 1, 2, 3]);
}

#[test]
fn a_stop_string_ends_the_answer_and_is_not_part_of_it() {
    let server = TestServer::ready();
    let ends = |fields: Value| {
        let reply = ask(&server, fields);
        let choice = &reply["choices"][0];
        json!([choice["text"], choice["finish_reason"], choice["stop_reason"]])
    };
    let prompt = "one two. three";
    assert_eq!(ends(json!({"prompt": prompt, "stop": "."})), json!(["one two", "stop", "."]));
    assert_eq!(
        ends(json!({"prompt": prompt, "stop": ["!", "two."]})),
        json!(["one ", "stop", "two."])
    );
    let kept = json!({"prompt": prompt, "stop": "two", "include_stop_str_in_output": true});
    assert_eq!(ends(kept), json!(["one two", "stop", "two"]));
    let by_token = json!({"prompt": prompt, "stop_token_ids": [u32::from(b'.')]});
    assert_eq!(ends(by_token), json!(["one two", "stop", 46]));
    let late = json!({"prompt": prompt, "stop": "one", "max_tokens": 20, "min_tokens": 5,
        "ignore_eos": true});
    assert_eq!(ends(late), json!(["one two. three", "stop", "one"]));
    let held = json!({"prompt": "abc<", "stop": "<|end|>", "max_tokens": 4});
    assert_eq!(ends(held), json!(["abc<", "length", null]));
}

#[test]
fn an_end_of_text_ends_the_answer_unless_it_is_ignored() {
    let server = TestServer::ready();
    let prompt = json!([u32::from(b'a'), u32::from(b'b'), EOS, u32::from(b'c')]);
    let reply = ask(&server, json!({"prompt": prompt, "max_tokens": 4}));
    let choice = &reply["choices"][0];
    assert_eq!(choice["text"], "ab");
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &Value::Null));
    assert_eq!(reply["usage"]["completion_tokens"], 3);
    let reply = ask(&server, json!({"prompt": prompt, "max_tokens": 4, "ignore_eos": true}));
    assert_eq!(texts(&reply), ["abc"]);
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_stream_has_vllms_frames_and_whole_characters() {
    let server = TestServer::ready();
    server.gate.close();
    let body = json!({"model": "script", "prompt": "hé. x", "max_tokens": 9, "temperature": 0,
        "stop": ".", "stream": true});
    let mut pending = send_json(server.address, PATH, &body);
    let mut transcript = String::new();
    for end in ["}]}\n\n", "}]}\n\n", "}]}\n\n", "[DONE]\n\n"] {
        server.gate.allow(1);
        transcript += &pending.read_until(end);
    }
    assert!(transcript.contains("content-type: text/event-stream; charset=utf-8\r\n"));
    assert!(transcript.contains("transfer-encoding: chunked\r\n"));
    let frames = transcript.lines().filter(|line| line.starts_with("data: "));
    assert_snapshot!(redact(&frames.collect::<Vec<_>>().join("\n")));
}

/// The text of a stream's frames, all choices in one.
fn joined(frames: &[Value]) -> String {
    let choices = frames.iter().flat_map(|frame| frame["choices"].as_array().unwrap());
    choices.map(|choice| choice["text"].as_str().unwrap()).collect()
}

#[test]
fn a_stream_ends_with_its_usage_where_asked() {
    let server = TestServer::ready();
    let body = json!({"prompt": "abc", "max_tokens": 2, "temperature": 0, "stream": true,
        "stream_options": {"include_usage": true}});
    let reply = post(server.address, PATH, &body);
    let frames = reply.frames();
    assert_eq!(joined(&frames), "ab");
    let usage = redact(&frames.last().unwrap().to_string());
    assert!(frames.iter().rev().skip(1).all(|frame| frame.get("system_fingerprint").is_none()));
    assert_snapshot!(usage);
}

#[test]
fn a_stream_of_several_choices_carries_each_whole() {
    let server = TestServer::ready();
    let body = json!({"prompt": ["abcdef", "uvwxyz"], "max_tokens": 5, "n": 2, "seed": 0,
        "stream": true});
    let frames = post(server.address, PATH, &body).frames();
    let mut texts = vec![String::new(); 4];
    let mut finished = vec![0; 4];
    for choice in frames.iter().flat_map(|frame| frame["choices"].as_array().unwrap()) {
        let index = choice["index"].as_u64().unwrap() as usize;
        texts[index] += choice["text"].as_str().unwrap();
        finished[index] += usize::from(choice["finish_reason"] == "length");
    }
    assert_eq!(texts, ["abcde", "bcdef", "uvwxy", "vwxyz"]);
    assert_eq!(finished, [1; 4]);
}

#[test]
fn a_stream_gives_each_token_as_it_comes() {
    let server = TestServer::ready();
    server.gate.close();
    let body = json!({"prompt": "abc", "max_tokens": 3, "temperature": 0, "stream": true});
    let mut pending = send_json(server.address, PATH, &body);
    for token in ["a", "b"] {
        server.gate.allow(1);
        assert!(pending.read_until("}]}\n\n").contains(&format!("\"text\":\"{token}\"")));
    }
    server.gate.allow(1);
    let rest = pending.read_until("data: [DONE]\n\n");
    assert!(rest.contains("\"text\":\"c\"") && rest.contains("\"length\""), "{rest}");
}

#[test]
fn a_clients_own_request_id_is_taken_over() {
    let server = TestServer::ready();
    let headers = format!("{JSON}X-Request-Id: my-req-42\r\n");
    let reply = send(server.address, "POST", PATH, &headers, br#"{"prompt":"a","max_tokens":1}"#);
    assert_eq!(reply.reply().json()["id"], "cmpl-my-req-42");
}
