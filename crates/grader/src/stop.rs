//! One flag that ends everything: set by Ctrl-C, asked by every wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Handed to all that may take long. Clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    /// Flags that count as this one.
    above: Vec<Arc<AtomicBool>>,
}

impl Stop {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag for a part of the whole: setting it ends that part, and it is set when this one is.
    #[must_use]
    pub fn of_a_part(&self) -> Self {
        let above = self.above.iter().chain([&self.flag]).cloned().collect();
        Self { flag: Arc::default(), above }
    }

    /// Asks everything to end. Running builds and checks are killed.
    pub fn set(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Whether to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        std::iter::once(&self.flag).chain(&self.above).any(|flag| flag.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_alone_or_with_the_whole() {
        let whole = Stop::new();
        let (one, other) = (whole.of_a_part(), whole.of_a_part());
        one.clone().set();
        assert!(one.is_set() && !other.is_set() && !whole.is_set());
        whole.set();
        assert!(other.of_a_part().is_set());
    }
}
