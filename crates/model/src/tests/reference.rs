//! An independent llama in plain loops: no batch, no cache, no candle arithmetic.

use serving::TokenId;

use crate::LlamaConfig;
use crate::weights::{LayerWeight, Weight, WeightSource};

/// All weights as rows of numbers.
pub(super) struct Reference {
    config: LlamaConfig,
    embedding: Vec<f32>,
    norm: Vec<f32>,
    output: Vec<f32>,
    layers: Vec<[Vec<f32>; 9]>,
}

const LAYER: [LayerWeight; 9] = [
    LayerWeight::AttentionNorm,
    LayerWeight::Query,
    LayerWeight::Key,
    LayerWeight::Value,
    LayerWeight::AttentionOutput,
    LayerWeight::FeedForwardNorm,
    LayerWeight::Gate,
    LayerWeight::Up,
    LayerWeight::Down,
];

impl Reference {
    pub(super) fn new(config: &LlamaConfig, source: &mut dyn WeightSource) -> Self {
        let mut load = |weight| {
            let tensor = source.load(weight, config).unwrap();
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let embedding = load(Weight::Embedding);
        let output = if config.tied_embeddings { embedding.clone() } else { load(Weight::Output) };
        let layers = (0..config.num_layers)
            .map(|layer| LAYER.map(|weight| load(Weight::Layer(layer, weight))))
            .collect();
        let norm = load(Weight::OutputNorm);
        Self { config: config.clone(), embedding, norm, output, layers }
    }

    /// The logits after each token.
    pub(super) fn logits(&self, tokens: &[TokenId]) -> Vec<Vec<f32>> {
        let config = &self.config;
        let hidden = config.hidden_size;
        let mut rows: Vec<Vec<f32>> = tokens
            .iter()
            .map(|&token| self.embedding[token as usize * hidden..][..hidden].to_vec())
            .collect();
        for [norm, q, k, v, o, ffn_norm, gate, up, down] in &self.layers {
            let normed: Vec<_> = rows.iter().map(|row| self.rms_norm(row, norm)).collect();
            let project = |weight: &[f32], rotate: bool| -> Vec<Vec<f32>> {
                let project = |(position, row): (usize, &Vec<f32>)| {
                    let mut out = matvec(weight, row);
                    if rotate {
                        self.rotate(&mut out, position);
                    }
                    out
                };
                normed.iter().enumerate().map(project).collect()
            };
            let (q, k, v) = (project(q, true), project(k, true), project(v, false));
            for (position, row) in rows.iter_mut().enumerate() {
                add(row, &matvec(o, &self.attend(&q[position], &k[..=position], &v)));
                let normed = self.rms_norm(row, ffn_norm);
                let gated: Vec<f32> = matvec(gate, &normed)
                    .iter()
                    .zip(matvec(up, &normed))
                    .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
                    .collect();
                add(row, &matvec(down, &gated));
            }
        }
        rows.iter().map(|row| matvec(&self.output, &self.rms_norm(row, &self.norm))).collect()
    }

    fn rms_norm(&self, row: &[f32], weight: &[f32]) -> Vec<f32> {
        let mean = row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32;
        let scale = 1.0 / (mean + self.config.rms_norm_eps).sqrt();
        row.iter().zip(weight).map(|(x, w)| x * scale * w).collect()
    }

    fn rotate(&self, heads: &mut [f32], position: usize) {
        let half = self.config.head_dim / 2;
        for head in heads.chunks_mut(self.config.head_dim) {
            for pair in 0..half {
                let exponent = -2.0 * pair as f32 / self.config.head_dim as f32;
                let angle = position as f32 * self.config.rope_theta.powf(exponent);
                let (a, b) = (head[pair], head[pair + half]);
                head[pair] = a * angle.cos() - b * angle.sin();
                head[pair + half] = a * angle.sin() + b * angle.cos();
            }
        }
    }

    fn attend(&self, q: &[f32], k: &[Vec<f32>], v: &[Vec<f32>]) -> Vec<f32> {
        let (head_dim, group) = (self.config.head_dim, self.config.group_size());
        let mut out = Vec::new();
        for (head, query) in q.chunks(head_dim).enumerate() {
            let at = head / group * head_dim;
            let scores: Vec<f32> = k
                .iter()
                .map(|key| {
                    let dot: f32 = query.iter().zip(&key[at..]).map(|(a, b)| a * b).sum();
                    (dot / (head_dim as f32).sqrt()).exp()
                })
                .collect();
            let sum: f32 = scores.iter().sum();
            for d in 0..head_dim {
                out.push(scores.iter().zip(v).map(|(s, v)| s / sum * v[at + d]).sum());
            }
        }
        out
    }
}

fn matvec(weight: &[f32], x: &[f32]) -> Vec<f32> {
    weight.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn add(row: &mut [f32], other: &[f32]) {
    for (a, b) in row.iter_mut().zip(other) {
        *a += b;
    }
}
