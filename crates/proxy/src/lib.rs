//! A router's data plane: HTTP/1.1 from a client's socket to an endpoint's and back, with as little in between as can be.
//!
//! What happens to a request is not decided here but by a [`routing::Dispatch`]; this is the shell around it that owns
//! sockets and the clock. Each thread has a runtime, a listener and connections to endpoints of its own; who decides is shared.
//! A request is read whole, so that it can be sent again; an answer is passed on as it comes. Knows no policy, and leaves
//! the dialects of model servers to `backends`.

mod answer;
mod attempt;
mod cache_report;
mod caller;
mod chunked;
mod client;
mod forward;
mod hop;
mod kv_listening;
mod limits;
mod looks;
mod members;
mod message;
mod metrics;
mod models;
mod pool;
mod relay;
#[cfg(test)]
mod remembers;
mod request;
mod response;
mod rounds;
mod server;
mod shadow;
mod shared;
mod traces;
mod watch;
mod worker;

use std::io;
use std::net::SocketAddr;

pub use cache_report::CacheReport;
pub use caller::{NoNetwork, TrustedProxies};
pub use kv_listening::{KvListening, hear_members};
pub use limits::Limits;
pub use looks::Looks;
pub use members::{Member, Membership};
pub use request::{SESSION_HEADER, TENANT_HEADER, TIMEOUT_HEADER, VERSION_HEADER};
pub use server::{Router, Settings};
pub use shadow::{Draw, Original, Shadowing};
pub use traces::Tracing;
pub use watch::{Reading, Seen, Watching, signals};

/// Why a router does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It cannot listen there.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
}
