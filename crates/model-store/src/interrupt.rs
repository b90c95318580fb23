//! Ctrl-C and SIGTERM as a flag that long work looks at, so that it can clean up behind itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::StoreError;

/// How often waiting code looks at the flag.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// Whether the user wants to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Set by the first SIGINT, SIGTERM or SIGHUP.
    pub(crate) fn on_signals() -> Result<Self, StoreError> {
        let interrupt = Self::default();
        let flag = interrupt.clone();
        ctrlc::set_handler(move || flag.set())
            .map_err(|error| StoreError::Source(format!("cannot handle signals: {error}")))?;
        Ok(interrupt)
    }

    /// Asks to stop.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error once the user wants to stop.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.0.load(Ordering::Relaxed) { Err(StoreError::Interrupted) } else { Ok(()) }
    }
}
