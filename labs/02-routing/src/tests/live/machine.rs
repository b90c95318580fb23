//! Whether the machine lets a check run at all: a thread that sleeps, and sees how much too late it wakes up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// From one look to the next.
const BEAT: Duration = Duration::from_millis(20);
/// Whoever runs this much too late breaks limits that nobody else would: a router has 2 s for a connection, a page and, in one check,
/// a first byte.
const STILL: Duration = Duration::from_secs(1);

/// A machine that is watched, for as long as somebody asks.
pub(super) struct Machine(Arc<AtomicU64>);

// === impl Machine ===

impl Machine {
    pub(super) fn watched() -> Self {
        let longest = Arc::new(AtomicU64::new(0));
        let told = Arc::downgrade(&longest);
        std::thread::spawn(move || {
            let mut last = Instant::now();
            while let Some(longest) = told.upgrade() {
                longest.fetch_max(late(last.elapsed()), Ordering::Relaxed);
                last = Instant::now();
                // Not held while nobody looks: it ends with the check.
                drop(longest);
                std::thread::sleep(BEAT);
            }
        });
        Self(longest)
    }

    /// The longest time for which nothing ran, where it was long enough to explain what failed.
    pub(super) fn stood_still(&self) -> Option<Duration> {
        let longest = Duration::from_millis(self.0.load(Ordering::Relaxed));
        (longest >= STILL).then_some(longest)
    }
}

/// How much longer than a beat it took, in milliseconds.
fn late(took: Duration) -> u64 {
    u64::try_from(took.saturating_sub(BEAT).as_millis()).unwrap_or(u64::MAX)
}
