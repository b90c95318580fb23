//! The tokenizer and the chat template that a GGUF file carries.

use serving::TokenId;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::{Header, Value};
use crate::codec::Codec;
use crate::template::ChatTemplate;
use crate::{LlamaConfig, ModelError};

/// Llama 3's words, from its `tokenizer.json`.
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// ggml's token types (`llama_token_type`).
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Tokenizer, chat template and end-of-text tokens.
pub(crate) fn codec(header: &Header, config: &LlamaConfig) -> Result<Codec, ModelError> {
    let tokens = header.texts("tokenizer.ggml.tokens")?;
    let tokenizer = tokenizer(header, tokens)?;
    let token = |key: &str| -> Result<Option<(TokenId, &str)>, ModelError> {
        let Some(id) = header.optional_count(key)? else { return Ok(None) };
        let text = tokens.get(id).ok_or_else(|| ModelError::InvalidMetadata {
            key: key.to_owned(),
            value: id.to_string(),
            reason: format!("the vocabulary has {} tokens", tokens.len()),
        })?;
        Ok(Some((id as TokenId, text)))
    };
    let bos = token("tokenizer.ggml.bos_token_id")?;
    let eos = token("tokenizer.ggml.eos_token_id")?;
    let end_of_turn = token("tokenizer.ggml.eot_token_id")?;
    let template = match header.optional_text("tokenizer.chat_template")? {
        Some(source) => {
            let text =
                |token: Option<(TokenId, &'_ str)>| token.map_or("", |(_, text)| text).to_owned();
            Some(ChatTemplate::new(source, &text(bos), &text(eos))?)
        }
        None => None,
    };
    let mut ends: Vec<TokenId> =
        [eos, end_of_turn].into_iter().flatten().map(|(id, _)| id).collect();
    ends.dedup();
    Ok(Codec::new(tokenizer, template, ends, config.vocab_size))
}

fn tokenizer(header: &Header, tokens: &[String]) -> Result<Tokenizer, ModelError> {
    let failed = |error: tokenizers::Error| ModelError::Tokenizer(error.to_string());
    let kind = header.text("tokenizer.ggml.model")?;
    if kind != "gpt2" {
        let message = format!("GGUF tokenizers of the kind {kind:?} are not supported, only gpt2");
        return Err(ModelError::Tokenizer(message));
    }
    let words = header.optional_text("tokenizer.ggml.pre")?.unwrap_or("default");
    let vocab: Vocab = tokens.iter().cloned().zip(0u32..).collect();
    let merges = header
        .texts("tokenizer.ggml.merges")?
        .iter()
        .map(|merge| match merge.split_once(' ') {
            Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
            None => Err(ModelError::Tokenizer(format!("the merge {merge:?} is no pair"))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(words == "llama-bpe")
        .build()
        .map_err(failed)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer(words)?));
    tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
    if let Some(Value::Integers(types)) = header.get("tokenizer.ggml.token_type") {
        let added = tokens.iter().zip(types).filter_map(|(token, kind)| match *kind {
            CONTROL => Some(AddedToken::from(token.as_str(), true)),
            USER_DEFINED => Some(AddedToken::from(token.as_str(), false)),
            _ => None,
        });
        tokenizer.add_tokens(added).map_err(failed)?;
    }
    if header.optional_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(false) {
        let id = header.count("tokenizer.ggml.bos_token_id")?;
        let bos = tokens.get(id).ok_or_else(|| {
            ModelError::Tokenizer(format!("its first token {id} is outside the vocabulary"))
        })?;
        let processor = TemplateProcessing::builder()
            .try_single(vec![bos.clone(), "$0".to_owned()])
            .map_err(ModelError::Tokenizer)?
            .special_tokens(vec![(bos.clone(), id as u32)])
            .build()
            .map_err(|error| ModelError::Tokenizer(error.to_string()))?;
        tokenizer.with_post_processor(Some(processor));
    }
    Ok(tokenizer)
}

/// How text is split into words before merging, by llama.cpp's name for it.
fn pre_tokenizer(name: &str) -> Result<PreTokenizerWrapper, ModelError> {
    let gpt2_words = ByteLevel::new(false, true, true);
    let bytes_only = ByteLevel::new(false, true, false);
    Ok(match name {
        "default" | "gpt-2" | "gpt2" => gpt2_words.into(),
        "smollm" | "starcoder" | "refact" => {
            Sequence::new(vec![Digits::new(true).into(), gpt2_words.into()]).into()
        }
        "llama-bpe" | "llama3" => {
            let pattern = SplitPattern::Regex(LLAMA3_WORDS.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| ModelError::Tokenizer(error.to_string()))?;
            Sequence::new(vec![split.into(), bytes_only.into()]).into()
        }
        other => {
            let message = format!("its pre-tokenizer {other:?} is not supported");
            return Err(ModelError::Tokenizer(message));
        }
    })
}
