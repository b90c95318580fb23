//! Copies of requests for a server that answers nobody.
//!
//! Which requests are copied, and how many at a time, is not decided here. A copy is sent beside the request, on a connection of its
//! own; its answer is read and thrown away. It is not tried again, and nobody waits for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::exposition::{MetricFamily, MetricKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits::MAX_RESPONSE_HEAD;
use crate::response::{Body, ResponseHead};

/// Bytes of a shadow's answer that are read at once.
const READ: usize = 16 << 10;

/// A request that may be copied.
#[derive(Debug, Clone, Copy)]
pub struct Original<'a> {
    /// Counts requests, from 0.
    pub id: u64,
    /// Its path, without the query.
    pub path: &'a str,
    /// Whether serving it twice does nothing twice.
    pub repeatable: bool,
}

/// Draws the requests that are copied. What it returns is dropped when nothing more will come of the copy.
pub type Draw = Arc<dyn Fn(Original<'_>) -> Option<Box<dyn Send>> + Send + Sync>;

/// How requests are copied.
#[derive(Clone)]
pub struct Shadowing {
    /// Who gets the copies.
    pub address: SocketAddr,
    /// How long one may take, from the first byte of the copy to the last of the answer.
    pub timeout: Duration,
    /// A field of each copy, for the logs of whoever gets it.
    pub header: &'static str,
    /// Which.
    pub draw: Draw,
}

/// Copies, and what came of them.
pub(crate) struct Shadow {
    how: Shadowing,
    outcomes: Arc<Outcomes>,
}

#[derive(Default)]
struct Outcomes {
    answered: AtomicU64,
    failed: AtomicU64,
}

// === impl Shadow ===

impl Shadow {
    pub(crate) fn new(how: Shadowing) -> Self {
        Self { how, outcomes: Arc::default() }
    }

    /// Copies a request, if it is drawn. `message` is the whole of it, as an endpoint gets it.
    pub(crate) fn mirror(&self, original: Original<'_>, message: &[u8], to_head: bool) {
        let Some(drawn) = (self.how.draw)(original) else { return };
        let Some(line) = memchr::memmem::find(message, b"\r\n") else { return };
        let (line, rest) = message.split_at(line);
        let field = format!("\r\n{}: 1", self.how.header);
        let copy = [line, field.as_bytes(), rest].concat();
        let (address, limit, outcomes) =
            (self.how.address, self.how.timeout, self.outcomes.clone());
        tokio::spawn(async move {
            let status = timeout(limit, send(address, &copy, to_head)).await.ok().flatten();
            let is_well = status.is_some_and(|status| status < 500);
            let outcome = if is_well { &outcomes.answered } else { &outcomes.failed };
            outcome.fetch_add(1, Ordering::Relaxed);
            drop(drawn);
        });
    }

    /// What came of the copies. The clients' metrics do not count them.
    pub(crate) fn family(&self) -> MetricFamily {
        let mut family = MetricFamily {
            name: "llm_router_shadow_total".to_owned(),
            help: "Copies that have ended, by what came of them.".to_owned(),
            kind: MetricKind::Counter,
            samples: Vec::new(),
        };
        for (outcome, count) in
            [("answered", &self.outcomes.answered), ("failed", &self.outcomes.failed)]
        {
            let label = ("outcome".to_owned(), outcome.to_owned());
            family.add(vec![label], count.load(Ordering::Relaxed) as f64);
        }
        family
    }
}

/// The status of a complete answer.
async fn send(address: SocketAddr, copy: &[u8], to_head: bool) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(copy).await.ok()?;
    let mut piece = vec![0; READ];
    let mut begun = Vec::new();
    let mut head = loop {
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        begun.extend_from_slice(&piece[..count]);
        if let Some((mut head, length)) = ResponseHead::read(&begun, to_head).ok()? {
            head.body.decode(&mut begun[length..]).ok()?;
            break head;
        }
        if begun.len() > MAX_RESPONSE_HEAD {
            return None;
        }
    };
    while !head.body.is_done() {
        let count = stream.read(&mut piece).await.ok()?;
        if count == 0 {
            return (head.body == Body::Close).then_some(head.status);
        }
        head.body.decode(&mut piece[..count]).ok()?;
    }
    Some(head.status)
}
