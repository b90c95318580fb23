//! Everything that a client can get wrong, and what it is told.

use std::fmt::Write;

use insta::assert_snapshot;
use serde_json::{Value, json};
use server::Config;

use crate::client::{JSON, get, post, send, send_raw};
use crate::harness::{TestServer, config};

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

/// What each of these bodies gets, one a line, after its name.
fn told(server: &TestServer, path: &str, cases: &[(&str, &str)]) -> String {
    let mut told = String::new();
    for (name, body) in cases {
        let reply = send(server.address, "POST", path, JSON, body.as_bytes()).reply();
        let error = &reply.json()["error"];
        assert_eq!(error["code"], reply.status, "{name}: {}", reply.body);
        writeln!(told, "{name}: {} {}", reply.status, reply.body).unwrap();
    }
    assert_eq!(server.load(), 0);
    told
}

#[test]
fn bodies_that_are_no_request() {
    let server = TestServer::ready();
    assert_snapshot!(told(
        &server,
        COMPLETIONS,
        &[
            ("malformed", r#"{"model": "x", "#),
            ("empty body", ""),
            ("a list", "[]"),
            ("not a number", r#"{"prompt": "a", "temperature": NaN}"#),
            ("a number too large", r#"{"prompt": "a", "temperature": 1e999}"#),
            ("an integer too large", r#"{"prompt": "a", "max_tokens": 99999999999999999999}"#),
            ("two values", r#"{"prompt": "a"} {}"#),
        ]
    ));
}

#[test]
fn fields_of_the_wrong_type() {
    let server = TestServer::ready();
    assert_snapshot!(told(
        &server,
        COMPLETIONS,
        &[
            ("temperature", r#"{"prompt": "a", "temperature": "hot"}"#),
            ("max_tokens", r#"{"prompt": "a", "max_tokens": 1.5}"#),
            ("max_tokens", r#"{"prompt": "a", "max_tokens": [1]}"#),
            ("prompt", r#"{"prompt": 7}"#),
            ("prompt", r#"{"prompt": ["a", 7]}"#),
            ("prompt", r#"{"prompt": [7, "a"]}"#),
            ("stop", r#"{"prompt": "a", "stop": [1]}"#),
            ("stream", r#"{"prompt": "a", "stream": "maybe"}"#),
            ("stream_options", r#"{"prompt": "a", "stream": true, "stream_options": 1}"#),
            ("model", r#"{"prompt": "a", "model": {"a": 1}}"#),
        ]
    ));
    assert_snapshot!(told(
        &server,
        CHAT,
        &[
            (
                "messages missing",
                r#"{"model": "script", "max_tokens": 16, "temperature": 0, "seed": 0}"#
            ),
            ("messages", r#"{"messages": "Hi"}"#),
            ("a message", r#"{"messages": ["Hi"]}"#),
            ("no role", r#"{"messages": [{"content": "Hi"}]}"#),
            ("content", r#"{"messages": [{"role": "user", "content": 7}]}"#),
            ("an image", r#"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#),
        ]
    ));
}

#[test]
fn values_out_of_range() {
    let server = TestServer::ready();
    assert_snapshot!(told(
        &server,
        COMPLETIONS,
        &[
            ("max_tokens", r#"{"prompt": "a", "max_tokens": -1}"#),
            ("max_tokens", r#"{"prompt": "a", "max_tokens": 0}"#),
            ("temperature", r#"{"prompt": "a", "temperature": -0.5}"#),
            ("top_p", r#"{"prompt": "a", "top_p": 2}"#),
            ("top_p", r#"{"prompt": "a", "top_p": 0}"#),
            ("top_k", r#"{"prompt": "a", "top_k": -2}"#),
            ("n", r#"{"prompt": "a", "n": 0}"#),
            ("n", r#"{"prompt": "a", "n": 100000}"#),
            ("n greedy", r#"{"prompt": "a", "n": 2, "temperature": 0}"#),
            ("choices", r#"{"prompt": ["a", "b", "c"], "n": 100}"#),
            ("stop", r#"{"prompt": "a", "stop": [""]}"#),
            ("min_tokens", r#"{"prompt": "a", "min_tokens": 9, "max_tokens": 8}"#),
            ("stream_options", r#"{"prompt": "a", "stream_options": {"a": 1}}"#),
            ("no prompt", r"{}"),
            ("prompt null", r#"{"prompt": null}"#),
            ("prompt empty", r#"{"prompt": ""}"#),
            ("prompts empty", r#"{"prompt": []}"#),
            ("a prompt empty", r#"{"prompt": ["a", ""]}"#),
            ("vocabulary", r#"{"prompt": [97, 259]}"#),
            ("vocabulary", r#"{"prompt": [-1]}"#),
            ("context", r#"{"prompt": "abc", "max_tokens": 65}"#),
            ("no room", &format!("{{\"prompt\": \"{}\"}}", "a".repeat(64))),
            ("model", r#"{"prompt": "a", "model": "nope"}"#),
        ]
    ));
    assert_snapshot!(told(
        &server,
        CHAT,
        &[
            ("no messages", r#"{"messages": []}"#),
            ("the template", r#"{"messages": [{"role": "nobody", "content": "Hi"}]}"#),
            ("model", r#"{"messages": [{"role": "user", "content": "Hi"}], "model": "nope"}"#),
        ]
    ));
}

#[test]
fn a_prompt_longer_than_the_context() {
    let server = TestServer::ready();
    let reply = post(server.address, COMPLETIONS, &json!({"prompt": "a".repeat(500)}));
    assert_eq!(reply.status, 400);
    assert_snapshot!(reply.body);
}

#[test]
fn a_field_that_would_change_the_answer_is_refused_by_name() {
    let server = TestServer::ready();
    let fields = json!({"response_format": {"type": "json_object"}, "use_beam_search": true,
        "bad_words": ["x"], "structured_outputs": {"regex": "a"}, "prompt_embeds": "x",
        "kv_transfer_params": {"a": 1}, "repetition_detection": {"min_count": 2}});
    for (name, value) in fields.as_object().unwrap() {
        let mut body = json!({"prompt": "a", "max_tokens": 4});
        body[name] = value.clone();
        let reply = post(server.address, COMPLETIONS, &body);
        assert_eq!(reply.status, 400, "{name}: {}", reply.body);
        let error = &reply.json()["error"];
        assert!(error["param"].as_str().unwrap().contains(name.as_str()), "{error}");
        assert!(error["message"].as_str().unwrap().contains("not supported"), "{error}");
    }
}

#[test]
fn a_field_that_asks_for_nothing_or_is_unknown_is_ignored() {
    let server = TestServer::ready();
    let body = json!({"prompt": "abc", "max_tokens": 2, "temperature": 0, "logprobs": null,
        "echo": false, "best_of": 1, "suffix": null, "logit_bias": {}, "presence_penalty": 0.0,
        "response_format": {"type": "text"}, "tools": [], "user": "me", "metadata": {"a": 1},
        "never_heard_of": [1, 2], "guided_json": {"a": 1}, "n": 1, "seed": -1, "top_k": -1});
    let reply = post(server.address, COMPLETIONS, &body);
    assert_eq!((reply.status, &reply.json()["choices"][0]["text"]), (200, &json!("ab")));
}

#[test]
fn a_nesting_bomb_is_refused() {
    let server = TestServer::ready();
    let bomb = format!("{{\"prompt\": {}", "[".repeat(100_000));
    let objects = "{\"a\":".repeat(50_000);
    for body in [bomb, objects] {
        let reply = send(server.address, "POST", COMPLETIONS, JSON, body.as_bytes()).reply();
        assert_eq!(reply.status, 400);
        assert!(reply.body.contains("nested too deeply"), "{}", reply.body);
    }
}

#[test]
fn bytes_that_are_no_utf8_are_refused() {
    let server = TestServer::ready();
    let body = b"{\"prompt\": \"\xff\xfe\"}";
    let reply = send(server.address, "POST", COMPLETIONS, JSON, body).reply();
    assert_eq!(reply.status, 400);
    assert_snapshot!(reply.body);
}

#[test]
fn a_body_over_the_limit_is_refused_announced_or_not() {
    let server = TestServer::start(Config { max_body_bytes: 100, ..config() }, 1);
    let body = format!("{{\"prompt\": \"{}\"}}", "a".repeat(100));
    let reply = send(server.address, "POST", COMPLETIONS, JSON, body.as_bytes()).reply();
    assert_eq!(reply.status, 413);
    assert_snapshot!(reply.body);
    let chunked = format!(
        "POST {COMPLETIONS} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{JSON}Transfer-Encoding: chunked\r\n\
         \r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let unannounced = send_raw(server.address, chunked.as_bytes()).reply();
    assert_eq!((unannounced.status, unannounced.body), (413, reply.body));
}

#[test]
fn a_body_must_be_announced_as_json() {
    let server = TestServer::ready();
    for headers in ["", "Content-Type: text/plain\r\n"] {
        let reply = send(server.address, "POST", CHAT, headers, b"{}").reply();
        assert_eq!(reply.status, 400, "{}", reply.body);
        assert!(reply.body.contains("Only 'application/json' is allowed"), "{}", reply.body);
    }
    let with_charset = "Content-Type: Application/JSON; charset=utf-8\r\n";
    let body = br#"{"prompt": "a", "max_tokens": 1}"#;
    assert_eq!(send(server.address, "POST", COMPLETIONS, with_charset, body).reply().status, 200);
}

#[test]
fn unknown_paths_and_methods_get_fastapis_bodies() {
    let server = TestServer::ready();
    let reply = post(server.address, "/v1/nope", &Value::Null);
    assert_eq!((reply.status, reply.body.as_str()), (404, r#"{"detail":"Not Found"}"#));
    let reply = get(server.address, CHAT);
    assert_eq!((reply.status, reply.body.as_str()), (405, r#"{"detail":"Method Not Allowed"}"#));
    assert_eq!(reply.header("allow"), Some("POST"));
}
