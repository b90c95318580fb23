//! `tokenizer.json`, and the chat template and special tokens beside it.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serving::TokenId;
use tokenizers::Tokenizer;

use super::read_optional_json;
use crate::codec::Codec;
use crate::template::ChatTemplate;
use crate::{LlamaConfig, ModelError};

/// `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    chat_template: Option<Template>,
}

/// A special token, as a text or with its properties.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Added { content: String },
}

/// One template, or several by name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Template {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Debug, Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

/// The tokens that end a text, in `generation_config.json` or `config.json`.
#[derive(Debug, Default, Deserialize)]
struct Ends {
    eos_token_id: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(TokenId),
    Many(Vec<TokenId>),
}

/// Tokenizer, chat template and end-of-text tokens of a folder.
pub(crate) fn codec(folder: &Path, model: &LlamaConfig) -> Result<Codec, ModelError> {
    let path = folder.join("tokenizer.json");
    if !path.exists() {
        return Err(ModelError::NotFound(path));
    }
    let tokenizer =
        Tokenizer::from_file(&path).map_err(|error| ModelError::Tokenizer(error.to_string()))?;
    let config: TokenizerConfig =
        read_optional_json(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    let text = |token: &Option<Token>| match token {
        Some(Token::Text(text) | Token::Added { content: text }) => text.clone(),
        None => String::new(),
    };
    let (bos, eos) = (text(&config.bos_token), text(&config.eos_token));
    let source = match fs::read_to_string(folder.join("chat_template.jinja")) {
        Ok(source) => Some(source),
        Err(_) => config.chat_template.and_then(Template::default_one),
    };
    let template = source.map(|source| ChatTemplate::new(&source, &bos, &eos)).transpose()?;
    let mut ends = Vec::new();
    for name in ["generation_config.json", "config.json"] {
        let file: Ends = read_optional_json(&folder.join(name))?.unwrap_or_default();
        match file.eos_token_id {
            Some(OneOrMany::One(token)) => ends.push(token),
            Some(OneOrMany::Many(tokens)) => ends.extend(tokens),
            None => {}
        }
    }
    ends.extend(tokenizer.token_to_id(&eos));
    ends.sort_unstable();
    ends.dedup();
    Ok(Codec::new(tokenizer, template, ends, model.vocab_size))
}

// === impl Template ===

impl Template {
    fn default_one(self) -> Option<String> {
        match self {
            Self::One(source) => Some(source),
            Self::Named(all) => {
                all.into_iter().find(|one| one.name == "default").map(|one| one.template)
            }
        }
    }
}
