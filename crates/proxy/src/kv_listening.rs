//! Hears all endpoints that tell of their KV caches: a task each, as long as it is a member.
//!
//! What they tell is of tokens, and prompts pass here as text: only that a cache is empty goes on to whoever decides.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kv_events::{Loss, Settings, Subscriber, Update};
use routing::EndpointId;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::cache_report::CacheReport;
use crate::members::Member;

/// How endpoints are heard.
#[derive(Debug, Clone)]
pub struct KvListening {
    /// Where each publishes, at its own address.
    pub port: u16,
    /// Of each connection.
    pub settings: Settings,
    /// Is told when a publisher joins, goes or cannot be read: once, until something else happens to it.
    pub say: fn(&str),
}

/// Hears the members, for as long as somebody may say who they are. What they tell is counted in `report`; of whoever is to be believed to
/// hold nothing any more, `emptied` is told: perhaps a moment after it was a member.
pub async fn hear_members<F>(
    report: Arc<Mutex<CacheReport>>,
    emptied: F,
    mut told: watch::Receiver<Vec<Member>>,
    listening: KvListening,
) where
    F: Fn(EndpointId) + Clone + Send + 'static,
{
    let (heard, tasks) = (BTreeMap::new(), JoinSet::new());
    let mut hearing = Hearing { report, emptied, listening, heard, tasks };
    loop {
        let members = told.borrow_and_update().clone();
        hearing.set_members(&members);
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            Some(ended) = hearing.tasks.join_next() => match ended {
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                _ => {}
            }
        }
    }
}

struct Hearing<F> {
    report: Arc<Mutex<CacheReport>>,
    emptied: F,
    listening: KvListening,
    /// Who is heard, and where.
    heard: BTreeMap<EndpointId, (SocketAddr, AbortHandle)>,
    /// They end by being aborted only.
    tasks: JoinSet<()>,
}

// === impl Hearing ===

impl<F: Fn(EndpointId) + Clone + Send + 'static> Hearing<F> {
    fn set_members(&mut self, members: &[Member]) {
        let now: BTreeMap<_, _> =
            members.iter().map(|member| (member.id, member.address)).collect();
        self.heard.retain(|id, (address, task)| {
            let stays = now.get(id) == Some(address);
            if !stays {
                task.abort();
                lock(&self.report).remove(*id);
            }
            stays
        });
        for (id, address) in now {
            self.heard.entry(id).or_insert_with(|| {
                lock(&self.report).add(id, address);
                let (report, emptied) = (self.report.clone(), self.emptied.clone());
                let publisher = SocketAddr::new(address.ip(), self.listening.port);
                let task = hear(report, emptied, id, publisher, self.listening.clone());
                (address, self.tasks.spawn(task))
            });
        }
    }
}

async fn hear(
    report: Arc<Mutex<CacheReport>>,
    emptied: impl Fn(EndpointId),
    id: EndpointId,
    publisher: SocketAddr,
    listening: KvListening,
) {
    let mut subscriber = Subscriber::new(publisher, listening.settings);
    let mut said = None;
    loop {
        let update = subscriber.next().await;
        // Let go before anybody is told, who may hold a lock of his own meanwhile.
        let is_empty = lock(&report).take(id, &update);
        if is_empty {
            emptied(id);
        }
        if let Some((happened, line)) = line(&update)
            && said.replace(happened) != Some(happened)
        {
            (listening.say)(&format!("KV events of {publisher}: {line}"));
        }
    }
}

fn lock(report: &Mutex<CacheReport>) -> MutexGuard<'_, CacheReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happened to a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happened {
    Joined,
    Gap,
    Ended,
    Away,
    Unreadable,
}

fn line(update: &Update) -> Option<(Happened, String)> {
    Some(match update {
        Update::Batch(_) => return None,
        Update::Joined => (Happened::Joined, "heard from now on".to_owned()),
        Update::Lost(loss @ Loss::Gap { .. }) => {
            (Happened::Gap, format!("{loss}; its cache is believed to be empty"))
        }
        Update::Lost(loss) => {
            (Happened::Ended, format!("{loss}; its cache is believed to be empty"))
        }
        Update::Away(error) => (Happened::Away, format!("{error}; tried again and again")),
        Update::Unreadable(why) => (Happened::Unreadable, format!("not read: {why}")),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use routing::{Direct, KvEvent};

    use super::*;
    use crate::limits::Limits;
    use crate::remembers::Remembers;
    use crate::shared::Shared;

    /// Long enough for a busy machine.
    const LIMIT: Duration = Duration::from_secs(60);
    /// `[1.0, [["BlockStored", [7], nil, [1], 1, nil], ["AllBlocksCleared"]]]`
    const CLEARED: &[u8] =
        b"\x92\xcb\x3f\xf0\0\0\0\0\0\0\x92\x96\xabBlockStored\x91\x07\xc0\x91\x01\x01\xc0\x91\xb0AllBlocksCleared";

    /// The next subscriber, once it has subscribed.
    fn subscriber(publisher: &TcpListener) -> TcpStream {
        let (mut stream, _) = publisher.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut greeting = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL".to_vec();
        greeting.resize(64, 0);
        stream.write_all(&greeting).unwrap();
        stream.write_all(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB").unwrap();
        // Greeting, READY, SUBSCRIBE to all.
        stream.read_exact(&mut [0; 64 + 27 + 12]).unwrap();
        stream
    }

    fn publish(stream: &mut TcpStream, number: u64) {
        let size = u8::try_from(CLEARED.len()).unwrap();
        let number = number.to_be_bytes();
        stream.write_all(&[b"\x01\0\x01\x08", &number[..], &[0, size], CLEARED].concat()).unwrap();
    }

    struct Bed {
        shared: Arc<Shared>,
        policy: Remembers,
        members: watch::Sender<Vec<Member>>,
        publisher: TcpListener,
        listening: KvListening,
    }

    impl Bed {
        fn new() -> Self {
            let publisher = TcpListener::bind("127.0.0.1:0").unwrap();
            let policy = Remembers::default();
            let dispatch = Box::new(Direct::new(policy.clone()));
            let shared = Arc::new(Shared::new(dispatch, Limits::default(), None, None));
            let settings = Settings { first_wait: Duration::from_millis(1), ..Settings::default() };
            let port = publisher.local_addr().unwrap().port();
            let listening = KvListening { port, settings, say: |_line| {} };
            let (members, _) = watch::channel(Vec::new());
            Self { shared, policy, members, publisher, listening }
        }

        /// This one is a member, and no other; its requests go elsewhere than its events.
        fn set_member(&self, id: Option<u32>) {
            let member = |id| Member {
                id: EndpointId(id),
                address: ([127, 0, 0, 1], 1).into(),
                takes_requests: true,
            };
            let members: Vec<_> = id.map(member).into_iter().collect();
            self.shared.set_members(&members);
            self.members.send_replace(members);
        }

        fn hear(&self) -> tokio::task::JoinHandle<()> {
            let told = self.members.subscribe();
            let (report, emptied) = (self.shared.caches(), self.shared.emptied());
            tokio::spawn(hear_members(report, emptied, told, self.listening.clone()))
        }

        fn has_heard(&self, ids: &[u32]) {
            let until = Instant::now() + LIMIT;
            let expected: Vec<_> =
                ids.iter().map(|id| (EndpointId(*id), KvEvent::Cleared)).collect();
            while self.policy.told().heard != expected {
                assert!(Instant::now() < until, "{:?}", self.policy.told());
                std::thread::sleep(Duration::from_millis(5));
            }
        }

        fn page(&self) -> String {
            let mut page = String::new();
            self.shared.write_metrics(&mut page);
            page
        }
    }

    #[tokio::test]
    async fn that_a_cache_is_empty_is_told_and_what_is_in_it_only_counted() {
        let bed = Bed::new();
        bed.set_member(Some(4));
        let hearing = bed.hear();
        let page = tokio::task::spawn_blocking(move || {
            let mut stream = subscriber(&bed.publisher);
            publish(&mut stream, 0);
            bed.has_heard(&[4]);
            // A number is missing.
            publish(&mut stream, 2);
            bed.has_heard(&[4, 4, 4]);
            // The engine ends, and comes back at the same address.
            drop(stream);
            bed.has_heard(&[4; 4]);
            let mut stream = subscriber(&bed.publisher);
            publish(&mut stream, 0);
            bed.has_heard(&[4; 5]);
            bed.page()
        });
        let page = page.await.unwrap();
        let stored = "llm_router_kv_stored_blocks_total{endpoint=\"127.0.0.1:1\"} 3";
        assert!(page.contains(stored), "{page}");
        assert!(page.contains("llm_router_kv_emptied_total{why=\"gap\"} 1"), "{page}");
        assert!(page.contains("llm_router_kv_emptied_total{why=\"connection\"} 1"), "{page}");
        hearing.abort();
    }

    #[tokio::test]
    async fn who_is_no_member_any_more_is_heard_no_more_and_its_successor_is() {
        let bed = Bed::new();
        bed.set_member(Some(1));
        let hearing = bed.hear();
        tokio::task::spawn_blocking(move || {
            let mut first = subscriber(&bed.publisher);
            bed.set_member(Some(2));
            let mut second = subscriber(&bed.publisher);
            assert_eq!(first.read(&mut [0]).unwrap(), 0, "nobody listens there any more");
            publish(&mut second, 0);
            bed.has_heard(&[2]);
            bed.set_member(None);
            assert_eq!(second.read(&mut [0]).unwrap(), 0);
            assert!(!bed.page().contains("endpoint="), "{}", bed.page());
        })
        .await
        .unwrap();
        hearing.abort();
    }
}
