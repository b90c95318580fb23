//! The tiny real model behind the server: tokenizer, template, sampling and cache together.

use model::{LoadOptions, ModelSource};
use serde_json::{Value, json};
use server::Backend;
use serving::baseline::{ContiguousPool, Counters, StaticScheduler};
use serving::{Engine, SchedulerLimits};

use crate::client::post;
use crate::harness::{TestServer, config};

const BLOCK_SIZE: usize = 16;
const MAX_MODEL_LEN: usize = 256;

fn tiny() -> TestServer {
    let load = || {
        let options = LoadOptions { max_model_len: Some(MAX_MODEL_LEN), ..LoadOptions::default() };
        let model = model::load(&ModelSource::Tiny { seed: 7 }, &options)?;
        let (codec, max_model_len) = (model.codec.clone(), model.max_model_len);
        let blocks = 4 * serving::blocks_for(max_model_len, BLOCK_SIZE);
        let pool = ContiguousPool::new(blocks, BLOCK_SIZE);
        let scheduler = Box::new(StaticScheduler::new(SchedulerLimits::try_new(4, 64)?, pool));
        let executor = Box::new(model.into_executor(blocks, BLOCK_SIZE)?);
        Ok(Backend { engine: Engine::new(scheduler, executor), codec, max_model_len })
    };
    let server = TestServer::spawn(config(), Box::new(Counters::new("script")), load);
    server.wait_ready();
    server
}

fn text(reply: &Value, index: usize) -> String {
    reply["choices"][index]["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_stream_says_what_a_whole_answer_says() {
    let server = tiny();
    let mut body = json!({"prompt": "The sky is", "max_tokens": 48, "temperature": 0,
        "ignore_eos": true});
    let whole = text(&post(server.address, "/v1/completions", &body).json(), 0);
    assert!(!whole.is_empty());
    body["stream"] = json!(true);
    let frames = post(server.address, "/v1/completions", &body).frames();
    let streamed: String = frames.iter().map(|frame| text(frame, 0)).collect();
    assert_eq!(streamed, whole);
}

#[test]
fn a_batch_says_what_each_prompt_says_alone() {
    let server = tiny();
    let ask = |prompt: Value| {
        let body =
            json!({"prompt": prompt, "max_tokens": 16, "temperature": 0, "ignore_eos": true});
        post(server.address, "/v1/completions", &body).json()
    };
    let both = ask(json!(["one", "two two"]));
    assert_eq!(text(&both, 0), text(&ask(json!("one")), 0));
    assert_eq!(text(&both, 1), text(&ask(json!("two two")), 0));
}

#[test]
fn a_seed_repeats_an_answer_and_another_changes_it() {
    let server = tiny();
    let ask = |seed: u64| {
        let body = json!({"prompt": "one", "max_tokens": 24, "seed": seed, "ignore_eos": true,
            "top_p": 0.9, "top_k": 50});
        text(&post(server.address, "/v1/completions", &body).json(), 0)
    };
    assert_eq!(ask(1), ask(1));
    assert_ne!(ask(1), ask(2));
}

#[test]
fn a_chat_goes_through_the_models_template() {
    let server = tiny();
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let tokens = post(server.address, "/tokenize", &json!({"messages": messages})).json();
    let prompt = post(server.address, "/detokenize", &json!({"tokens": tokens["tokens"]})).json();
    assert_eq!(prompt["prompt"], "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    let body = json!({"messages": messages, "max_tokens": 8, "temperature": 0});
    let reply = post(server.address, "/v1/chat/completions", &body).json();
    assert_eq!(reply["usage"]["prompt_tokens"], tokens["count"]);
}

#[test]
fn an_answer_fills_the_context_to_the_last_token() {
    let server = tiny();
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "ignore_eos": true});
    let reply = post(server.address, "/v1/chat/completions", &body).json();
    assert_eq!(reply["usage"]["total_tokens"], MAX_MODEL_LEN);
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
}
