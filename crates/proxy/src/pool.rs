//! Connections to endpoints that wait for their next request. Each thread has its own: a socket stays with the reactor
//! that it was registered with.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use routing::EndpointId;
use tokio::net::TcpStream;

use crate::limits::{MAX_IDLE, MAX_IDLE_TIME};

#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<EndpointId, Vec<Idle>, foldhash::fast::FixedState>>,
}

struct Idle {
    stream: TcpStream,
    since: Duration,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, HashMap<EndpointId, Vec<Idle>, foldhash::fast::FixedState>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, if it still is one.
    pub(crate) fn take(&self, endpoint: EndpointId, now: Duration) -> Option<TcpStream> {
        let mut idle = self.idle();
        let streams = idle.get_mut(&endpoint)?;
        while let Some(Idle { stream, since }) = streams.pop() {
            if now.saturating_sub(since) > MAX_IDLE_TIME {
                // The others wait for even longer.
                streams.clear();
                return None;
            }
            // Costs no system call unless the reactor saw something, which then is the end, or bytes that nobody asked for.
            let quiet = matches!(
                stream.try_read(&mut [0]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock
            );
            if quiet {
                return Some(stream);
            }
        }
        None
    }

    pub(crate) fn put(&self, endpoint: EndpointId, stream: TcpStream, now: Duration) {
        let mut idle = self.idle();
        let streams = idle.entry(endpoint).or_default();
        if streams.len() < MAX_IDLE {
            streams.push(Idle { stream, since: now });
        }
    }

    /// Closes what waited for too long.
    pub(crate) fn sweep(&self, now: Duration) {
        self.idle().retain(|_, streams| {
            streams.retain(|idle| now.saturating_sub(idle.since) <= MAX_IDLE_TIME);
            !streams.is_empty()
        });
    }
}
