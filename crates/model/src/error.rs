//! What can go wrong between a model file and its first token.

use std::io;
use std::path::PathBuf;

/// A model that cannot be loaded or run. Every message names the cause.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The text is no model source.
    #[error("{0:?} is no model: give `tiny`, a .gguf file, or a folder with config.json")]
    UnknownSource(String),
    /// A file is not there.
    #[error("{} does not exist; `cargo xtask model pull` fetches the course's model", .0.display())]
    NotFound(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file breaks its own format: cut short, overwritten, or something else altogether.
    #[error("{} is corrupt: {reason}; remove it and pull it again", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The model is no llama.
    #[error("architecture {0:?} is not supported, only \"llama\" is")]
    UnsupportedArchitecture(String),
    /// A tensor is stored in a type that this crate does not read.
    #[error(
        "tensor {tensor} has the unsupported type {found}; \
         supported are F32, F16, BF16, Q4_0, Q4_1, Q8_0, Q4_K and Q6_K"
    )]
    UnsupportedQuantisation {
        /// Which tensor.
        tensor: String,
        /// Its type, by ggml's number or safetensors' name.
        found: String,
    },
    /// The file lacks a fact that the model cannot run without.
    #[error("the model's metadata lacks {0}")]
    MissingMetadata(String),
    /// A fact that cannot be true.
    #[error("the model's metadata says {key} = {value}: {reason}")]
    InvalidMetadata {
        /// Which fact.
        key: String,
        /// What the file says.
        value: String,
        /// Why that cannot be.
        reason: String,
    },
    /// A weight is not in the file.
    #[error("the model has no tensor {0}")]
    MissingTensor(String),
    /// A weight has another shape than the metadata promise.
    #[error("tensor {tensor} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which tensor.
        tensor: String,
        /// What the metadata promise.
        expected: Vec<usize>,
        /// What the file has.
        found: Vec<usize>,
    },
    /// The tokenizer cannot be built.
    #[error("the model's tokenizer cannot be used: {0}")]
    Tokenizer(String),
    /// The chat template cannot be parsed.
    #[error("the model's chat template cannot be used: {0}")]
    Template(String),
    /// No such device, or not compiled in.
    #[error("device cuda:{ordinal} cannot be used: {reason}")]
    Device {
        /// Which one.
        ordinal: usize,
        /// Why not.
        reason: String,
    },
    /// A KV cache that no memory could hold.
    #[error("a KV cache of {num_blocks} blocks of {block_size} tokens is {reason}")]
    Cache {
        /// Blocks asked for.
        num_blocks: usize,
        /// Tokens in a block asked for.
        block_size: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The threads could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// How many.
        threads: usize,
        /// What the system said.
        reason: String,
    },
    /// A step plan that does not fit this model or its cache: a mistake of the scheduler.
    #[error("the step plan is wrong for {sequence}: {reason}")]
    Plan {
        /// Whose chunk.
        sequence: serving::SequenceId,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Compute(#[from] candle_core::Error),
}
