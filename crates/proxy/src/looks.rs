//! Looks that are under way: one at a time at each endpoint, and nobody waits for another.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The shortest time from one round to the next: a timer cannot count nothing.
const SHORTEST: Duration = Duration::from_millis(1);

/// Looks at endpoints, again and again. `K` is what tells one look from another, `T` what it finds.
#[derive(Debug)]
pub struct Looks<K, T> {
    round: Interval,
    tasks: JoinSet<(K, T)>,
    /// Where a look is under way.
    busy: BTreeSet<K>,
}

impl<K: Ord + Copy + Send + 'static, T: Send + 'static> Looks<K, T> {
    /// None yet; a round begins at once, and then so often. Needs a runtime.
    #[must_use]
    pub fn every(time: Duration) -> Self {
        let mut round = interval(time.max(SHORTEST));
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { round, tasks: JoinSet::new(), busy: BTreeSet::new() }
    }

    /// Begins a look, unless one is under way there.
    pub fn begin(&mut self, at: K, look: impl Future<Output = T> + Send + 'static) {
        if self.busy.insert(at) {
            self.tasks.spawn(async move { (at, look.await) });
        }
    }

    /// What a look found that has ended; `None` when the next round is due. Nothing is lost where this is not waited for.
    pub async fn next(&mut self) -> Option<T> {
        tokio::select! {
            _ = self.round.tick() => None,
            Some(ended) = self.tasks.join_next() => match ended {
                Ok((at, found)) => {
                    self.busy.remove(&at);
                    Some(found)
                }
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
        }
    }
}
