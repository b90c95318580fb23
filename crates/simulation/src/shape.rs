//! The dimensions of a model that decide what a step costs.

/// A decoder-only transformer of the llama family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// `num_hidden_layers`.
    pub layers: usize,
    /// `hidden_size`.
    pub hidden: usize,
    /// `intermediate_size`.
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
}
