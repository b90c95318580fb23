//! The real model, where it is there: what vLLM 0.32 recorded with SmolLM2-135M-Instruct.
//!
//! `LAB_MODEL=PATH cargo test -p model real` says where; without it, the course's cache is looked at.

use std::path::PathBuf;

use serving::{ChatMessage, Executor, SamplingParams, SequenceId, TextCodec};

use super::steps::{chunk, plan};
use crate::accuracy::{TEXT, compare, judge};
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

/// What 8-bit activations and a cache in f16 may cost. `--example accuracy` measures it on a longer text:
/// 0.06 on average.
#[test]
fn real_packed_weights_judge_a_text_nearly_as_the_dequantised_ones() {
    let Some(packed) = real_model() else { return };
    let Some(full) = real_model_in(WeightFormat::Full) else { return };
    let mut text = packed.codec.encode(TEXT, true).unwrap();
    text.truncate(96);
    let judged =
        |model: LoadedModel| judge(&mut model.into_executor(6, 16).unwrap(), &text).unwrap();
    let found = compare(&judged(packed), &judged(full));
    println!("{found:?}");
    assert!(found.mean < 0.15 && found.max < 1.5 && found.top_1 > 0.85, "{found:?}");
    assert!(found.mean > 0.0, "two forms that agree to the bit are one form");
}
