//! Copies of requests (task 2.4): what can be typed about them, and which requests may be served twice.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lab02_routing::shadow::{Mirrored, SHADOW_HEADER, Shadow};
use lab02_routing::split::Share;
use proxy::{Original, Shadowing};

/// Paths whose bodies say whether serving them twice does something twice.
const READ: [&str; 3] = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"];

/// A server that gets copies.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Shadow")]
pub(crate) struct Copying {
    /// Send copies of requests there, and throw the answers away
    #[arg(long = "shadow", value_name = "URL", conflicts_with = "picker")]
    pub(crate) url: Option<String>,
    /// What part of the requests, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=100))]
    shadow_share: u16,
    /// Copies at a time at most; one that finds no place is not sent
    #[arg(long, value_name = "COPIES", default_value_t = 8)]
    shadow_limit: usize,
    /// How long a copy may take
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    shadow_timeout: Duration,
}

/// The place of a copy. Dropped, it is free.
struct Place {
    shadow: Arc<Mutex<Shadow>>,
    copy: Option<Mirrored>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(copy) = self.copy.take() {
            self.shadow.lock().unwrap_or_else(PoisonError::into_inner).ended(copy);
        }
    }
}

impl Copying {
    /// Copies for the server at this address.
    pub(crate) fn to(&self, address: SocketAddr) -> Shadowing {
        let share = Share::percent(self.shadow_share);
        let shadow = Arc::new(Mutex::new(Shadow::new("router", share, self.shadow_limit)));
        let draw = move |original: Original<'_>| {
            if !READ.contains(&original.path) || !original.repeatable {
                return None;
            }
            let copy = {
                let mut shadow = shadow.lock().unwrap_or_else(PoisonError::into_inner);
                shadow.mirror(original.id, true)?
            };
            Some(Box::new(Place { shadow: shadow.clone(), copy: Some(copy) }) as Box<dyn Send>)
        };
        let timeout = self.shadow_timeout;
        Shadowing { address, timeout, header: SHADOW_HEADER, draw: Arc::new(draw) }
    }
}
