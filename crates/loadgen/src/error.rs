//! Why there can be no load. What goes wrong with one request is a record instead.

/// Why a run cannot begin, or could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The URL is none, or not one that is spoken here.
    #[error("{url}: {reason}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// No connection to the server.
    #[error("no connection to {host}: {reason}. Is the server running?")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// The server does not say which models it has.
    #[error("{path} names no model: {reason}. Say which with --model NAME")]
    NoModel {
        /// Where it was asked.
        path: String,
        /// What came back.
        reason: String,
    },
    /// Options that do not go together.
    #[error("{0}")]
    Option(String),
    /// The workload cannot be.
    #[error(transparent)]
    Workload(#[from] workload::WorkloadError),
    /// The system does not give what the generator needs.
    #[error("the system refuses {what}: {error}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it says.
        error: std::io::Error,
    },
    /// A worker ended in the middle.
    #[error("a worker of the generator ended early")]
    Worker,
}
