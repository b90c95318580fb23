//! What a proxy is told.

use std::time::Duration;

/// An answer to a [`Phase`](crate::Phase) of the same name, or to all that would come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Go on, with these changes to the request's headers.
    RequestHeaders(Mutation),
    /// Go on with the body. Changes to the headers count only where the body was buffered.
    RequestBody(Mutation, Option<Chunk>),
    /// Go on.
    RequestTrailers,
    /// Go on.
    ResponseHeaders,
    /// Go on with the answer.
    ResponseBody(Option<Chunk>),
    /// Go on.
    ResponseTrailers,
    /// Do not go on: answer the client yourself.
    Immediate(Refusal),
}

/// A piece of a body that goes on its way: needed where the mode is [`FullDuplex`](crate::BodyMode::FullDuplex), an error elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// It is the end.
    pub last: bool,
}

/// What changes before a request goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mutation {
    /// Headers that are set, whatever they were.
    pub headers: Vec<(String, String)>,
    /// What the proxy's later filters, and its choice of a host, shall know.
    pub metadata: Vec<Metadata>,
}

/// One entry of Envoy's dynamic metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Whose it is.
    pub namespace: String,
    /// Its name.
    pub key: String,
    /// What it says.
    pub value: String,
}

/// Why a request goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 503: there is no endpoint that may have it.
    #[error("no endpoint is ready")]
    NoneReady,
    /// 429: there are some, and they have enough to do.
    #[error("the endpoints have enough to do: come again")]
    Shed {
        /// When, in `Retry-After`.
        after: Duration,
    },
    /// 413: the body is longer than a picker keeps.
    #[error("the request is too long")]
    TooLong,
}

impl Refusal {
    /// The status code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::NoneReady => 503,
            Self::Shed { .. } => 429,
            Self::TooLong => 413,
        }
    }

    /// Whole seconds for `Retry-After`, rounded up.
    #[must_use]
    pub fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::Shed { after } => Some(after.as_millis().div_ceil(1000).max(1) as u64),
            Self::NoneReady | Self::TooLong => None,
        }
    }
}
