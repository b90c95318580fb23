//! A small random llama, built in memory: what tests run on. It needs no file and no download.

use candle_core::{Device, Tensor};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::weights::{LayerWeight, Weight, WeightSource};
use crate::{LlamaConfig, ModelError, RopeScaling};

/// Special tokens come first, then one token a byte.
pub(crate) const SPECIAL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Ends an answer.
pub(crate) const EOS: &str = SPECIAL_TOKENS[2];
/// ChatML, as SmolLM2 uses it.
pub(crate) const CHAT_TEMPLATE: &str = "{% for message in messages %}\
     {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}\
     {% endfor %}\
     {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// The shape of the tiny llama: grouped heads, two layers, bytes as tokens.
pub(crate) fn config() -> LlamaConfig {
    LlamaConfig {
        hidden_size: 64,
        intermediate_size: 128,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 16,
        vocab_size: SPECIAL_TOKENS.len() + 256,
        max_position: 2048,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        tied_embeddings: false,
    }
}

/// Random weights: the same seed and shape give the same ones.
#[derive(Debug)]
pub(crate) struct RandomWeights {
    pub(crate) seed: u64,
}

impl WeightSource for RandomWeights {
    fn has(&self, weight: Weight) -> bool {
        weight != Weight::RopeFactors
    }

    /// Uniform, with the variance that keeps activations near 1; norms are near 1 themselves.
    fn load(&mut self, weight: Weight, config: &LlamaConfig) -> Result<Tensor, ModelError> {
        let mut rng = StdRng::seed_from_u64(self.seed ^ stream(weight));
        let shape = weight.shape(config);
        let norm = shape.len() == 1;
        let reach = match weight {
            Weight::Embedding => 3f32.sqrt(),
            _ if norm => 0.1,
            _ => (3.0 / config.hidden_size as f32).sqrt(),
        };
        let centre = if norm { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| centre + reach * rng.random_range(-1.0..1.0))
            .collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }
}

/// A number for each weight, so that each has its own random stream.
fn stream(weight: Weight) -> u64 {
    let number = match weight {
        Weight::Embedding => 1,
        Weight::OutputNorm => 2,
        Weight::Output => 3,
        Weight::RopeFactors => 4,
        Weight::Layer(layer, weight) => {
            let within = match weight {
                LayerWeight::AttentionNorm => 0,
                LayerWeight::Query => 1,
                LayerWeight::Key => 2,
                LayerWeight::Value => 3,
                LayerWeight::AttentionOutput => 4,
                LayerWeight::FeedForwardNorm => 5,
                LayerWeight::Gate => 6,
                LayerWeight::Up => 7,
                LayerWeight::Down => 8,
            };
            16 * (layer as u64 + 1) + within
        }
    };
    number << 32
}
