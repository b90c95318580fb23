//! Looks at all endpoints again and again, at each in its own time.
//!
//! An endpoint that does not answer takes as long as the limit allows. Nobody waits for it: while one hangs, the others' load
//! would else be as old as that, and whoever's load is old counts as saturated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use routing::EndpointId;
use tokio::sync::watch;

use crate::looks::Looks;
use crate::members::Member;
use crate::shared::Shared;
use crate::watch::{Looked, Watching, look};

/// Looks at the endpoints at once when they change, and regularly, for as long as somebody may say who they are. Who is gone is so
/// at once.
pub(crate) async fn watch_members(
    shared: Arc<Shared>,
    mut told: watch::Receiver<Vec<Member>>,
    watching: Watching,
) {
    let mut rounds = Rounds::new(shared, watching);
    rounds.set_members(&told.borrow_and_update().clone());
    loop {
        tokio::select! {
            changed = told.changed() => match changed {
                Ok(()) => rounds.set_members(&told.borrow_and_update().clone()),
                Err(_) => return,
            },
            looked = rounds.looks.next() => match looked {
                Some(looked) => rounds.saw(looked),
                None => rounds.begin(),
            },
        }
    }
}

struct Rounds {
    shared: Arc<Shared>,
    watching: Watching,
    /// Who may get requests if it is well.
    members: BTreeMap<EndpointId, Arc<Member>>,
    /// Who was well when last looked at.
    well: BTreeSet<EndpointId>,
    looks: Looks<(EndpointId, SocketAddr), Looked>,
}

impl Rounds {
    fn new(shared: Arc<Shared>, watching: Watching) -> Self {
        let looks = Looks::every(watching.every);
        Self { shared, watching, members: BTreeMap::new(), well: BTreeSet::new(), looks }
    }

    fn set_members(&mut self, told: &[Member]) {
        let members = self.shared.set_members(told);
        self.members = members.into_iter().map(|member| (member.id, member)).collect();
        self.well.retain(|id| self.members.contains_key(id));
        self.begin();
    }

    /// Looks at everybody at whom nobody looks yet. Who is ready is told again each time: what waits for time to pass, such as the
    /// end of an ejection, hears of it so.
    fn begin(&mut self) {
        for member in self.members.values() {
            let (shared, watching) = (self.shared.clone(), self.watching.clone());
            self.looks.begin((member.id, member.address), look(shared, member.clone(), watching));
        }
        self.tell_ready();
    }

    /// Takes over what was seen, unless it was of somebody who is gone.
    fn saw(&mut self, looked: Looked) {
        let id = looked.at.id;
        if self.members.get(&id).is_none_or(|member| member.address != looked.at.address) {
            return;
        }
        let changed = if looked.well { self.well.insert(id) } else { self.well.remove(&id) };
        if changed {
            self.tell_ready();
        }
        // After that: of an endpoint that is new, nothing is kept before it is ready.
        if let Some(scrape) = looked.scrape {
            self.shared.set_scrape(id, scrape);
            if self.shared.reads_features {
                self.shared.set_adapters(id, looked.adapters);
            }
        }
    }

    fn tell_ready(&self) {
        self.shared.set_ready(self.well.iter().copied().collect());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::Duration;

    use routing::{Arrival, Direct, Event, Orders, Policy, RoundRobin, Scrape, Signals};

    use super::*;
    use crate::limits::Limits;
    use crate::remembers::Remembers;

    /// A server that says 200 to everything and tells of each request, unless it hangs.
    fn server(hangs: bool) -> (SocketAddr, Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = sync_channel(1000);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let _told = tell.try_send(());
                if hangs {
                    open.push(stream);
                    continue;
                }
                let _asked = stream.read(&mut [0; 1024]);
                let _said = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        });
        (address, told)
    }

    fn shared(policy: impl Policy + 'static) -> Arc<Shared> {
        Arc::new(Shared::new(Box::new(Direct::new(policy)), Limits::default(), None, None))
    }

    #[tokio::test]
    async fn nobody_waits_for_an_endpoint_that_hangs() {
        let ((hung, hung_asked), (well, well_asked)) = (server(true), server(false));
        let every = Duration::from_millis(1);
        let watching = Watching { every, timeout: Duration::from_secs(600), ..Watching::default() };
        let shared = shared(RoundRobin::default());
        let (_members, told) = watch::channel(Member::fixed(&[hung, well]));
        let watcher = tokio::spawn(watch_members(shared.clone(), told, watching));
        // Two requests a look.
        let asked = tokio::task::spawn_blocking(move || {
            (0..20).for_each(|_| well_asked.recv().unwrap());
            hung_asked.try_iter().count()
        });
        assert_eq!(asked.await.unwrap(), 1, "one look at who hangs, and no second beside it");
        assert_eq!(shared.counts().ready, 1);
        watcher.abort();
    }

    #[tokio::test]
    async fn the_first_word_of_a_new_endpoint_counts() {
        let policy = Remembers::default();
        let shared = shared(policy.clone());
        let mut rounds = Rounds::new(shared.clone(), Watching::default());
        let member = Member::fixed(&["127.0.0.1:1".parse().unwrap()]);
        rounds.set_members(&member);
        let at = rounds.members[&EndpointId(0)].clone();
        let scrape =
            Scrape { signals: Signals { waiting: 3, ..Signals::default() }, at: Duration::ZERO };
        rounds.saw(Looked { at, well: true, scrape: Some(scrape), adapters: Vec::new() });
        let (id, key) = shared.open();
        shared.on(key, &Arrival::new(id), Event::Arrived, &mut Orders::default());
        assert_eq!(policy.told().shown[0].scrape, Some(scrape));
    }

    #[tokio::test]
    async fn a_look_at_who_is_gone_tells_nothing() {
        let shared = shared(RoundRobin::default());
        let mut rounds = Rounds::new(shared.clone(), Watching::default());
        rounds.set_members(&Member::fixed(&["127.0.0.1:1".parse().unwrap()]));
        let at = rounds.members[&EndpointId(0)].clone();
        rounds.set_members(&Member::fixed(&["127.0.0.1:2".parse().unwrap()]));
        rounds.saw(Looked { at, well: true, scrape: None, adapters: Vec::new() });
        assert_eq!(shared.counts().ready, 0);
        rounds.set_members(&[]);
        assert!(rounds.well.is_empty());
    }
}
