//! Between whoever connects and the program that serves: passes bytes on, and lets faults happen to them.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apimachinery::Key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::faults::{Link, Partition, Rules};
use super::line::Line;
use super::listeners::Found;
use super::{Net, http_fault, source};

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;
/// Connections of one port at once.
pub(super) const CONNECTIONS: usize = 4096;
/// Pause after an address could not be bound or a connection not accepted.
const RETRY: Duration = Duration::from_millis(50);
/// With limited bandwidth, bytes go in pieces of this part of a second.
const PIECES_A_SECOND: u64 = 50;

/// Makes random numbers differ between connections.
static SEED: AtomicU64 = AtomicU64::new(1);

/// Relays one port of a pod, for as long as it is polled: listens while the program does.
pub(super) async fn pod_port(net: Net, server: Key, at: SocketAddr, to: SocketAddr) {
    let SocketAddr::V4(bind) = to else { return };
    // Ends with this future, and its connections with it.
    let mut connections = JoinSet::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        if net.inner.listeners.listening(*bind.ip(), bind.port()).await == Found::Everywhere {
            // The program took the advertised address as well, so that it is reached without us. Faults cannot bite.
            tracing::debug!(pod = %server.name, %at, "the program listens on all addresses; no relay");
            tokio::time::sleep(RETRY * 10).await;
            continue;
        }
        let listener = match TcpListener::bind(at).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(pod = %server.name, %at, %error, "the pod's address cannot be bound");
                tokio::time::sleep(RETRY * 10).await;
                continue;
            }
        };
        let refused = Arc::new(Notify::new());
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_ended) = connections.join_next() => continue,
                // The program has ended, or is about to.
                () = refused.notified() => break,
            };
            let (client, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%at, %error, "a connection could not be accepted");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                reset(&client);
                continue;
            };
            let (net, server, refused) = (net.clone(), server.clone(), Arc::clone(&refused));
            connections.spawn(async move {
                let _permit = permit;
                let link = Ends { net, server, from, at };
                if connection(link, client, to).await == Outcome::NotListening {
                    refused.notify_one();
                }
            });
        }
    }
}

/// Both ends of a connection.
pub(super) struct Ends {
    pub(super) net: Net,
    /// The pod that serves.
    pub(super) server: Key,
    /// The client's address, and the address that it connected to.
    pub(super) from: SocketAddr,
    pub(super) at: SocketAddr,
}

impl Ends {
    /// Who the client is, if any rule asks.
    pub(super) fn client(&self, rules: &Rules) -> Option<Key> {
        if !rules.ask_for_source(&self.server) {
            return None;
        }
        self.net.client_at(self.from, self.at)
    }
}

/// How a connection went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was passed on.
    Relayed,
    /// Nobody listens behind it.
    NotListening,
}

/// Passes one connection on.
pub(super) async fn connection(ends: Ends, client: TcpStream, to: SocketAddr) -> Outcome {
    let mut follow = ends.net.inner.faults.follow();
    let rules = Arc::clone(&follow.borrow_and_update());
    let source = ends.client(&rules);
    let server = Some(&ends.server);
    let there = rules.link(source.as_ref(), server);
    let back = rules.link(server, source.as_ref());
    if there.partition.or(back.partition) == Some(Partition::Reset) || unlucky(&there, &back) {
        reset(&client);
        return Outcome::Relayed;
    }
    let _slower_without = client.set_nodelay(true);
    if rules.http_for(&ends.server, to.port()).next().is_some() {
        http_fault::serve(ends, client, to, follow).await;
        return Outcome::Relayed;
    }
    let served = match TcpStream::connect(to).await {
        Ok(served) => served,
        Err(error) => {
            reset(&client);
            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
            return if refused { Outcome::NotListening } else { Outcome::Relayed };
        }
    };
    let _slower_without = served.set_nodelay(true);
    relay(ends, source, client, served, follow, (there, back)).await;
    Outcome::Relayed
}

/// Whether the dice take this connection.
fn unlucky(there: &Link, back: &Link) -> bool {
    use rand::{Rng, SeedableRng};
    let passes = there.passes * back.passes;
    passes < 1.0 && rand::rngs::StdRng::seed_from_u64(seed()).random::<f64>() >= passes
}

fn seed() -> u64 {
    let now = jiff::Timestamp::now().as_nanosecond() as u64;
    now ^ SEED.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
}

/// Cuts a connection, so that the other end sees a reset.
pub(super) fn reset(stream: &TcpStream) {
    let _closed_politely = stream.set_zero_linger();
}

async fn relay(
    ends: Ends,
    mut source: Option<Key>,
    mut client: TcpStream,
    mut served: TcpStream,
    mut follow: watch::Receiver<Arc<Rules>>,
    (there, back): (Link, Link),
) {
    // A handshake would have taken a round trip; the kernel's took none.
    let mean = |link: &Link| -> Duration { link.delays.iter().map(|delay| delay.latency).sum() };
    let hold = mean(&there) + mean(&back);
    let port = served.peer_addr().map_or(0, |to| to.port());
    let (there_in, there_out) = watch::channel(there);
    let (back_in, back_out) = watch::channel(back);
    let was_cut = {
        let (from_client, to_client) = client.split();
        let (from_served, to_served) = served.split();
        let both = async {
            tokio::join!(
                pump(from_client, to_served, there_out, hold),
                pump(from_served, to_client, back_out, Duration::ZERO),
            )
        };
        let cut = async {
            while follow.changed().await.is_ok() {
                let rules = Arc::clone(&follow.borrow_and_update());
                source = source.take().or_else(|| ends.client(&rules));
                let server = Some(&ends.server);
                let there = rules.link(source.as_ref(), server);
                let back = rules.link(server, source.as_ref());
                let http = rules.http_for(&ends.server, port).next().is_some();
                if there.partition.or(back.partition) == Some(Partition::Reset) || http {
                    return;
                }
                let _both_run = (
                    there_in.send_if_modified(|now| differs(now, there)),
                    back_in.send_if_modified(|now| differs(now, back)),
                );
            }
            std::future::pending().await
        };
        tokio::select! {
            (one, other) = both => one.is_err() || other.is_err(),
            () = cut => true,
        }
    };
    if was_cut {
        reset(&client);
        reset(&served);
    }
}

fn differs(now: &mut Link, new: Link) -> bool {
    let differs = *now != new;
    *now = new;
    differs
}

/// Passes the bytes of one direction on, to its end.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut links: watch::Receiver<Link>,
    hold: Duration,
) -> io::Result<()> {
    let mut link = links.borrow_and_update().clone();
    // A link that is clear this way may be slow the other way, and the handshake needs both.
    let slow = !link.is_clear() || !hold.is_zero();
    let mut line: Option<Line> = slow.then(|| Line::new(Instant::now(), hold, seed()));
    let mut buffer = vec![0; CHUNK];
    let mut ended = false;
    let mut news = links.clone();
    loop {
        // Waiting for news is set up once, not for every chunk.
        let mut changed = pin!(news.changed());
        loop {
            let shut = link.partition == Some(Partition::Blackhole);
            let due = line.as_ref().and_then(Line::next);
            let may_read = !shut && !ended && line.as_ref().is_none_or(Line::has_room);
            let size = piece(&link);
            tokio::select! {
                read = from.read(&mut buffer[..size]), if may_read => {
                    let read = read?;
                    ended = read == 0;
                    match &mut line {
                        None => to.write_all(&buffer[..read]).await?,
                        Some(line) if !ended => {
                            line.put(Instant::now(), buffer[..read].to_vec(), &link);
                        }
                        Some(_) => {}
                    }
                }
                () = sleep_until(due), if due.is_some() && !shut => {
                    let now = Instant::now();
                    while let Some(bytes) = line.as_mut().and_then(|line| line.take(now)) {
                        to.write_all(&bytes).await?;
                    }
                }
                result = &mut changed => {
                    if result.is_err() {
                        return Ok(());
                    }
                    break;
                }
            }
            let idle = line.as_ref().is_none_or(|line| line.is_idle(Instant::now()));
            if link.is_clear() && idle {
                line = None;
            }
            if ended && !shut && line.as_ref().is_none_or(Line::is_empty) {
                return to.shutdown().await;
            }
        }
        link = links.borrow_and_update().clone();
        if !link.is_clear() && line.is_none() {
            line = Some(Line::new(Instant::now(), Duration::ZERO, seed()));
        }
    }
}

/// Bytes to read at once: fewer where few may pass, so that they come evenly.
fn piece(link: &Link) -> usize {
    match link.bytes_per_second {
        Some(rate) => usize::try_from(rate / PIECES_A_SECOND).unwrap_or(CHUNK).clamp(256, CHUNK),
        None => CHUNK,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Net {
    /// The pod that opened a connection.
    fn client_at(&self, from: SocketAddr, at: SocketAddr) -> Option<Key> {
        let shared = self.inner.shared.get()?.upgrade()?;
        source::pod_of(&shared, from, at)
    }
}
