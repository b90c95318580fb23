//! Where a model comes from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::ModelError;

/// The seed of `tiny` where none is given.
const TINY_SEED: u64 = 7;

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// One GGUF file: weights, tokenizer and chat template.
    Gguf(PathBuf),
    /// A folder as Hugging Face lays it out: `config.json`, `*.safetensors`, `tokenizer.json`.
    HuggingFaceDir(PathBuf),
    /// A small random llama, built in memory. It talks nonsense, exactly and fast.
    Tiny {
        /// The same seed gives the same weights.
        seed: u64,
    },
}

impl FromStr for ModelSource {
    type Err = ModelError;

    /// `tiny`, `tiny:SEED`, a path that ends in `.gguf`, or a folder that exists.
    fn from_str(text: &str) -> Result<Self, ModelError> {
        if text == "tiny" {
            return Ok(Self::Tiny { seed: TINY_SEED });
        }
        if let Some(seed) = text.strip_prefix("tiny:").and_then(|seed| seed.parse().ok()) {
            return Ok(Self::Tiny { seed });
        }
        let path = PathBuf::from(text);
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            return Ok(Self::Gguf(path));
        }
        if path.is_dir() {
            return Ok(Self::HuggingFaceDir(path));
        }
        Err(ModelError::UnknownSource(text.to_owned()))
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gguf(path) | Self::HuggingFaceDir(path) => path.display().fmt(f),
            Self::Tiny { seed } => write!(f, "tiny:{seed}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_tiny_a_gguf_file_or_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let parse = |text: &str| text.parse::<ModelSource>();
        assert_eq!(parse("tiny").unwrap(), ModelSource::Tiny { seed: TINY_SEED });
        assert_eq!(parse("tiny:3").unwrap(), ModelSource::Tiny { seed: 3 });
        assert_eq!(parse("a/b.GGUF").unwrap(), ModelSource::Gguf("a/b.GGUF".into()));
        let path = folder.path().to_str().unwrap();
        assert_eq!(parse(path).unwrap(), ModelSource::HuggingFaceDir(path.into()));
        assert!(matches!(parse("tiny:x"), Err(ModelError::UnknownSource(_))));
        assert!(parse("gpt-5").unwrap_err().to_string().contains("a .gguf file"));
    }
}
