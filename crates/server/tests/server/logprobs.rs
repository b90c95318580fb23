//! Log probabilities, echo and ids of tokens, with the scripted model: every token it says is certain.

use serde_json::{Value, json};

use crate::client::post;
use crate::harness::TestServer;

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

fn ask(server: &TestServer, path: &str, body: &Value) -> Value {
    let reply = post(server.address, path, body);
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

#[test]
fn an_echo_tells_the_prompts_tokens_before_the_answers() {
    let server = TestServer::ready();
    let body =
        json!({"prompt": "abc", "max_tokens": 2, "temperature": 0, "echo": true, "logprobs": 1});
    let choice = ask(&server, COMPLETIONS, &body)["choices"][0].clone();
    assert_eq!(choice["text"], "abcab");
    let logprobs = &choice["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["a", "b", "c", "a", "b"]));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3, 4]));
    assert_eq!(logprobs["token_logprobs"], json!([null, 0.0, 0.0, 0.0, 0.0]));
    assert_eq!(logprobs["top_logprobs"][0], Value::Null);
    assert_eq!(choice["prompt_logprobs"][1]["98"]["decoded_token"], "b");
}

#[test]
fn an_echo_without_an_answer_is_the_prompt_alone() {
    let server = TestServer::ready();
    let body = json!({"prompt": [[97, 98], [99]], "max_tokens": 0, "echo": true, "logprobs": 0});
    let told = ask(&server, COMPLETIONS, &body);
    assert_eq!(
        (&told["choices"][0]["text"], &told["choices"][1]["text"]),
        (&json!("ab"), &json!("c"))
    );
    assert_eq!(told["choices"][0]["logprobs"]["tokens"], json!(["a", "b"]));
    assert_eq!(told["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_streams_logprobs_are_those_of_the_whole_answer() {
    let server = TestServer::ready();
    let mut body = json!({"prompt": "a\u{20ac}b", "max_tokens": 6, "temperature": 0, "logprobs": 1, "echo": true});
    let whole = ask(&server, COMPLETIONS, &body)["choices"][0]["logprobs"].clone();
    body["stream"] = json!(true);
    let frames = post(server.address, COMPLETIONS, &body).frames();
    for list in ["tokens", "text_offset", "token_logprobs", "top_logprobs"] {
        let streamed: Vec<Value> = frames
            .iter()
            .flat_map(|frame| frame["choices"][0]["logprobs"][list].as_array().unwrap().clone())
            .collect();
        assert_eq!(json!(streamed), whole[list], "{list}");
    }
}

#[test]
fn a_chats_stream_carries_logprobs_and_ids() {
    let server = TestServer::ready();
    let messages = json!([{"role": "u", "content": "Hi"}]);
    let body = json!({"messages": messages, "max_tokens": 3, "temperature": 0, "logprobs": true,
        "top_logprobs": 1, "stream": true, "return_token_ids": true});
    let frames = post(server.address, CHAT, &body).frames();
    assert_eq!(frames[0]["prompt_token_ids"].as_array().unwrap().len(), 5);
    let content: Vec<Value> = frames[1..]
        .iter()
        .flat_map(|frame| frame["choices"][0]["logprobs"]["content"].as_array().unwrap().clone())
        .collect();
    assert_eq!(content.len(), 3);
    assert_eq!(content[0]["bytes"], json!([117]));
    let ids: Vec<Value> = frames[1..]
        .iter()
        .flat_map(|frame| frame["choices"][0]["token_ids"].as_array().unwrap().clone())
        .collect();
    assert_eq!(ids, [117, 58, 72]);
}

#[test]
fn an_echoed_chat_goes_on_where_the_assistant_stopped() {
    let server = TestServer::ready();
    let messages =
        json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "So "}]);
    let body = json!({"messages": messages, "max_tokens": 2, "temperature": 0, "echo": true});
    let told = ask(&server, CHAT, &body);
    assert_eq!(told["choices"][0]["message"]["content"], "So us");
}

#[test]
fn a_prompt_is_cut_where_asked() {
    let server = TestServer::ready();
    let cut = |fields: Value| {
        let mut body = json!({"prompt": "abcdef", "max_tokens": 2, "temperature": 0});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        ask(&server, COMPLETIONS, &body)["choices"][0]["text"].clone()
    };
    assert_eq!(cut(json!({"truncate_prompt_tokens": 3})), "ab");
    assert_eq!(cut(json!({"truncate_prompt_tokens": 2, "truncation_side": "left"})), "ef");
}
