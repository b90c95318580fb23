//! The real model, where it is there: what vLLM 0.32 recorded with SmolLM2-135M-Instruct.
//!
//! `LAB_MODEL=PATH cargo test -p model real` says where; without it, the course's cache is looked at.

use std::path::PathBuf;

use serving::{ChatMessage, Executor, SamplingParams, SequenceId, TextCodec};

use super::steps::{chunk, difference, plan};
use crate::{LoadOptions, LoadedModel, ModelSource, WeightFormat, load};

const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// The model, or a line that says why the test did not run.
fn real_model() -> Option<LoadedModel> {
    real_model_in(WeightFormat::Auto)
}

fn real_model_in(weights: WeightFormat) -> Option<LoadedModel> {
    let cache = std::env::var_os("LLM_LAB_CACHE").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from)?;
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        Some(cache.unwrap_or_else(|| home.join(".cache")).join("llm-systems-lab"))
    });
    let path = std::env::var_os("LAB_MODEL")
        .map(PathBuf::from)
        .or_else(|| Some(cache?.join("smollm2-135m-instruct").join(FILE)))
        .filter(|path| path.is_file());
    let Some(path) = path else {
        eprintln!("SKIPPED: {FILE} is not here; `cargo xtask model pull` fetches it");
        return None;
    };
    let options = LoadOptions { weights, ..LoadOptions::default() };
    Some(load(&ModelSource::Gguf(path), &options).unwrap())
}

fn user(content: &str) -> [ChatMessage; 1] {
    [ChatMessage { role: "user".into(), content: content.into() }]
}

#[test]
fn real_text_and_messages_become_the_tokens_that_vllm_recorded() {
    let Some(model) = real_model() else { return };
    let codec: &dyn TextCodec = &*model.codec;
    assert_eq!(codec.encode("Hello world", true).unwrap(), [19556, 905]);
    assert_eq!(codec.decode(&[19556, 905], true).unwrap(), "Hello world");
    let prompt = codec.apply_chat_template(&user("Hi")).unwrap();
    let expected = [
        1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411,
        407, 19712, 8182, 2, 198, 1, 4093, 198, 26843, 2, 198, 1, 520, 9531, 198,
    ];
    assert_eq!(codec.encode(&prompt, false).unwrap(), expected);
    let prompt = codec.apply_chat_template(&user("What is the capital of France?")).unwrap();
    assert_eq!(codec.encode(&prompt, false).unwrap().len(), 37);
    assert_eq!(codec.eos_tokens(), [2]);
    assert_eq!(codec.vocab_size(), 49152);
    let mixed = "In 2026: naïve 日本語 🦀 x == 3.14159\n\n\tend";
    assert_eq!(codec.decode(&codec.encode(mixed, true).unwrap(), true).unwrap(), mixed);
}

#[test]
fn real_greedy_continuation_begins_as_vllm_recorded_it() {
    let Some(model) = real_model() else { return };
    let codec = model.codec.clone();
    let mut text = codec.encode("The capital of France is", true).unwrap();
    assert_eq!(text.len(), 5);
    let mut executor = model.into_executor(4, 16).unwrap();
    executor.register(SequenceId(0), &text, &SamplingParams::greedy());
    let mut computed = 0;
    for _ in 0..8 {
        let step = plan(vec![chunk(0, &text, computed..text.len(), &[2, 0])]);
        computed = text.len();
        text.push(executor.execute(&step).unwrap().sampled[0].token);
    }
    let answer = codec.decode(&text[5..], true).unwrap();
    // The recording is of the original weights; rounded to Q4_1 they go another way a few tokens later.
    assert!(answer.starts_with(" Paris."), "{answer:?}");
}

#[test]
fn real_weights_in_8_bits_give_nearly_the_logits_of_f32() {
    let Some(model) = real_model() else { return };
    let Some(full) = real_model_in(WeightFormat::Full) else { return };
    let text = model.codec.encode("The three laws of thermodynamics are", true).unwrap();
    let table: Vec<u32> = (0..4).collect();
    let logits = |model: LoadedModel| {
        let mut executor = model.into_executor(4, 16).unwrap();
        let step = plan(vec![chunk(0, &text, 0..text.len(), &table)]);
        executor.logits(&step).unwrap().remove(0)
    };
    let (coded, full) = (logits(model), logits(full));
    let spread = full.iter().fold(0f32, |max, logit| max.max(logit.abs()));
    let off = difference(&coded, &full);
    println!("logits of up to {spread:.1} differ by at most {off:.4}");
    assert!(off < 0.02 * spread, "off by {off} of {spread}");
}
