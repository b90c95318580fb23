//! Every bound of the data plane, with its name.

use std::time::Duration;

/// Header fields of a message.
pub(crate) const MAX_HEADERS: usize = 96;
/// Bytes of a request's head.
pub(crate) const MAX_REQUEST_HEAD: usize = 16 << 10;
/// Bytes of a response's head.
pub(crate) const MAX_RESPONSE_HEAD: usize = 32 << 10;
/// Bytes that a client may send ahead while its request is answered; no more are read.
pub(crate) const MAX_PIPELINED: usize = 64 << 10;
/// Bytes of an event of a stream that are held back until the event is complete.
pub(crate) const MAX_HELD_EVENT: usize = 64 << 10;
/// Bytes of an answer that are held back until somebody decides whether it is relayed.
pub(crate) const MAX_HELD_ANSWER: usize = 64 << 10;
/// Bytes taken from a socket at once.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// Capacity that a connection keeps between two requests.
pub(crate) const KEPT_CAPACITY: usize = 4 << 10;
/// Connections without work that are kept for one endpoint, by each thread.
pub(crate) const MAX_IDLE: usize = 512;
/// Kept so long at most: model servers on uvicorn hang up after 5 seconds.
pub(crate) const MAX_IDLE_TIME: Duration = Duration::from_secs(4);
/// Attempts of one request at once: the first and its hedge.
pub(crate) const MAX_ATTEMPTS: usize = 2;
/// Bytes of an endpoint's health or metrics page.
pub(crate) const MAX_PAGE: usize = 4 << 20;

/// Bounds that depend on what is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub max_body: usize,
    /// Connections of clients; more wait in the kernel's queue.
    pub max_connections: usize,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// From the end of a head to the end of its body.
    pub body_timeout: Duration,
    /// From one request to the next.
    pub keep_alive: Duration,
    /// Until an endpoint has taken a connection.
    pub connect_timeout: Duration,
    /// Between two pieces of an answer, from the endpoint or to the client.
    pub stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            max_body: 16 << 20,
            max_connections: 8192,
            head_timeout: s(10),
            body_timeout: s(30),
            keep_alive: s(75),
            connect_timeout: s(2),
            stall_timeout: s(120),
        }
    }
}
