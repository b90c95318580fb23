//! Everything that a run is made of.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use workload::{Mix, Request, TimedRequest};

use crate::body::BodyMaker;
use crate::{BodyOptions, Endpoint, LoadError, Target};

/// The longest that one request may take: its times are counted in 32 bits of microseconds.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// The most requests in flight.
pub const MAX_IN_FLIGHT: usize = 1 << 17;
/// The most worker threads.
pub const MAX_THREADS: usize = 64;

/// When requests leave.
#[derive(Debug, Clone)]
pub enum Pace {
    /// At these times, whatever happens to earlier ones.
    Open(Arc<[Duration]>),
    /// As soon as an earlier one ends, so that `concurrency` are always in flight.
    Closed {
        /// How many at once.
        concurrency: NonZeroUsize,
        /// How many in all.
        requests: usize,
        /// No request leaves after this time.
        until: Option<Duration>,
    },
}

/// What requests ask for.
#[derive(Debug, Clone)]
pub enum Source {
    /// Drawn from distributions, with a seed.
    Mix(Mix, u64),
    /// Recorded ones, in order.
    Trace(Arc<[TimedRequest]>),
}

impl Source {
    /// Every `step`-th request from the `first` on.
    pub(crate) fn requests(
        &self,
        first: usize,
        step: usize,
    ) -> Box<dyn Iterator<Item = Request> + Send> {
        match self {
            Self::Mix(mix, seed) => Box::new(mix.requests(*seed).skip(first).step_by(step)),
            Self::Trace(trace) => {
                let trace = Arc::clone(trace);
                let places = (first..trace.len()).step_by(step);
                Box::new(places.map(move |place| trace[place].request.clone()))
            }
        }
    }
}

/// What holds for every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A request that takes longer has failed.
    pub timeout: Duration,
    /// The most requests in flight; what comes on top is recorded as not sent.
    pub max_in_flight: usize,
    /// Worker threads; one sends thousands of streams a second.
    pub threads: usize,
    /// Whether connections carry more than one request.
    pub keep_alive: bool,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) pace: Pace,
    pub(crate) source: Source,
    pub(crate) body: BodyMaker,
    pub(crate) expects_tokens: bool,
    pub(crate) limits: Limits,
}

impl Plan {
    /// Checks that its parts go together.
    ///
    /// # Errors
    /// Where a limit is 0 or too high, or an option does not go with another.
    pub fn new(
        target: &Target,
        address: SocketAddr,
        pace: Pace,
        source: Source,
        options: &BodyOptions,
        limits: Limits,
    ) -> Result<Self, LoadError> {
        let bounded = |what: &str, value: usize, most: usize| match value {
            0 => Err(LoadError::Option(format!("{what} must be at least 1"))),
            value if value > most => Err(LoadError::Option(format!("{what} is at most {most}"))),
            _ => Ok(()),
        };
        bounded("--threads", limits.threads, MAX_THREADS)?;
        bounded("--max-concurrency", limits.max_in_flight, MAX_IN_FLIGHT)?;
        if limits.timeout.is_zero() || limits.timeout > MAX_TIMEOUT {
            return Err(LoadError::Option("--timeout is above 0 and at most one hour".into()));
        }
        match &pace {
            Pace::Open(times) => {
                bounded("the number of requests", times.len(), workload::MAX_REQUESTS)?
            }
            Pace::Closed { concurrency, requests, .. } => {
                bounded("the number of requests", *requests, workload::MAX_REQUESTS)?;
                bounded("--closed", concurrency.get(), limits.max_in_flight)?;
            }
        }
        let body = BodyMaker::new(target, options)?;
        let expects_tokens = options.endpoint != Endpoint::Get;
        Ok(Self { address, pace, source, body, expects_tokens, limits })
    }
}
