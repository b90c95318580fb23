//! Hears one publisher for as long as it is there, and says what was missed.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::batch::{Batch, DecodeError};
use crate::connection::{Connection, ConnectionError, Patience};

/// How a publisher is heard.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Only batches whose topic begins with this; empty: all.
    pub topic: String,
    /// How long it may take to accept, to greet, and to take what we write.
    pub reply: Duration,
    /// How long it may be silent before it is asked whether it is there, and how long it has then.
    pub silence: Duration,
    /// The wait before the second try to connect. It doubles from try to try.
    pub first_wait: Duration,
    /// The longest.
    pub longest_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            topic: String::new(),
            reply: Duration::from_secs(5),
            silence: Duration::from_secs(10),
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(10),
        }
    }
}

/// What a subscriber has to say.
#[derive(Debug)]
pub enum Update {
    /// It is connected, and has said what it wants. What happened before is not known.
    Joined,
    /// Something happened to the cache.
    Batch(Batch),
    /// Something happened and is not known: forget what this endpoint told.
    Lost(Loss),
    /// A message came that is none. What it said is not known; the next may be good.
    Unreadable(Unreadable),
    /// There is no connection, and this try brought none. There will be another.
    Away(ConnectionError),
}

/// Why something was missed.
#[derive(Debug, thiserror::Error)]
pub enum Loss {
    /// Batches are missing: the publisher drops what a slow subscriber does not take.
    #[error("batch {came} came where {expected} was next")]
    Gap {
        /// The number that was next.
        expected: u64,
        /// The number that came.
        came: u64,
    },
    /// The connection ended. Perhaps the engine did too, and its cache is empty.
    #[error(transparent)]
    Connection(ConnectionError),
}

/// What is wrong with a message.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not topic, number and batch.
    #[error("a message of {0} parts, and KV events have three: topic, number, batch")]
    Parts(usize),
    /// Not eight bytes.
    #[error("a number of {0} bytes where a batch's has eight")]
    Number(usize),
    /// The batch.
    #[error("batch {0}: {1}")]
    Batch(u64, DecodeError),
}

/// One publisher of KV events, and what is known of it.
pub struct Subscriber {
    address: SocketAddr,
    settings: Settings,
    connection: Option<Connection>,
    /// The number of the next batch, where one has come.
    expected: Option<u64>,
    /// Told after the loss before it.
    waiting: Option<Update>,
    /// Tries in a row that brought nothing.
    failed: u32,
}

// === impl Subscriber ===

impl Subscriber {
    /// Of the publisher at `address`. Connects when asked for the first update.
    #[must_use]
    pub fn new(address: SocketAddr, settings: Settings) -> Self {
        let (connection, expected, waiting) = (None, None, None);
        Self { address, settings, connection, expected, waiting, failed: 0 }
    }

    /// The next update. There is always another: whoever has heard enough drops the subscriber. So is a call that is dropped before it
    /// is ready the last one: it may have been within a write.
    ///
    /// Nothing is queued here: who does not ask is sent no more, once the sockets' buffers are full, and then misses batches.
    pub async fn next(&mut self) -> Update {
        if let Some(update) = self.waiting.take() {
            return update;
        }
        let Some(connection) = &mut self.connection else { return self.join().await };
        match connection.message().await {
            Ok(parts) => self.heard(&parts),
            Err(error) => {
                self.connection = None;
                self.expected = None;
                // Not at once, also after batches: who sends one and hangs up would else be asked all the time.
                self.failed = self.failed.max(1);
                Update::Lost(Loss::Connection(error))
            }
        }
    }

    async fn join(&mut self) -> Update {
        if self.failed > 0 {
            tokio::time::sleep(wait(&self.settings, self.failed, random())).await;
        }
        let patience = Patience { reply: self.settings.reply, silence: self.settings.silence };
        match Connection::open(self.address, self.settings.topic.as_bytes(), patience).await {
            Ok(connection) => {
                self.connection = Some(connection);
                // Only a batch shows that it was worth it: who accepts and hangs up is not asked all the time.
                self.failed = self.failed.saturating_add(1);
                Update::Joined
            }
            Err(error) => {
                self.failed = self.failed.saturating_add(1);
                Update::Away(error)
            }
        }
    }

    /// What a message says. An unreadable batch counts as one that came: it is told as unreadable, not as a gap behind it.
    fn heard(&mut self, parts: &[Bytes]) -> Update {
        let [_topic, number, batch] = parts else {
            return Update::Unreadable(Unreadable::Parts(parts.len()));
        };
        let Some(number) = number.first_chunk().filter(|_| number.len() == 8) else {
            return Update::Unreadable(Unreadable::Number(number.len()));
        };
        let came = u64::from_be_bytes(*number);
        let expected = self.expected.replace(came.wrapping_add(1)).unwrap_or(came);
        let update = match Batch::decode(batch) {
            Ok(batch) => {
                self.failed = 0;
                Update::Batch(batch)
            }
            Err(error) => Update::Unreadable(Unreadable::Batch(came, error)),
        };
        if came == expected {
            return update;
        }
        self.waiting = Some(update);
        Update::Lost(Loss::Gap { expected, came })
    }
}

/// Before a try that follows on `failed` others: twice as long each time, and anything between half of that and all of it, so that
/// not all routers come back at once.
fn wait(settings: &Settings, failed: u32, random: u32) -> Duration {
    let doubled = 2u32.saturating_pow(failed.saturating_sub(1));
    let wait = settings.first_wait.saturating_mul(doubled).min(settings.longest_wait);
    wait / 2 + (wait / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

fn random() -> u32 {
    // The standard library's keys are random; all that is needed is that two routers differ.
    RandomState::new().build_hasher().finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let settings = Settings::default();
        let most = |failed| wait(&settings, failed, u32::MAX);
        assert_eq!(most(1), Duration::from_millis(100));
        assert_eq!(most(3), Duration::from_millis(400));
        assert_eq!(most(8), Duration::from_secs(10));
        assert_eq!(most(u32::MAX), Duration::from_secs(10));
        assert_eq!(wait(&settings, 1, 0), Duration::from_millis(50));
    }
}
