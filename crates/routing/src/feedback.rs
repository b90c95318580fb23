//! What became of a choice.

use std::time::Duration;

use crate::EndpointId;

/// Something that a policy may learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback {
    /// The request's number.
    pub request: u64,
    /// Where it was sent.
    pub endpoint: EndpointId,
    /// What happened.
    pub happening: Happening,
    /// When, since the router started.
    pub at: Duration,
}

/// The life of a request at an endpoint. `Sent` comes first, `Ended` last; each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// It is on its way.
    Sent,
    /// Its first token came, so long after it was sent.
    FirstToken(Duration),
    /// Nothing more will come.
    Ended {
        /// Why.
        ending: Ending,
        /// So long after it was sent.
        took: Duration,
    },
}

/// How a request ended at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The answer is complete.
    Answered,
    /// The endpoint said that the request is wrong: a 4xx other than 429. Says nothing about the endpoint.
    ClientError,
    /// The endpoint had no room: 429, or 503 with `Retry-After`.
    Refused,
    /// The endpoint failed: another 5xx, a broken connection, none at all.
    Failed,
    /// The endpoint took longer than it was given.
    TimedOut,
    /// The client went away, or another endpoint was faster.
    Cancelled,
}
