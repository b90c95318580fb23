//! One pod: the OpenAI HTTP face of one engine, its thread, its drain and its metrics.
//!
//! Two worlds meet here. The engine steps on its own thread and never waits for a client. HTTP runs on tokio
//! and never waits for a step. Between them is a bounded queue of commands one way, and for each choice of each
//! request a slot the other way, in which text piles up when the client is slow: a slot holds at most
//! what the choice may generate, so nothing is unbounded and nothing blocks.
//!
//! This crate knows no model. Whoever calls [`run`] or [`serve`] gives it a [`Backend`].

mod admission;
mod answer;
mod args;
mod channel;
mod clock;
mod connections;
mod detokenizer;
mod engine_thread;
mod error;
mod frames;
mod generation;
mod own_metrics;
mod process;
mod routes;
mod run;
mod serve;
mod spans;
mod state;
mod stop;
mod telemetry;
mod tgi_metrics;
mod tokens;

pub use args::{Config, ServeArgs};
pub use error::ServeError;
pub use run::run;
pub use serve::{Shutdown, serve, serve_until};

use std::sync::Arc;

/// What a server serves.
pub struct Backend {
    /// The engine. It moves to its own thread.
    pub engine: serving::Engine,
    /// The model's tokenizer and chat template.
    pub codec: Arc<dyn serving::TextCodec>,
    /// The longest sequence, prompt and answer, in tokens. The engine's block pool must hold at least one of
    /// that length: longer requests are refused, so that every admitted one can run.
    pub max_model_len: usize,
}

/// Why a [`Backend`] could not be had.
pub type LoadError = Box<dyn std::error::Error + Send + Sync>;
