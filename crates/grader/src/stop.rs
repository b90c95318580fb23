//! One flag that ends everything: set by Ctrl-C, asked by every wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Handed to all that may take long. Clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything to end. Running builds and checks are killed.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
