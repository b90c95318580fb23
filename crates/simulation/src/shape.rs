//! The dimensions of a model that decide what a step costs.
//!
//! Knows no device. Biases and the weights of norms are left out: they are less than 0.1 % of any
//! model here.

use serde::Deserialize;

/// A decoder-only transformer of the llama family, dense or with a mixture of experts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// `num_hidden_layers`.
    pub layers: usize,
    /// `hidden_size`.
    pub hidden: usize,
    /// `intermediate_size`, of one expert where there are several.
    pub intermediate: usize,
    /// `num_attention_heads`.
    pub heads: usize,
    /// `num_key_value_heads`.
    pub kv_heads: usize,
    /// `head_dim`, or `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// `vocab_size`.
    pub vocab: usize,
    /// `tie_word_embeddings`: one matrix is both embedding and output head.
    pub tied_embeddings: bool,
    /// Experts in each layer; 1 for a dense model.
    pub experts: usize,
    /// Experts that a token passes through; 1 for a dense model.
    pub experts_per_token: usize,
    /// Bytes of a weight: 2 for bf16.
    pub weight_bytes: usize,
    /// Bytes of a number in the KV cache: 2 for bf16.
    pub kv_bytes: usize,
}

/// A Hugging Face `config.json` that does not describe a model we know.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// Not JSON, or a field is missing.
    #[error("config.json: {0}")]
    Json(#[from] serde_json::Error),
    /// Dimensions that no model can have.
    #[error("config.json: {field} must be {must}, got {got}")]
    Dimension {
        /// Which.
        field: &'static str,
        /// What it must be.
        must: String,
        /// What it is.
        got: usize,
    },
    /// A type of weights whose size we do not know.
    #[error("config.json: unknown type of weights {0:?}")]
    WeightType(String),
}

/// Kernels that a layer launches: norm, QKV, rotary, cache write, attention, output, norm, gate and
/// up, activation, down.
const KERNELS_PER_LAYER: usize = 10;

/// The fields of `config.json` that matter here, by the names of the model families.
#[derive(Deserialize)]
struct Config {
    num_hidden_layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(alias = "num_experts")]
    num_local_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    moe_intermediate_size: Option<usize>,
    #[serde(alias = "dtype")]
    torch_dtype: Option<String>,
}

impl ModelShape {
    /// Reads a Hugging Face `config.json`. The KV cache holds numbers of the weights' type, as
    /// vLLM's `auto` does.
    ///
    /// # Errors
    /// [`ShapeError`] where a field is missing or makes no sense.
    pub fn from_hf_config(json: &str) -> Result<Self, ShapeError> {
        let config: Config = serde_json::from_str(json)?;
        let kv_heads = config.num_key_value_heads.unwrap_or(config.num_attention_heads);
        for (field, got) in [
            ("num_hidden_layers", config.num_hidden_layers),
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("num_attention_heads", config.num_attention_heads),
            ("num_key_value_heads", kv_heads),
            ("vocab_size", config.vocab_size),
        ] {
            if got == 0 {
                return Err(ShapeError::Dimension { field, must: "at least 1".to_owned(), got });
            }
        }
        if !config.num_attention_heads.is_multiple_of(kv_heads) {
            let must = format!("a divisor of the {} heads", config.num_attention_heads);
            return Err(ShapeError::Dimension {
                field: "num_key_value_heads",
                must,
                got: kv_heads,
            });
        }
        let experts = config.num_local_experts.unwrap_or(1).max(1);
        let experts_per_token = config.num_experts_per_tok.unwrap_or(1).clamp(1, experts);
        let bytes = match config.torch_dtype.as_deref() {
            None | Some("bfloat16" | "float16") => 2,
            Some("float32") => 4,
            Some(other) => return Err(ShapeError::WeightType(other.to_owned())),
        };
        Ok(Self {
            layers: config.num_hidden_layers,
            hidden: config.hidden_size,
            intermediate: config.moe_intermediate_size.unwrap_or(config.intermediate_size),
            heads: config.num_attention_heads,
            kv_heads,
            head_dim: config.head_dim.unwrap_or(config.hidden_size / config.num_attention_heads),
            vocab: config.vocab_size,
            tied_embeddings: config.tie_word_embeddings,
            experts,
            experts_per_token,
            weight_bytes: bytes,
            kv_bytes: bytes,
        })
    }

    /// Weights of the four attention matrices of one layer: Q, K, V and output.
    #[must_use]
    pub fn attention_weights(&self) -> usize {
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        self.hidden * (queries + 2 * keys) + queries * self.hidden
    }

    /// Weights of the three matrices of one expert (of the one MLP in a dense layer): gate, up and
    /// down.
    #[must_use]
    pub fn expert_weights(&self) -> usize {
        3 * self.hidden * self.intermediate
    }

    /// Weights of the router of one layer: none in a dense model.
    fn router_weights(&self) -> usize {
        if self.experts > 1 { self.hidden * self.experts } else { 0 }
    }

    /// Weights of all layers that one token is multiplied with: each costs it 2 FLOPs.
    #[must_use]
    pub fn active_weights(&self) -> usize {
        let mlp = self.router_weights() + self.experts_per_token * self.expert_weights();
        self.layers * (self.attention_weights() + mlp)
    }

    /// Weights of all layers that a step over `tokens` tokens reads.
    ///
    /// All of them in a dense model. Of `E` experts, of which each token takes `k` by itself, a
    /// step needs `E (1 - (1 - k/E)^tokens)` on average.
    #[must_use]
    pub fn read_weights(&self, tokens: usize) -> f64 {
        let experts = self.experts as f64;
        let idle = 1.0 - self.experts_per_token as f64 / experts;
        let read = experts * (1.0 - idle.powf(tokens as f64));
        let fixed = (self.attention_weights() + self.router_weights()) as f64;
        self.layers as f64 * (fixed + read * self.expert_weights() as f64)
    }

    /// Weights of the output head.
    #[must_use]
    pub fn head_weights(&self) -> usize {
        self.hidden * self.vocab
    }

    /// All weights: what the model takes in memory, in numbers.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let mlp = self.router_weights() + self.experts * self.expert_weights();
        let embeddings = if self.tied_embeddings { 1 } else { 2 };
        self.layers * (self.attention_weights() + mlp) + embeddings * self.head_weights()
    }

    /// Bytes of keys and values that one token leaves in the cache.
    #[must_use]
    pub fn kv_bytes_per_token(&self) -> usize {
        2 * self.layers * self.kv_heads * self.head_dim * self.kv_bytes
    }

    /// Kernels that a step launches, with no regard to how large they are.
    #[must_use]
    pub fn kernels(&self) -> usize {
        self.layers * KERNELS_PER_LAYER
    }

    /// Bytes that a step of `tokens` tokens, `sampled` of which are sampled from, needs beside
    /// weights and cache.
    ///
    /// An estimate: the widest layer's input and output, and the logits in f32 twice. vLLM measures
    /// it by a step of the largest size when it starts.
    #[must_use]
    pub fn activation_bytes(&self, tokens: usize, sampled: usize) -> f64 {
        let mlp = 3 * self.intermediate * self.experts_per_token;
        let layer = tokens * (2 * self.hidden + mlp) * self.weight_bytes;
        let logits = 2 * sampled * self.vocab * size_of::<f32>();
        (layer + logits) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// <https://huggingface.co/Qwen/Qwen2.5-7B-Instruct/blob/main/config.json>
    const QWEN: &str = r#"{
        "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "hidden_size": 3584,
        "intermediate_size": 18944, "max_position_embeddings": 32768, "model_type": "qwen2",
        "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 152064
    }"#;

    /// <https://huggingface.co/mistralai/Mixtral-8x7B-Instruct-v0.1/blob/main/config.json>
    const MIXTRAL: &str = r#"{
        "architectures": ["MixtralForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
        "model_type": "mixtral", "num_attention_heads": 32, "num_experts_per_tok": 2,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 32000
    }"#;

    #[test]
    fn a_config_gives_the_size_of_the_published_weights() {
        let shape = ModelShape::from_hf_config(QWEN).unwrap();
        assert_eq!(shape.head_dim, 128);
        // The safetensors of Qwen2.5-7B-Instruct hold 15,231,233,024 bytes, 0.3 MB of them biases
        // and norms.
        let bytes = (shape.parameters() * shape.weight_bytes) as f64;
        assert!((bytes / 15_231_233_024.0 - 1.0).abs() < 1e-4, "{bytes}");
        assert_eq!(shape.kv_bytes_per_token(), 57_344);
    }

    #[test]
    fn a_dense_model_reads_all_its_weights_for_any_number_of_tokens() {
        let shape = ModelShape::from_hf_config(QWEN).unwrap();
        assert_eq!(shape.read_weights(1), shape.active_weights() as f64);
        assert_eq!(shape.read_weights(1_000), shape.active_weights() as f64);
    }

    #[test]
    fn a_mixture_reads_more_experts_the_more_tokens_there_are() {
        let shape = ModelShape::from_hf_config(MIXTRAL).unwrap();
        // 46.7 B weights, of which a token meets 12.9 B (https://arxiv.org/abs/2401.04088, section
        // 2.1).
        assert!((shape.parameters() as f64 / 46.7e9 - 1.0).abs() < 1e-2);
        let active = shape.active_weights() + 2 * shape.head_weights();
        assert!((active as f64 / 12.9e9 - 1.0).abs() < 1e-2);
        assert!((shape.read_weights(1) / shape.active_weights() as f64 - 1.0).abs() < 1e-9);
        let all = (shape.parameters() - 2 * shape.head_weights()) as f64;
        assert!(shape.read_weights(2) < 0.55 * all);
        assert!(shape.read_weights(64) > 0.999 * all);
    }

    #[test]
    fn fields_that_are_absent_have_the_values_of_the_family() {
        let json = r#"{"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
            "num_attention_heads": 4, "vocab_size": 100, "head_dim": null}"#;
        let shape = ModelShape::from_hf_config(json).unwrap();
        assert_eq!((shape.kv_heads, shape.head_dim, shape.experts), (4, 16, 1));
        assert_eq!((shape.weight_bytes, shape.tied_embeddings), (2, false));
    }

    #[test]
    fn a_config_that_makes_no_sense_is_refused_with_the_field() {
        let refused = |from: &str, to: &str| {
            ModelShape::from_hf_config(&QWEN.replace(from, to)).unwrap_err().to_string()
        };
        let zero = refused("\"num_hidden_layers\": 28", "\"num_hidden_layers\": 0");
        assert_eq!(zero, "config.json: num_hidden_layers must be at least 1, got 0");
        let heads = refused("\"num_key_value_heads\": 4", "\"num_key_value_heads\": 5");
        assert!(heads.contains("a divisor of the 28 heads, got 5"), "{heads}");
        assert!(refused("bfloat16", "int3").contains("int3"));
        assert!(refused("\"vocab_size\": 152064", "\"x\": 1").contains("vocab_size"));
    }
}
