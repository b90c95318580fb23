//! Models written to files and read back: GGUF in every type, safetensors, and files that are broken.

use std::fs::{self, File};
use std::io::Cursor;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Tensor};
use proptest::prelude::*;
use serving::TextCodec;

use super::steps::{chunk, difference, plan, table, tokens};
use crate::gguf::Header;
use crate::tiny::{self, RandomWeights};
use crate::weights::{LayerWeight, Weight, WeightSource};
use crate::{LlamaConfig, LoadOptions, LoadedModel, ModelError, ModelSource, load};

/// Wide enough for the K-quants' blocks of 256.
fn config() -> LlamaConfig {
    LlamaConfig { hidden_size: 256, intermediate_size: 256, head_dim: 64, ..tiny::config() }
}

fn all_weights(config: &LlamaConfig) -> Vec<Weight> {
    const EACH: [LayerWeight; 9] = [
        LayerWeight::AttentionNorm,
        LayerWeight::Query,
        LayerWeight::Key,
        LayerWeight::Value,
        LayerWeight::AttentionOutput,
        LayerWeight::FeedForwardNorm,
        LayerWeight::Gate,
        LayerWeight::Up,
        LayerWeight::Down,
    ];
    let mut all = vec![Weight::Embedding, Weight::OutputNorm, Weight::Output];
    for layer in 0..config.num_layers {
        all.extend(EACH.map(|weight| Weight::Layer(layer, weight)));
    }
    all
}

/// From Hugging Face's order of rows to GGUF's, as `convert_hf_to_gguf.py` does it.
fn permute(weight: &Tensor, heads: usize) -> Tensor {
    let (out, width) = weight.dims2().unwrap();
    let halves = weight.reshape((heads, 2, out / heads / 2, width)).unwrap();
    halves.transpose(1, 2).unwrap().contiguous().unwrap().reshape((out, width)).unwrap()
}

type Metadata = Vec<(&'static str, Value)>;

fn metadata(config: &LlamaConfig) -> Metadata {
    let count = |value: usize| Value::U32(value as u32);
    let texts = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
    let specials = tiny::SPECIAL_TOKENS.len();
    let vocabulary: Vec<String> = (0..config.vocab_size)
        .map(|id| match tiny::SPECIAL_TOKENS.get(id) {
            Some(token) => (*token).to_owned(),
            None => crate::codec::byte_char((id - specials) as u8).to_string(),
        })
        .collect();
    let kinds = (0..config.vocab_size).map(|id| Value::I32(if id < specials { 3 } else { 1 }));
    vec![
        ("general.architecture", Value::String("llama".into())),
        ("general.name", Value::String("Random".into())),
        ("llama.block_count", count(config.num_layers)),
        ("llama.context_length", count(config.max_position)),
        ("llama.embedding_length", count(config.hidden_size)),
        ("llama.feed_forward_length", count(config.intermediate_size)),
        ("llama.attention.head_count", count(config.num_heads)),
        ("llama.attention.head_count_kv", count(config.num_kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps)),
        ("llama.rope.freq_base", Value::F32(config.rope_theta)),
        ("tokenizer.ggml.model", Value::String("gpt2".into())),
        ("tokenizer.ggml.pre", Value::String("smollm".into())),
        ("tokenizer.ggml.tokens", texts(vocabulary)),
        ("tokenizer.ggml.token_type", Value::Array(kinds.collect())),
        ("tokenizer.ggml.merges", texts(vec!["h e".into(), "Ġ t".into()])),
        ("tokenizer.ggml.bos_token_id", count(1)),
        ("tokenizer.ggml.eos_token_id", count(2)),
        ("tokenizer.chat_template", Value::String(tiny::CHAT_TEMPLATE.into())),
    ]
}

/// The random model as a GGUF file. The vocabulary has two entries of its own for the merges.
fn gguf(dtype: GgmlDType, edit: impl FnOnce(&mut Metadata)) -> Vec<u8> {
    let config = config();
    let mut source = RandomWeights { seed: 3 };
    let tensors: Vec<(String, QTensor)> = all_weights(&config)
        .into_iter()
        .map(|weight| {
            let tensor = source.load(weight, &config).unwrap();
            let tensor = match weight {
                Weight::Layer(_, LayerWeight::Query) => permute(&tensor, config.num_heads),
                Weight::Layer(_, LayerWeight::Key) => permute(&tensor, config.num_kv_heads),
                _ => tensor,
            };
            let dtype = if tensor.rank() == 1 { GgmlDType::F32 } else { dtype };
            (weight.gguf_name(), QTensor::quantize(&tensor, dtype).unwrap())
        })
        .collect();
    let mut metadata = metadata(&config);
    for (key, value) in &mut metadata {
        if let ("tokenizer.ggml.tokens", Value::Array(tokens)) = (*key, value) {
            // Two bytes give way to the results of the merges.
            tokens[4] = Value::String("he".into());
            tokens[5] = Value::String("Ġt".into());
        }
    }
    edit(&mut metadata);
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
    file.into_inner()
}

fn load_bytes(folder: &Path, bytes: &[u8]) -> Result<LoadedModel, ModelError> {
    let path = folder.join("model.gguf");
    fs::write(&path, bytes).unwrap();
    load(&ModelSource::Gguf(path), &LoadOptions::default())
}

fn logits(model: LoadedModel) -> Vec<f32> {
    let prompt = tokens(5, 12);
    let mut executor = model.into_executor(8, super::steps::BLOCK_SIZE).unwrap();
    executor.logits(&plan(vec![chunk(0, &prompt, 0..12, &table(0, 12))])).unwrap().remove(0)
}

fn expected_logits() -> Vec<f32> {
    let reference = super::reference::Reference::new(&config(), &mut RandomWeights { seed: 3 });
    reference.logits(&tokens(5, 12)).pop().unwrap()
}

#[test]
fn packed_weights_give_the_same_bits_however_a_text_is_cut_and_in_company() {
    const LEN: usize = 75;
    let folder = tempfile::tempdir().unwrap();
    let bytes = gguf(GgmlDType::Q4_1, |_| {});
    let executor = || load_bytes(folder.path(), &bytes).unwrap().into_executor(64, 5).unwrap();
    let (text, other) = (tokens(6, LEN), tokens(7, LEN));
    let (blocks, others): (Vec<u32>, Vec<u32>) = ((0..15).rev().collect(), (20..40).collect());
    // Many rows are cut into groups, few are spread over the threads.
    let expected = executor().logits(&plan(vec![chunk(0, &text, 0..LEN, &blocks)])).unwrap();
    let mut executor = executor();
    for (from, to) in [(0, 1), (1, 9), (9, 60), (60, LEN - 1)] {
        let company = chunk(1, &other, 0..LEN - from, &others);
        executor.logits(&plan(vec![company, chunk(0, &text, from..to, &blocks)])).unwrap();
    }
    let last = executor.logits(&plan(vec![chunk(0, &text, LEN - 1..LEN, &blocks)])).unwrap();
    assert_eq!(last, expected);
}

#[test]
fn every_type_of_gguf_weights_gives_nearly_the_original_logits() {
    let folder = tempfile::tempdir().unwrap();
    let expected = expected_logits();
    let spread = expected.iter().fold(0f32, |max, logit| max.max(logit.abs()));
    for (dtype, tolerance) in [
        (GgmlDType::F32, 1e-4),
        (GgmlDType::F16, 0.01),
        (GgmlDType::BF16, 0.05),
        (GgmlDType::Q8_0, 0.05),
        (GgmlDType::Q6K, 0.2),
        (GgmlDType::Q4K, 0.6),
        (GgmlDType::Q4_1, 0.6),
        (GgmlDType::Q4_0, 0.8),
    ] {
        let model = load_bytes(folder.path(), &gguf(dtype, |_| {})).unwrap();
        let off = difference(&logits(model), &expected) / spread;
        assert!(off < tolerance, "{dtype:?}: logits off by {off} of their spread");
    }
}

#[test]
fn a_gguf_files_tokenizer_merges_and_keeps_digits_apart() {
    let folder = tempfile::tempdir().unwrap();
    let model = load_bytes(folder.path(), &gguf(GgmlDType::F32, |_| {})).unwrap();
    assert_eq!(model.name, "Random");
    let codec: &dyn TextCodec = &*model.codec;
    let byte = |byte: u8| 3 + u32::from(byte);
    let ids = codec.encode("he the<|im_end|>12", true).unwrap();
    assert_eq!(ids, [4, 5, 4, 2, byte(b'1'), byte(b'2')]);
    assert_eq!(codec.decode(&ids, true).unwrap(), "he the12");
    assert_eq!(codec.eos_tokens(), [2]);
    let with_bos = gguf(GgmlDType::F32, |metadata| {
        metadata.push(("tokenizer.ggml.add_bos_token", Value::Bool(true)));
    });
    let model = load_bytes(folder.path(), &with_bos).unwrap();
    assert_eq!(model.codec.encode("he", true).unwrap(), [1, 4]);
    assert_eq!(model.codec.encode("he", false).unwrap(), [4]);
}

#[test]
fn a_file_that_is_no_llama_says_what_it_is_instead() {
    let folder = tempfile::tempdir().unwrap();
    let broken = |edit: &dyn Fn(&mut Metadata)| {
        load_bytes(folder.path(), &gguf(GgmlDType::F32, edit)).unwrap_err()
    };
    let set = |key: &'static str, value: Value| {
        broken(&move |metadata| {
            metadata.retain(|(name, _)| *name != key);
            metadata.push((key, value.clone()));
        })
    };
    let without =
        |key: &'static str| broken(&move |metadata| metadata.retain(|(name, _)| *name != key));
    let error = set("general.architecture", Value::String("qwen3".into()));
    assert!(matches!(error, ModelError::UnsupportedArchitecture(_)), "{error}");
    let error = without("llama.context_length");
    assert!(matches!(error, ModelError::MissingMetadata(_)), "{error}");
    let error = without("tokenizer.ggml.merges");
    assert!(matches!(error, ModelError::MissingMetadata(_)), "{error}");
    let error = set("llama.embedding_length", Value::U32(128));
    assert!(matches!(error, ModelError::Shape { .. }), "{error}");
    let error = set("llama.attention.head_count_kv", Value::U32(3));
    assert!(matches!(error, ModelError::InvalidMetadata { .. }), "{error}");
    let error = set("llama.block_count", Value::U32(3));
    assert!(matches!(error, ModelError::MissingTensor(_)), "{error}");
    let error = set("llama.block_count", Value::String("two".into()));
    assert!(error.to_string().contains("llama.block_count"), "{error}");
    let error = set("tokenizer.ggml.model", Value::String("llama".into()));
    assert!(matches!(error, ModelError::Tokenizer(_)), "{error}");
    let error = set("tokenizer.chat_template", Value::String("{% if %}".into()));
    assert!(matches!(error, ModelError::Template(_)), "{error}");
    let error = set("general.alignment", Value::U32(0));
    assert!(matches!(error, ModelError::InvalidMetadata { .. }), "{error}");
}

#[test]
fn a_missing_file_and_an_unsupported_type_are_named() {
    let missing = ModelSource::Gguf("/no/such/model.gguf".into());
    let error = load(&missing, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("/no/such/model.gguf does not exist"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let error = load_bytes(folder.path(), &gguf(GgmlDType::Q5_0, |_| {})).unwrap_err();
    assert!(matches!(error, ModelError::UnsupportedQuantisation { .. }), "{error}");
    let error = load_bytes(folder.path(), b"<html>not found</html>").unwrap_err();
    assert!(error.to_string().contains("does not begin with GGUF"), "{error}");
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = gguf(GgmlDType::Q8_0, |_| {});
    let path = folder.path().join("model.gguf");
    let read = |bytes: &[u8]| Header::read(&path, Cursor::new(bytes));
    assert!(read(&bytes).is_ok());
    let header_end = bytes.len() - 600_000.min(bytes.len());
    for len in (0..header_end).step_by(97).chain([bytes.len() - 64]) {
        let error = read(&bytes[..len]).unwrap_err();
        assert!(matches!(error, ModelError::Corrupt { .. }), "cut at {len}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn flipped_bytes_in_a_header_never_panic(
        flips in prop::collection::vec((0usize..12_000, any::<u8>()), 1..6),
    ) {
        thread_local! {
            static BYTES: Vec<u8> = gguf(GgmlDType::Q8_0, |_| {});
        }
        BYTES.with(|bytes| {
            let mut bytes = bytes.clone();
            for (at, value) in flips {
                bytes[at] = value;
            }
            if let Ok(header) = Header::read(Path::new("x"), Cursor::new(&bytes))
                && let Ok(config) = crate::gguf::config(&header)
            {
                let _ = crate::gguf::codec(&header, &config);
            }
        });
    }
}

/// The random model as a Hugging Face folder, its weights in one type.
fn write_folder(folder: &Path, dtype: DType) {
    let config = config();
    let mut source = RandomWeights { seed: 3 };
    let tensors = all_weights(&config)
        .into_iter()
        .map(|weight| {
            let tensor = source.load(weight, &config).unwrap().to_dtype(dtype).unwrap();
            (weight.hugging_face_name(), tensor)
        })
        .collect();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    let file = serde_json::json!({
        "model_type": "llama", "hidden_size": config.hidden_size, "hidden_act": "silu",
        "intermediate_size": config.intermediate_size, "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads, "num_key_value_heads": config.num_kv_heads,
        "vocab_size": config.vocab_size, "max_position_embeddings": config.max_position,
        "rms_norm_eps": config.rms_norm_eps, "rope_theta": config.rope_theta,
        "rope_scaling": null, "tie_word_embeddings": false, "eos_token_id": 2,
    });
    fs::write(folder.join("config.json"), file.to_string()).unwrap();
    let tokenizer = crate::codec::Codec::tiny().unwrap();
    tokenizer.save(&folder.join("tokenizer.json"));
    let file = serde_json::json!({
        "bos_token": "<|im_start|>", "eos_token": {"content": "<|endoftext|>", "special": true},
        "chat_template": [{"name": "default", "template": tiny::CHAT_TEMPLATE}],
    });
    fs::write(folder.join("tokenizer_config.json"), file.to_string()).unwrap();
}

#[test]
fn a_hugging_face_folder_gives_nearly_the_original_logits() {
    let expected = expected_logits();
    for (dtype, tolerance) in [(DType::F32, 1e-3), (DType::F16, 0.05), (DType::BF16, 0.3)] {
        let folder = tempfile::tempdir().unwrap();
        write_folder(folder.path(), dtype);
        let source: ModelSource = folder.path().to_str().unwrap().parse().unwrap();
        let model = load(&source, &LoadOptions::default()).unwrap();
        assert_eq!(model.codec.eos_tokens(), [0, 2]);
        let user = serving::ChatMessage { role: "user".into(), content: "Hi".into() };
        let prompt = model.codec.apply_chat_template(&[user]).unwrap();
        assert_eq!(prompt, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
        assert_eq!(model.codec.encode("Hi", true).unwrap(), [75, 108]);
        let off = difference(&logits(model), &expected);
        assert!(off < tolerance, "{dtype:?}: logits off by {off}");
    }
}

#[test]
fn a_folder_that_lacks_or_breaks_a_file_names_it() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), DType::F32);
    let source = ModelSource::HuggingFaceDir(folder.path().into());
    let load = || load(&source, &LoadOptions::default()).unwrap_err().to_string();
    let weights = folder.path().join("model.safetensors");
    File::options().write(true).open(&weights).unwrap().set_len(100_000).unwrap();
    assert!(load().contains("model.safetensors is corrupt"), "{}", load());
    fs::remove_file(&weights).unwrap();
    assert!(load().contains("model.safetensors does not exist"), "{}", load());
    fs::write(folder.path().join("config.json"), "{\"model_type\": ").unwrap();
    assert!(load().contains("config.json is corrupt"), "{}", load());
    fs::write(folder.path().join("config.json"), "{\"model_type\": \"bert\"}").unwrap();
    assert!(load().contains("config.json"), "{}", load());
    fs::remove_file(folder.path().join("config.json")).unwrap();
    assert!(load().contains("config.json does not exist"), "{}", load());
}
