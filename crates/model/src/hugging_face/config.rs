//! `config.json`: the model's shape.

use std::path::Path;

use serde::Deserialize;

use super::read_json;
use crate::{LlamaConfig, ModelError, RopeScaling};

/// The fields of a llama's `config.json` that matter here, with transformers' defaults.
#[derive(Debug, Deserialize)]
struct ConfigFile {
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    #[serde(default)]
    tie_word_embeddings: bool,
    rope_theta: Option<f32>,
    rope_scaling: Option<RopeFile>,
    /// Where transformers 5 keeps theta and scaling.
    rope_parameters: Option<RopeFile>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default = "silu")]
    hidden_act: String,
}

#[derive(Debug, Deserialize)]
struct RopeFile {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<f32>,
}

fn silu() -> String {
    "silu".to_owned()
}

/// Reads the folder's `config.json`.
pub(crate) fn config(folder: &Path) -> Result<LlamaConfig, ModelError> {
    let file: ConfigFile = read_json(&folder.join("config.json"))?;
    if file.model_type != "llama" {
        return Err(ModelError::UnsupportedArchitecture(file.model_type));
    }
    if file.attention_bias || file.mlp_bias || file.hidden_act != "silu" {
        let variant = format!("llama with biases or {}", file.hidden_act);
        return Err(ModelError::UnsupportedArchitecture(variant));
    }
    let rope = file.rope_parameters.or(file.rope_scaling);
    let theta = rope.as_ref().and_then(|rope| rope.rope_theta).or(file.rope_theta);
    LlamaConfig {
        hidden_size: file.hidden_size,
        intermediate_size: file.intermediate_size,
        num_layers: file.num_hidden_layers,
        num_heads: file.num_attention_heads,
        num_kv_heads: file.num_key_value_heads.unwrap_or(file.num_attention_heads),
        head_dim: file
            .head_dim
            .unwrap_or_else(|| file.hidden_size / file.num_attention_heads.max(1)),
        vocab_size: file.vocab_size,
        max_position: file.max_position_embeddings,
        rms_norm_eps: file.rms_norm_eps,
        rope_theta: theta.unwrap_or(10_000.0),
        rope_scaling: rope.map_or(Ok(RopeScaling::None), |rope| rope.scaling())?,
        tied_embeddings: file.tie_word_embeddings,
    }
    .validated()
}

// === impl RopeFile ===

impl RopeFile {
    fn scaling(&self) -> Result<RopeScaling, ModelError> {
        let missing = |key: &str| ModelError::MissingMetadata(format!("rope_scaling.{key}"));
        let factor = || self.factor.ok_or_else(|| missing("factor"));
        match self.rope_type.as_deref() {
            None | Some("default") => Ok(RopeScaling::None),
            Some("linear") => Ok(RopeScaling::Linear { factor: factor()? }),
            Some("llama3") => Ok(RopeScaling::Llama3 {
                factor: factor()?,
                low_freq_factor: self.low_freq_factor.ok_or_else(|| missing("low_freq_factor"))?,
                high_freq_factor: self
                    .high_freq_factor
                    .ok_or_else(|| missing("high_freq_factor"))?,
                original_context: self
                    .original_max_position_embeddings
                    .ok_or_else(|| missing("original_max_position_embeddings"))?,
            }),
            Some(other) => Err(ModelError::InvalidMetadata {
                key: "rope_scaling.rope_type".into(),
                value: other.to_owned(),
                reason: "supported are default, linear and llama3".into(),
            }),
        }
    }
}
