//! The weights of a llama by name, and what can supply them.

use candle_core::Tensor;

use crate::kernel::packed::Blocks;
use crate::{LlamaConfig, ModelError};

/// One weight. GGUF and Hugging Face have different names for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Weight {
    /// `(vocab, hidden)`: a row a token.
    Embedding,
    /// `(hidden)`: RMSNorm before the output layer.
    OutputNorm,
    /// `(vocab, hidden)`: absent where the embeddings are tied.
    Output,
    /// `(head_dim / 2)`: divisors of RoPE's frequencies, in some GGUF files.
    RopeFactors,
    /// One of a decoder layer.
    Layer(usize, LayerWeight),
}

/// One weight of a decoder layer. Matrices are `(out, in)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LayerWeight {
    /// `(hidden)`: RMSNorm before attention.
    AttentionNorm,
    /// `(q_size, hidden)`.
    Query,
    /// `(kv_size, hidden)`.
    Key,
    /// `(kv_size, hidden)`.
    Value,
    /// `(hidden, q_size)`.
    AttentionOutput,
    /// `(hidden)`: RMSNorm before the feed-forward layer.
    FeedForwardNorm,
    /// `(intermediate, hidden)`: SwiGLU's gate.
    Gate,
    /// `(intermediate, hidden)`.
    Up,
    /// `(hidden, intermediate)`.
    Down,
}

/// Supplies weights as f32 on the CPU, with RoPE's pairs at `(i, i + head_dim / 2)`.
pub(crate) trait WeightSource {
    /// Whether the weight is there.
    fn has(&self, weight: Weight) -> bool;

    /// Whether the weight is a matrix stored in fewer than 16 bits, in whole blocks.
    fn is_quantised(&self, _weight: Weight) -> bool {
        false
    }

    /// The weight.
    ///
    /// # Errors
    /// [`ModelError`] where it is missing, unreadable or of another shape.
    fn load(&mut self, weight: Weight, config: &LlamaConfig) -> Result<Tensor, ModelError>;

    /// A matrix that is stored in fewer than 16 bits, as blocks of 4 or 8: to the bit where the file has
    /// them, else the nearest. `None` for any other.
    ///
    /// # Errors
    /// As [`WeightSource::load`].
    fn load_blocks(
        &mut self,
        _weight: Weight,
        _config: &LlamaConfig,
    ) -> Result<Option<Blocks>, ModelError> {
        Ok(None)
    }
}

// === impl Weight ===

impl Weight {
    /// The shape that it must have.
    pub(crate) fn shape(self, config: &LlamaConfig) -> Vec<usize> {
        let hidden = config.hidden_size;
        match self {
            Self::Embedding | Self::Output => vec![config.vocab_size, hidden],
            Self::OutputNorm => vec![hidden],
            Self::RopeFactors => vec![config.head_dim / 2],
            Self::Layer(_, weight) => match weight {
                LayerWeight::AttentionNorm | LayerWeight::FeedForwardNorm => vec![hidden],
                LayerWeight::Query => vec![config.q_size(), hidden],
                LayerWeight::Key | LayerWeight::Value => vec![config.kv_size(), hidden],
                LayerWeight::AttentionOutput => vec![hidden, config.q_size()],
                LayerWeight::Gate | LayerWeight::Up => vec![config.intermediate_size, hidden],
                LayerWeight::Down => vec![hidden, config.intermediate_size],
            },
        }
    }

    /// Its name in a GGUF file.
    pub(crate) fn gguf_name(self) -> String {
        match self {
            Self::Embedding => "token_embd.weight".into(),
            Self::OutputNorm => "output_norm.weight".into(),
            Self::Output => "output.weight".into(),
            Self::RopeFactors => "rope_freqs.weight".into(),
            Self::Layer(layer, weight) => {
                let name = match weight {
                    LayerWeight::AttentionNorm => "attn_norm",
                    LayerWeight::Query => "attn_q",
                    LayerWeight::Key => "attn_k",
                    LayerWeight::Value => "attn_v",
                    LayerWeight::AttentionOutput => "attn_output",
                    LayerWeight::FeedForwardNorm => "ffn_norm",
                    LayerWeight::Gate => "ffn_gate",
                    LayerWeight::Up => "ffn_up",
                    LayerWeight::Down => "ffn_down",
                };
                format!("blk.{layer}.{name}.weight")
            }
        }
    }

    /// Its name in a Hugging Face checkpoint.
    pub(crate) fn hugging_face_name(self) -> String {
        match self {
            Self::Embedding => "model.embed_tokens.weight".into(),
            Self::OutputNorm => "model.norm.weight".into(),
            Self::Output => "lm_head.weight".into(),
            Self::RopeFactors => "rope_freqs.weight".into(),
            Self::Layer(layer, weight) => {
                let name = match weight {
                    LayerWeight::AttentionNorm => "input_layernorm",
                    LayerWeight::Query => "self_attn.q_proj",
                    LayerWeight::Key => "self_attn.k_proj",
                    LayerWeight::Value => "self_attn.v_proj",
                    LayerWeight::AttentionOutput => "self_attn.o_proj",
                    LayerWeight::FeedForwardNorm => "post_attention_layernorm",
                    LayerWeight::Gate => "mlp.gate_proj",
                    LayerWeight::Up => "mlp.up_proj",
                    LayerWeight::Down => "mlp.down_proj",
                };
                format!("model.layers.{layer}.{name}.weight")
            }
        }
    }

    /// Refuses a shape that the metadata did not promise.
    pub(crate) fn check_shape(
        self,
        name: &str,
        found: &[usize],
        config: &LlamaConfig,
    ) -> Result<(), ModelError> {
        let expected = self.shape(config);
        if found == expected {
            return Ok(());
        }
        Err(ModelError::Shape { tensor: name.to_owned(), expected, found: found.to_vec() })
    }
}
