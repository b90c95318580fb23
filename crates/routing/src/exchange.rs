//! What happens to one request on its way through a router, in words that need no socket.
//!
//! Whoever holds the sockets tells [`Event`]s and carries out [`Action`]s; whoever decides sees nothing else. So all
//! that a router decides runs on a virtual clock, and the same code serves.

use std::time::Duration;

use crate::{Asks, EndpointId, RouteRequest};

/// A request while the router has it: the shell's number for it, which another gets once it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey(pub u32);

/// One try of a request at an endpoint, counted from 0 within its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u8);

/// What is asked, and by whom. Borrowed: the shell hands it over with each event, so nobody has to keep a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// What a policy may care for.
    pub route: RouteRequest<'a>,
    /// Which model was asked for, where the body says so.
    pub model: Option<&'a str>,
    /// Who asks: requests of one tenant share one place in the queue's turns. Empty: whoever says nothing.
    pub tenant: &'a str,
    /// About how much work it is, in tokens: those of the prompt, and the most that may be generated.
    pub cost: u32,
    /// How long the client wants to wait for the end of the answer, where it says so.
    pub patience: Option<Duration>,
    /// The head as an endpoint gets it: the request line and a line for each field. Empty where there is none.
    pub head: &'a [u8],
    /// Whether serving it twice does nothing twice. One that does is sent again only where no endpoint has begun with it.
    pub repeatable: bool,
    /// What it needs, where somebody looks at that.
    pub asks: Option<Asks<'a>>,
}

impl Arrival<'_> {
    /// A request of which only its number is known.
    #[must_use]
    pub fn new(id: u64) -> Self {
        let route = RouteRequest::new(id);
        Self {
            route,
            model: None,
            tenant: "",
            cost: 1,
            patience: None,
            head: &[],
            repeatable: true,
            asks: None,
        }
    }
}

/// What happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is there. The first event of every request.
    Arrived,
    /// It waited, and now it is its turn; or it was thrown out of the queue.
    Turn,
    /// An attempt's answer has begun: its status, and how long to stay away, where the answer says so. A status is not a
    /// token: model servers say 200 as soon as they have read the request.
    Head {
        /// Whose.
        attempt: Attempt,
        /// The HTTP status, 200 or higher.
        status: u16,
        /// The header `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The first byte of an attempt's body.
    FirstByte {
        /// Whose.
        attempt: Attempt,
    },
    /// An attempt's answer is complete.
    Finished {
        /// Whose.
        attempt: Attempt,
    },
    /// Nothing more comes from an attempt.
    Failed {
        /// Whose.
        attempt: Attempt,
        /// Why.
        why: Failure,
    },
    /// The client hung up.
    ClientGone,
    /// The time that was asked for by [`Action::WakeAt`] is there, or an earlier one was.
    Due,
}

/// Why an attempt ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Nobody took the connection.
    Connect,
    /// The connection broke.
    Broken,
    /// What came is no HTTP.
    Malformed,
    /// It began, and then nothing came for too long.
    Stalled,
}

/// What the shell has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send the request there.
    Start {
        /// Under this number.
        attempt: Attempt,
        /// Where.
        endpoint: EndpointId,
    },
    /// What this attempt said, and what it will say, is the client's answer. At most once a request.
    Relay {
        /// Whose.
        attempt: Attempt,
    },
    /// Hang up, so that the endpoint stops to work on it. No event of this attempt follows.
    Cancel {
        /// Whose.
        attempt: Attempt,
    },
    /// Answer so; nothing was relayed. Ends the request.
    Refuse(Refusal),
    /// End the relayed answer before its end: a stream by an error event, anything else by hanging up. Ends the request.
    CutOff(Reason),
    /// Tell [`Event::Due`] at this time. A later order of this kind replaces the one before.
    WakeAt(Duration),
}

/// An answer of the router's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Why, which decides the status.
    pub reason: Reason,
    /// When to come again.
    pub retry_after: Option<Duration>,
}

/// Why a request gets no answer, or not all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The queue is full, or whoever chooses wants nobody to have it.
    Shed,
    /// It waited in the queue for as long as one may.
    QueueTimeout,
    /// No endpoint is ready.
    NobodyReady,
    /// The router is about to end.
    Draining,
    /// It took longer than it may.
    Deadline,
    /// The endpoint failed, and there was no budget or nobody else to try.
    EndpointFailed,
    /// No route takes it.
    NoRoute,
    /// A route takes it, and leads to a backend that does not exist.
    NoBackend,
    /// Nobody knows what is asked for: the model, or the path.
    Unknown,
    /// Nobody could ever serve it as it is.
    Unable,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Shed,
        Self::QueueTimeout,
        Self::NobodyReady,
        Self::Draining,
        Self::Deadline,
        Self::EndpointFailed,
        Self::NoRoute,
        Self::NoBackend,
        Self::Unknown,
        Self::Unable,
    ];

    /// The HTTP status that says so: 429 asks a client to send less, 503 to come again, 504 and 502 blame what is behind
    /// the router, 404 and 400 ask it to send something else. 500 is the Gateway API's for routes that lead nowhere.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Shed | Self::QueueTimeout => 429,
            Self::NobodyReady | Self::Draining => 503,
            Self::Deadline => 504,
            Self::EndpointFailed => 502,
            Self::NoRoute => 404,
            Self::NoBackend => 500,
            Self::Unknown => 404,
            Self::Unable => 400,
        }
    }

    /// For metrics.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Shed => "shed",
            Self::QueueTimeout => "queue_timeout",
            Self::NobodyReady => "nobody_ready",
            Self::Draining => "draining",
            Self::Deadline => "deadline",
            Self::EndpointFailed => "endpoint_failed",
            Self::NoRoute => "no_route",
            Self::NoBackend => "no_backend",
            Self::Unknown => "unknown",
            Self::Unable => "unable",
        }
    }
}
