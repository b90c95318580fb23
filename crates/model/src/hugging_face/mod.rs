//! Models from a folder as Hugging Face lays it out: `config.json`, `*.safetensors`, `tokenizer.json`.

mod config;
mod tokenizer;
mod weights;

pub(crate) use config::config;
pub(crate) use tokenizer::codec;
pub(crate) use weights::SafetensorsWeights;

use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::ModelError;
use crate::load::open_file;

/// Larger than any tokenizer's or config's JSON.
const MAX_JSON_BYTES: u64 = 256 << 20;

/// Parses one JSON file of the folder.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let mut text = Vec::new();
    open_file(path)?
        .take(MAX_JSON_BYTES)
        .read_to_end(&mut text)
        .map_err(|cause| ModelError::Io { path: path.to_owned(), cause })?;
    serde_json::from_slice(&text)
        .map_err(|error| ModelError::Corrupt { path: path.to_owned(), reason: error.to_string() })
}

/// The same, where the folder may lack the file.
fn read_optional_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ModelError> {
    match read_json(path) {
        Ok(value) => Ok(Some(value)),
        Err(ModelError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
