//! Lists of models that real servers answered with, and lists made from their sources.

use backends::{Kind, Model, detect_models, read_max_context, read_models};

const VLLM: &str = include_str!("../../server/tests/golden/vllm-0.32.0/models.http");
const ENGINE: &[u8] = include_bytes!("recorded/engine-0.1.0-models.json");
const LLAMA_CPP: &[u8] = include_bytes!("recorded/llama.cpp-b11549-models.json");
const LLAMA_CPP_PROPS: &[u8] = include_bytes!("recorded/llama.cpp-b11549-props.json");

/// The body of the recorded exchange: its last line.
fn vllm() -> &'static [u8] {
    VLLM.lines().last().unwrap_or_default().as_bytes()
}

fn model(id: &str, max_context: Option<u32>) -> Model {
    Model { id: id.to_owned(), max_context, adapter_of: None }
}

#[test]
fn recorded_lists_say_who_answers_and_how_long_a_context_may_be() {
    for (kind, body, id, context) in [
        (Kind::Vllm, vllm(), "smollm2-135m", 2048),
        (Kind::Engine, ENGINE, "llama-3.1-8b", 32_768),
        (Kind::LlamaCpp, LLAMA_CPP, "smollm2-135m", 2048),
    ] {
        assert_eq!(detect_models(body), Some(kind));
        assert_eq!(read_models(kind, body).unwrap(), [model(id, Some(context))]);
    }
}

#[test]
fn what_llama_cpps_model_was_trained_for_is_not_what_its_slots_hold() {
    assert!(str::from_utf8(LLAMA_CPP).unwrap().contains("\"n_ctx_train\":8192"));
    assert_eq!(read_max_context(Kind::LlamaCpp, LLAMA_CPP_PROPS).unwrap(), Some(2048));
}

#[test]
fn lists_made_from_sources_say_who_answers() {
    let card = |id: &str, owner: &str| {
        format!(r#"{{"object":"list","data":[{{"id":"{id}","owned_by":"{owner}"}}]}}"#)
    };
    for (owner, kind) in [
        ("sglang", Kind::Sglang),
        ("tensorrt_llm", Kind::TensorRtLlm),
        ("deepspeed-mii", Kind::DeepSpeedMii),
        ("meta/llama", Kind::Tgi),
    ] {
        let body = card("meta/llama", owner);
        assert_eq!(detect_models(body.as_bytes()), Some(kind), "{owner}");
        assert_eq!(read_models(kind, body.as_bytes()).unwrap(), [model("meta/llama", None)]);
    }
    assert_eq!(detect_models(card("gpt-5", "openai").as_bytes()), None);
    assert_eq!(detect_models(b"{}"), None);
    let info = br#"{"model_id":"m","max_input_tokens":4095,"max_total_tokens":4096}"#;
    assert_eq!(read_max_context(Kind::Tgi, info).unwrap(), Some(4096));
}

#[test]
fn an_adapter_names_its_model() {
    let body = br#"{"data":[{"id":"base","max_model_len":4096},{"id":"sql","parent":"base","max_model_len":null}]}"#;
    let models = read_models(Kind::Sglang, body).unwrap();
    assert_eq!(models[1].adapter_of.as_deref(), Some("base"));
}

#[test]
fn an_answer_that_is_no_list_is_told_with_its_path() {
    let error = read_models(Kind::Vllm, b"<html>").unwrap_err().to_string();
    assert!(error.starts_with("vllm: /v1/models does not answer as expected"), "{error}");
}
