//! The one clock of a server: monotonic, and zero when it started.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the server started.
    pub(crate) fn now(self) -> Duration {
        self.start.elapsed()
    }
}

/// Time since 1970.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970, for `created`.
pub(crate) fn unix_seconds() -> u64 {
    unix_now().as_secs()
}
