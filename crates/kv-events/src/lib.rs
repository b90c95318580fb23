//! What model servers publish of their KV cache, and how a router hears it.
//!
//! vLLM tells by `--kv-events-config '{"enable_kv_cache_events": true, "publisher": "zmq"}'`: batches in msgpack
//! ([`Batch::decode`], pure), over a ZeroMQ PUB socket ([`Subscriber`]). `SGLang` publishes the same.
//!
//! Knows no router: what an event means to whoever chooses is told by [`routing::KvEvent`]. It never asks for what it missed (vLLM's
//! `replay_endpoint`): what was missed is [`Lost`](Update::Lost), and whoever listens starts over.

mod batch;
mod connection;
mod msgpack;
mod subscriber;
mod zmtp;

pub use batch::{Batch, DecodeError, MAX_BLOCK_SIZE, MAX_EVENTS, Told};
pub use connection::ConnectionError;
pub use subscriber::{Loss, Settings, Subscriber, Unreadable, Update};
pub use zmtp::{Error as ZmtpError, MAX_COMMAND, MAX_MESSAGE, MAX_PARTS};
