//! Waits until programs listen, so that a relay refuses connections exactly as long as its program does.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::Net;
use super::source::{self, Socket};

/// How often is looked while somebody has begun to wait lately.
const QUICK: Duration = Duration::from_millis(4);
/// For how long that is lately.
const LATELY: Duration = Duration::from_secs(3);
/// How often is looked for those who have waited longer.
const SLOW: Duration = Duration::from_millis(100);

/// Who waits for which address and port.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    waiting: Mutex<HashMap<(Ipv4Addr, u16), Vec<Waiter>>>,
    news: Notify,
}

#[derive(Debug)]
struct Waiter {
    since: Instant,
    sender: oneshot::Sender<Found>,
}

/// How a program listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// On the address that it was told to bind.
    Here,
    /// On all addresses of the machine: the pod's advertised one, too.
    Everywhere,
}

impl Listeners {
    fn waiting(&self) -> MutexGuard<'_, HashMap<(Ipv4Addr, u16), Vec<Waiter>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until somebody listens there.
    pub(super) async fn listening(&self, address: Ipv4Addr, port: u16) -> Found {
        let (sender, receiver) = oneshot::channel();
        let waiter = Waiter { since: Instant::now(), sender };
        self.waiting().entry((address, port)).or_default().push(waiter);
        self.news.notify_one();
        match receiver.await {
            Ok(found) => found,
            // The agent ends.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Looks for listeners as long as the agent runs.
pub(super) async fn watch(net: Net) {
    let listeners = &net.inner.listeners;
    loop {
        let newest = {
            let mut waiting = listeners.waiting();
            waiting.retain(|_, all| {
                all.retain(|one| !one.sender.is_closed());
                !all.is_empty()
            });
            waiting.values().flatten().map(|one| one.since).max()
        };
        let Some(newest) = newest else {
            listeners.news.notified().await;
            continue;
        };
        look(listeners);
        let pause = if newest.elapsed() < LATELY { QUICK } else { SLOW };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = listeners.news.notified() => tokio::time::sleep(QUICK / 2).await,
        }
    }
}

fn look(listeners: &Listeners) {
    let open: Vec<Socket> = source::sockets().into_iter().filter(|one| one.listens).collect();
    let mut waiting = listeners.waiting();
    waiting.retain(|(address, port), all| {
        let has = |at: Ipv4Addr| open.iter().any(|one| one.local == (at, *port));
        let found = if has(*address) {
            Found::Here
        } else if has(Ipv4Addr::UNSPECIFIED) {
            Found::Everywhere
        } else {
            return true;
        };
        for one in all.drain(..) {
            let _waits_no_more = one.sender.send(found);
        }
        false
    });
}
