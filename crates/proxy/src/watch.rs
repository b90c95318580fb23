//! Asks an endpoint whether it is well, and how loaded it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use routing::{Scrape, Signals};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits::MAX_PAGE;
use crate::members::Member;
use crate::response::{Body, ResponseHead};
use crate::shared::Shared;

/// Reads an endpoint's metrics page; `None` where the page does not say. The number is of the requests that the endpoint has from
/// this router, for what its page leaves out.
pub type Reading = Arc<dyn Fn(&str, u32) -> Option<Seen> + Send + Sync>;

/// What an endpoint's page says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Its load.
    pub signals: Signals,
    /// Whether it sleeps: it is well, and has put its weights away. It gets no requests until it is woken.
    pub asleep: bool,
    /// Adapters that it has in its memory.
    pub adapters: Vec<String>,
}

/// How endpoints are watched.
#[derive(Clone)]
pub struct Watching {
    /// From one look to the next.
    pub every: Duration,
    /// How long an endpoint may take to answer.
    pub timeout: Duration,
    /// The path that says 200 when the endpoint may get requests.
    pub health: String,
    /// The path of its metrics page.
    pub metrics: String,
    /// What is read from that page.
    pub reading: Reading,
}

impl Default for Watching {
    fn default() -> Self {
        Self {
            every: Duration::from_millis(500),
            timeout: Duration::from_secs(2),
            health: "/health".to_owned(),
            metrics: "/metrics".to_owned(),
            reading: Arc::new(of_any_backend),
        }
    }
}

/// From the page of whichever model server it is.
fn of_any_backend(page: &str, in_flight: u32) -> Option<Seen> {
    let kind = backends::detect_page(page)?;
    let reading = backends::read(kind, page).ok()?;
    let adapters = reading.lora.as_ref().map(|lora| lora.running.clone()).unwrap_or_default();
    Some(Seen { signals: reading.signals(in_flight), asleep: reading.asleep, adapters })
}

/// What a look at an endpoint found.
pub(crate) struct Looked {
    pub(crate) at: Arc<Member>,
    /// Whether it may get requests.
    pub(crate) well: bool,
    /// What it says of its load, if it does.
    pub(crate) scrape: Option<Scrape>,
    /// Adapters that it has in its memory.
    pub(crate) adapters: Vec<String>,
}

/// Looks once at an endpoint.
pub(crate) async fn look(shared: Arc<Shared>, at: Arc<Member>, watching: Watching) -> Looked {
    let health = get(at.address, &watching.health, watching.timeout).await;
    if health.is_none_or(|(status, _)| status != 200) {
        return Looked { at, well: false, scrape: None, adapters: Vec::new() };
    }
    let seen = match get(at.address, &watching.metrics, watching.timeout).await {
        Some((200, page)) => (watching.reading)(&page, shared.in_flight(at.id)),
        _ => None,
    };
    let scrape = seen.as_ref().map(|seen| Scrape { signals: seen.signals, at: shared.now() });
    let well = seen.as_ref().is_none_or(|seen| !seen.asleep);
    Looked { at, well, scrape, adapters: seen.map(|seen| seen.adapters).unwrap_or_default() }
}

/// The load that an endpoint tells of when it is asked; `None` where it does not answer, or does not say. What it leaves out counts as
/// nothing: who asks from here has sent it nothing.
pub async fn signals(address: SocketAddr, watching: &Watching) -> Option<Signals> {
    let (status, page) = get(address, &watching.metrics, watching.timeout).await?;
    (watching.reading)(&page, 0).filter(|_| status == 200).map(|seen| seen.signals)
}

/// A page, on a connection of its own.
async fn get(address: SocketAddr, path: &str, limit: Duration) -> Option<(u16, String)> {
    let page = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut bytes = Vec::new();
        let mut piece = vec![0; 16 << 10];
        let (mut head, mut body) = loop {
            let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
            bytes.extend_from_slice(&piece[..count]);
            if let Some((head, length)) = ResponseHead::read(&bytes, false).ok()? {
                break (head, bytes.split_off(length));
            }
        };
        let data = head.body.decode(&mut body).ok()?;
        body.truncate(data);
        while !head.body.is_done() && body.len() < MAX_PAGE {
            let count = stream.read(&mut piece).await.ok()?;
            if count == 0 {
                return (head.body == Body::Close)
                    .then(|| (head.status, String::from_utf8_lossy(&body).into_owned()));
            }
            let data = head.body.decode(&mut piece[..count]).ok()?;
            body.extend_from_slice(&piece[..data]);
        }
        Some((head.status, String::from_utf8_lossy(&body).into_owned()))
    };
    timeout(limit, page).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};

    use routing::{Direct, RoundRobin};

    use super::*;
    use crate::limits::Limits;
    use crate::members::Member;

    /// Says 200 to whatever it is asked, and hangs up.
    fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _asked = stream.read(&mut [0; 1024]);
                let _told = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        });
        address
    }

    #[test]
    fn who_sleeps_is_well_and_not_ready() {
        let asleep = Arc::new(AtomicBool::new(true));
        let says = asleep.clone();
        let reading: Reading = Arc::new(move |_, in_flight| {
            assert_eq!(in_flight, 0);
            let asleep = says.load(Ordering::SeqCst);
            Some(Seen { asleep, ..Seen::default() })
        });
        let timeout = Duration::from_secs(60);
        let watching = Watching { reading, timeout, ..Watching::default() };
        let dispatch = Box::new(Direct::new(RoundRobin::default()));
        let shared = Arc::new(Shared::new(dispatch, Limits::default(), None, None));
        let member = Arc::new(Member::fixed(&[server()])[0]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let look = || look(shared.clone(), member.clone(), watching.clone());
        let looked = runtime.block_on(look());
        assert!(!looked.well && looked.scrape.is_some());
        asleep.store(false, Ordering::SeqCst);
        assert!(runtime.block_on(look()).well);
    }
}
