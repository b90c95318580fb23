//! What a real vLLM 0.32.0 answered, request by request, against what this server answers.
//!
//! `tests/golden/vllm-0.32.0/*.http` were recorded from vLLM serving SmolLM2-135M-Instruct.
//! `tests/golden/requests.jsonl` holds more requests with the status, `type` and `param` that vLLM 0.32.0's own request
//! models, validators and error handlers gave them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::sse;
use serde_json::{Value, json};
use server::{Backend, Config};
use serving::baseline::{ContiguousPool, Counters, StaticScheduler};
use serving::{Engine, SchedulerLimits};

use crate::client::{Reply, send, send_raw};
use crate::harness::TestServer;
use crate::replay::{Replay, codec};
use crate::script::Gate;

const MODEL: &str = "smollm2-135m";
const MAX_MODEL_LEN: usize = 2048;
const BLOCK_SIZE: usize = 16;

/// Values that are ours by right: names, times, random ids, words for people. vLLM's names for what it is.
const OURS: &[&str] =
    &["id", "created", "system_fingerprint", "owned_by", "root", "version", "message"];

/// Headers that a client acts on.
const HEADERS: &[&str] = &["content-type", "allow", "vary", "transfer-encoding", "retry-after"];

fn replaying() -> TestServer {
    let gate = Arc::new(Gate::default());
    let engine_gate = Arc::clone(&gate);
    let load = move || {
        let limits = SchedulerLimits::try_new(8, 4096)?;
        let pool = ContiguousPool::new(8 * MAX_MODEL_LEN / BLOCK_SIZE, BLOCK_SIZE);
        let scheduler = Box::new(StaticScheduler::new(limits, pool));
        let engine = Engine::new(scheduler, Box::new(Replay::new(engine_gate)));
        Ok(Backend { engine, codec: codec(), max_model_len: MAX_MODEL_LEN })
    };
    let config = Config { served_model_name: MODEL.to_owned(), ..Config::default() };
    let mut server = TestServer::spawn(config, Box::new(Counters::new(MODEL)), load);
    server.gate = gate;
    server.wait_ready();
    server
}

/// A stream whose model says its next token when the last one has arrived, so that every token has its frame.
fn step_by_step(server: &TestServer, request: &[u8]) -> Reply {
    server.gate.close();
    server.gate.allow(1);
    let mut pending = send_raw(server.address, request);
    let mut seen = String::new();
    loop {
        let frame = pending.read_until("\n\n");
        seen += &frame;
        if frame.ends_with(sse::DONE) {
            server.gate.open();
            return pending.rest(&seen);
        }
        if !frame.contains("\"role\"") {
            server.gate.allow(1);
        }
    }
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A recorded exchange.
struct Exchange {
    name: String,
    request: Vec<u8>,
    reply: Reply,
}

fn exchanges() -> Vec<Exchange> {
    let mut files: Vec<PathBuf> = fs::read_dir(golden("vllm-0.32.0"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "http"))
        .collect();
    files.sort();
    files.iter().map(exchange).collect()
}

fn exchange(path: &PathBuf) -> Exchange {
    let text = fs::read_to_string(path).unwrap();
    let text = text.strip_prefix("### REQUEST\n").unwrap();
    let (request, reply) =
        text.split_once("\n\n### RESPONSE (headers verbatim; body de-chunked)\n").unwrap();
    let (headers, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    let body = body.strip_suffix('\n').unwrap_or(body).to_owned();
    Exchange {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        request: request.as_bytes().to_vec(),
        reply: Reply { status, headers: headers.to_owned(), body },
    }
}

/// The JSON of a reply, or of each of its frames, without what is ours by right.
fn content(reply: &Reply) -> Value {
    let mut content = if reply.header("content-type") == Some(sse::CONTENT_TYPE) {
        let data = sse::data(&reply.body);
        data.map(|frame| serde_json::from_str(frame).unwrap_or_else(|_| json!(frame))).collect()
    } else if reply.body.trim().is_empty() {
        Value::Null
    } else {
        reply.json()
    };
    redact(&mut content);
    content
}

fn redact(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                // An assistant's message is no message of an error, and a model's id is no random one.
                let own = OURS.contains(&name.as_str()) && !value.is_object();
                if own && !(name == "id" && value == MODEL) {
                    *value = json!(format!("<{}>", kind(value)));
                } else {
                    redact(value);
                }
            }
        }
        _ => {}
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Every place where two values differ.
fn differences(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => differences(&format!("{at}.{name}"), a, b, found),
                    (Some(a), None) => found.push(format!("{at}.{name}: {a}, vLLM has none")),
                    (None, b) => found.push(format!("{at}.{name}: none, vLLM {b:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}[{i}]"), a, b, found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{at}: {ours}, vLLM {theirs}")),
    }
}

/// A stream whose neighbouring frames of nothing but text are one: tokens that come together share a frame, in vLLM
/// too.
fn merged(frames: &Value) -> Value {
    let Value::Array(frames) = frames else { return frames.clone() };
    let mut merged: Vec<Value> = Vec::new();
    for frame in frames {
        let text = |frame: &Value| {
            let choice = &frame["choices"][0];
            let plain = frame.get("usage").is_none() && choice["finish_reason"].is_null();
            let pointer = if choice.get("text").is_some() { "/text" } else { "/delta/content" };
            let text = choice.pointer(pointer).and_then(Value::as_str).filter(|_| plain);
            text.filter(|text| !text.is_empty()).map(|text| (pointer, text.to_owned()))
        };
        match (merged.last_mut().filter(|last| text(last).is_some()), text(frame)) {
            (Some(last), Some((pointer, more))) => {
                let so_far = text(last).map(|(_, text)| text).unwrap_or_default();
                *last["choices"][0].pointer_mut(pointer).unwrap() = json!(so_far + &more);
            }
            _ => merged.push(frame.clone()),
        }
    }
    Value::Array(merged)
}

#[test]
fn recorded_requests_get_what_vllm_gave() {
    let server = replaying();
    let mut table = Vec::new();
    let exchanges = exchanges();
    assert_eq!(exchanges.len(), 42);
    for Exchange { name, request, reply: theirs } in exchanges {
        let streams = theirs.header("content-type") == Some(sse::CONTENT_TYPE);
        let ours = if streams {
            step_by_step(&server, &request)
        } else {
            send_raw(server.address, &request).reply()
        };
        let mut found = Vec::new();
        if ours.status != theirs.status {
            found.push(format!("status {}, vLLM {}: {}", ours.status, theirs.status, ours.body));
        }
        for header in HEADERS {
            if ours.header(header) != theirs.header(header) {
                let (ours, theirs) = (ours.header(header), theirs.header(header));
                found.push(format!("header {header}: {ours:?}, vLLM {theirs:?}"));
            }
        }
        let (ours, theirs) = (content(&ours), content(&theirs));
        if merged(&ours) != merged(&theirs) {
            differences("", &ours, &theirs, &mut found);
        }
        table.extend(found.into_iter().map(|difference| format!("{name}: {difference}")));
    }
    assert!(table.is_empty(), "{} differences:\n{}", table.len(), table.join("\n"));
}

/// Fields that vLLM honours and this server refuses by name, with 400.
const REFUSED: &[&str] = &[
    "add_generation_prompt",
    "bad_words",
    "chat_template_kwargs",
    "continue_final_message",
    "documents",
    "kv_transfer_params",
    "logprob_token_ids",
    "prompt_embeds",
    "repetition_detection",
    "response_format",
    "structured_outputs",
    "use_beam_search",
];

/// Requests that we see in another way than vLLM does, and why.
fn deliberate(path: &str, body: &str) -> bool {
    // A tool's part of a conversation, and parts of a message that are no text, need a template for them.
    let chat = path.ends_with("chat/completions") && body.contains("\"messages\"");
    let parts = ["\"tool_calls\":[{", "image_url", "{\"type\":\"text\"}", "[1]", "\"content\":{}"];
    // The thinking budget is checked by a part of vLLM that this server has not.
    let budget = body.contains("thinking_token_budget");
    // Python reads NaN.
    budget || body.contains("NaN") || (chat && parts.iter().any(|part| body.contains(part)))
}

#[test]
fn requests_are_judged_as_vllms_own_models_judge_them() {
    let server = replaying();
    let mut wrong = Vec::new();
    let file = fs::read_to_string(golden("requests.jsonl")).unwrap();
    for line in file.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (path, body) = (case["path"].as_str().unwrap(), case["body"].as_str().unwrap());
        let content_type = case["content_type"].as_str().unwrap_or("application/json");
        let headers = format!("Content-Type: {content_type}\r\n");
        let reply = send(server.address, "POST", path, &headers, body.as_bytes()).reply();
        let error = if reply.status == 200 { Value::Null } else { reply.json()["error"].clone() };
        let refused = error["message"].as_str().is_some_and(|m| m.contains("is not supported"));
        if refused && REFUSED.iter().any(|name| error["param"] == *name) {
            continue;
        }
        let ours = json!([reply.status, error["type"], error["param"]]);
        let theirs = json!([case["status"], case["type"], case["param"]]);
        if ours != theirs && !deliberate(path, body) {
            wrong.push(format!("{path} {body}\n    {ours}, vLLM {theirs}"));
        }
    }
    assert!(wrong.is_empty(), "{} requests:\n{}", wrong.len(), wrong.join("\n"));
}
