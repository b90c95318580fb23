//! Models from GGUF files: header, weights, tokenizer and chat template in one file.

mod header;
mod tokenizer;
mod weights;

pub(crate) use header::{Header, Value};
pub(crate) use tokenizer::codec;
pub(crate) use weights::GgufWeights;

use crate::{LlamaConfig, ModelError, RopeScaling};

/// RoPE's base where the file does not say (Su et al. 2021).
const DEFAULT_ROPE_THETA: f32 = 10_000.0;

/// The model's shape, from its metadata and the shape of its embeddings.
pub(crate) fn config(header: &Header) -> Result<LlamaConfig, ModelError> {
    let architecture = header.text("general.architecture")?;
    if architecture != "llama" {
        return Err(ModelError::UnsupportedArchitecture(architecture.to_owned()));
    }
    let experts = header.optional_count("llama.expert_count")?.unwrap_or(0);
    if experts > 0 || header.tensor("blk.0.attn_q.bias").is_some() {
        let variant = if experts > 0 { "llama with experts" } else { "llama with biases" };
        return Err(ModelError::UnsupportedArchitecture(variant.into()));
    }
    let num_heads = header.count("llama.attention.head_count")?;
    let hidden_size = header.count("llama.embedding_length")?;
    let head_dim = match header.optional_count("llama.attention.key_length")? {
        Some(width) => width,
        None => hidden_size / num_heads.max(1),
    };
    if let Some(width) = header.optional_count("llama.rope.dimension_count")?
        && width != head_dim
    {
        return Err(ModelError::InvalidMetadata {
            key: "llama.rope.dimension_count".into(),
            value: width.to_string(),
            reason: format!("only RoPE over the whole head of {head_dim} is supported"),
        });
    }
    let embedding = header.tensor("token_embd.weight");
    let embedding =
        embedding.ok_or_else(|| ModelError::MissingTensor("token_embd.weight".into()))?;
    LlamaConfig {
        hidden_size,
        intermediate_size: header.count("llama.feed_forward_length")?,
        num_layers: header.count("llama.block_count")?,
        num_heads,
        num_kv_heads: header.optional_count("llama.attention.head_count_kv")?.unwrap_or(num_heads),
        head_dim,
        vocab_size: embedding.shape.first().copied().unwrap_or(0),
        max_position: header.count("llama.context_length")?,
        rms_norm_eps: header.number("llama.attention.layer_norm_rms_epsilon")?,
        rope_theta: header.optional_number("llama.rope.freq_base")?.unwrap_or(DEFAULT_ROPE_THETA),
        rope_scaling: rope_scaling(header)?,
        tied_embeddings: header.tensor("output.weight").is_none(),
    }
    .validated()
}

/// Llama 3's scaling needs no entry here: its divisors are in the tensor `rope_freqs.weight`.
fn rope_scaling(header: &Header) -> Result<RopeScaling, ModelError> {
    match header.optional_text("llama.rope.scaling.type")? {
        None | Some("none") => Ok(RopeScaling::None),
        Some("linear") => {
            Ok(RopeScaling::Linear { factor: header.number("llama.rope.scaling.factor")? })
        }
        Some(other) => Err(ModelError::InvalidMetadata {
            key: "llama.rope.scaling.type".into(),
            value: other.to_owned(),
            reason: "supported are none and linear".into(),
        }),
    }
}
