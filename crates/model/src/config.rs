//! The shape of a llama, as its file describes it. Checked before anything is built from it.

use crate::ModelError;

/// Larger than any llama; what a corrupt header may not exceed.
const MAX_LAYERS: usize = 1024;
/// Likewise, for widths and the vocabulary.
const MAX_WIDTH: usize = 1 << 24;

/// Dimensions and constants of a llama-family decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads: each serves `num_heads / num_kv_heads` query heads (GQA).
    pub num_kv_heads: usize,
    /// Width of one head; even, since RoPE turns pairs.
    pub head_dim: usize,
    /// Tokens that the model knows.
    pub vocab_size: usize,
    /// Longest sequence that the model was trained for.
    pub max_position: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f32,
    /// Base of RoPE's wave lengths.
    pub rope_theta: f32,
    /// How RoPE is stretched beyond the context it was first trained for.
    pub rope_scaling: RopeScaling,
    /// Whether the output layer is the embedding matrix.
    pub tied_embeddings: bool,
}

/// How the frequencies of RoPE are changed for longer contexts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies divided by one factor (Chen et al. 2023, arXiv 2306.15595).
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Low frequencies divided by a factor, high ones kept, a ramp between (Llama 3.1).
    Llama3 {
        /// The divisor of the low frequencies.
        factor: f32,
        /// Wave lengths above `original_context / low_freq_factor` are low frequencies.
        low_freq_factor: f32,
        /// Wave lengths below `original_context / high_freq_factor` are high frequencies.
        high_freq_factor: f32,
        /// The context that the model was first trained for.
        original_context: f32,
    },
}

impl LlamaConfig {
    /// Query heads that share one key and value head.
    #[must_use]
    pub fn group_size(&self) -> usize {
        self.num_heads / self.num_kv_heads
    }

    /// Width of all query heads together.
    #[must_use]
    pub fn q_size(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Width of all key heads together, and of all value heads.
    #[must_use]
    pub fn kv_size(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Numbers that one token leaves in the cache as keys and values: 2 x layers x kv_size.
    #[must_use]
    pub fn kv_numbers_per_token(&self) -> usize {
        2 * self.num_layers * self.kv_size()
    }

    /// The config itself, where its numbers can belong to a llama.
    pub(crate) fn validated(self) -> Result<Self, ModelError> {
        let invalid = |key: &str, value: String, reason: &str| {
            Err(ModelError::InvalidMetadata { key: key.into(), value, reason: reason.into() })
        };
        for (key, value, limit) in [
            ("the number of layers", self.num_layers, MAX_LAYERS),
            ("the hidden size", self.hidden_size, MAX_WIDTH),
            ("the feed-forward size", self.intermediate_size, MAX_WIDTH),
            ("the vocabulary size", self.vocab_size, MAX_WIDTH),
            ("the context length", self.max_position, MAX_WIDTH),
            ("the number of heads", self.num_heads, MAX_WIDTH),
            ("the number of key/value heads", self.num_kv_heads, MAX_WIDTH),
            ("the head size", self.head_dim, MAX_WIDTH),
        ] {
            if value == 0 || value > limit {
                return invalid(key, value.to_string(), &format!("must be 1 to {limit}"));
            }
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            let value = format!("{} heads, {} for keys", self.num_heads, self.num_kv_heads);
            return invalid("heads", value, "the first must be a multiple of the second");
        }
        if !self.head_dim.is_multiple_of(2) {
            return invalid("the head size", self.head_dim.to_string(), "must be even for RoPE");
        }
        for (key, value) in [("RMSNorm's epsilon", self.rms_norm_eps), ("theta", self.rope_theta)] {
            if !value.is_finite() || value <= 0.0 {
                return invalid(key, value.to_string(), "must be a positive number");
            }
        }
        Ok(self)
    }
}
