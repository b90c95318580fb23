//! What a proxy tells.

/// What a proxy does with a body, `ProcessingMode.BodySendMode` in Envoy's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BodyMode {
    /// The picker never sees it.
    None,
    /// It comes in pieces, each of which waits for an answer; the headers are long gone by then.
    Streamed,
    /// It comes whole, after the headers were answered; the headers wait, and can still be changed.
    Buffered,
    /// It comes in pieces, and so it goes back; nothing waits, headers included. What the picker does not send back, the endpoint
    /// never sees. The protocol asks for it, so it is what a proxy means that says nothing.
    #[default]
    FullDuplex,
}

/// One step in the life of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// A request begins.
    RequestHeaders {
        /// Names in lower case, pseudo-headers such as `:path` among them.
        headers: Vec<(String, String)>,
        /// The only endpoints that may be picked, as `ip:port`; `None`: all of the pool.
        subset: Option<Vec<String>>,
        /// What becomes of the request's body and of the answer's.
        modes: (BodyMode, BodyMode),
        /// There is no body.
        last: bool,
    },
    /// A piece of the body, or all of it.
    RequestBody {
        /// The bytes.
        chunk: Vec<u8>,
        /// It is the end, and no trailers follow.
        last: bool,
    },
    /// The end of a request that has trailers.
    RequestTrailers,
    /// An endpoint answers.
    ResponseHeaders {
        /// The status code, 0 where the proxy did not say.
        status: u16,
        /// Whether the endpoint says when to come again.
        retry_after: bool,
        /// Who answers, where the proxy says so: not always the first of those that were picked.
        served: Option<String>,
        /// There is no body.
        last: bool,
    },
    /// A piece of the answer.
    ResponseBody {
        /// The bytes.
        chunk: Vec<u8>,
        /// It is the end.
        last: bool,
    },
    /// The end of an answer that has trailers.
    ResponseTrailers,
}
