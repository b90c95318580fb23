//! `/tokenize`, `/detokenize`, and what a server says about itself.

use insta::assert_snapshot;
use serde_json::json;

use crate::client::{get, post, redact};
use crate::harness::TestServer;

#[test]
fn tokenize_takes_a_prompt_or_messages() {
    let server = TestServer::ready();
    let reply = post(server.address, "/tokenize", &json!({"model": "script", "prompt": "ab"}));
    assert_snapshot!(reply.body);
    let messages = json!({"messages": [{"role": "u", "content": "x"}]});
    let reply = post(server.address, "/tokenize", &messages).json();
    assert_eq!(reply["tokens"], json!([117, 58, 120, 59]));
}

#[test]
fn detokenize_gives_the_text_back() {
    let server = TestServer::ready();
    let reply = post(server.address, "/detokenize", &json!({"tokens": [97, 98]}));
    assert_eq!(reply.body, r#"{"prompt":"ab"}"#);
    let reply = post(server.address, "/detokenize", &json!({"tokens": [9999]}));
    assert_eq!(reply.status, 400);
    assert_snapshot!(reply.body);
}

#[test]
fn a_server_says_what_it_is() {
    let server = TestServer::ready();
    assert_eq!(get(server.address, "/health").body, "");
    assert_snapshot!(redact(&get(server.address, "/v1/models").body));
    let version = format!(r#"{{"version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
    assert_eq!(get(server.address, "/version").body, version);
    assert_eq!(get(server.address, "/load").body, r#"{"server_load":0}"#);
}
