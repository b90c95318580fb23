//! A route from Kubernetes: what can be typed about it, and how its weights reach whoever routes.
//!
//! A change is made before the old is broken: a backend that is new in the route is followed and looked at first, and gets requests
//! when it is known. One that has left the route is followed until its last request has ended. A route that asks for something that
//! the router does not read is refused, and the one before it stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use discovery::{HttpRoute, ReadRoute};
use lab02_routing::route_plan::{Backend, BackendNo, Known, Plan, Planned, Target, targets};
use lab02_routing::slices::Key;
use proxy::{Member, Membership};
use routing::EndpointId;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::kubernetes::Kubernetes;
use crate::route_backend::{News, Place, Watched, begin};

/// Backends that are followed at a time.
const MAX_BACKENDS: usize = 64;
/// News of backends that wait to be read. A watch whose news find no place waits.
const NEWS: usize = 256;
/// How long a route waits for backends that are new in it.
const WARM: Duration = Duration::from_secs(5);
/// How long a backend is followed after it has left the route, at least.
const LINGER: Duration = Duration::from_secs(1);
/// Between two looks while something is waited for.
const TICK: Duration = Duration::from_millis(50);

/// A route that is followed.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Route")]
pub(crate) struct RouteArgs {
    /// Split requests among Services and InferencePools as this HTTPRoute says, whatever it says next
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = [
            "endpoints", "service", "pool", "inference_pool", "picker", "canary_endpoints", "canary_service", "canary_pool",
        ]
    )]
    http_route: Option<String>,
    /// The route's namespace; without it this pod's, or kubectl's
    #[arg(long, value_name = "NAMESPACE", requires = "http_route")]
    namespace: Option<String>,
}

// === impl RouteArgs ===

impl RouteArgs {
    /// Whether there is one.
    pub(crate) fn is_asked(&self) -> bool {
        self.http_route.is_some()
    }

    /// Begins to follow it.
    pub(crate) async fn follow(
        &self,
        kubernetes: &Kubernetes,
        planned: Planned,
        members: Membership,
    ) -> Result<()> {
        let Some(name) = &self.http_route else { return Ok(()) };
        let client = kubernetes.client().await?;
        let namespace =
            self.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let told = discovery::watch_route(&client, &namespace, name);
        let (sender, news) = mpsc::channel(NEWS);
        let following = Following {
            name: format!("{namespace}/{name}"),
            place: Place { client, namespace, zone: kubernetes.zone.clone() },
            planned,
            members,
            sender,
            current: Known::Unknown,
            next: None,
            backends: Vec::new(),
            next_no: 0,
            next_id: 0,
            told: Vec::new(),
        };
        tokio::spawn(following.run(told, news));
        Ok(())
    }
}

/// A backend that is followed.
struct Followed {
    backend: Backend,
    /// `None` as long as nothing is known of it.
    news: Option<News>,
    /// Who its replicas are to the router.
    ids: BTreeMap<Key, EndpointId>,
    /// Since when it is in no route.
    left: Option<Instant>,
    _watched: Watched,
}

/// A route and its backends.
struct Following {
    name: String,
    place: Place,
    planned: Planned,
    members: Membership,
    sender: mpsc::Sender<(BackendNo, News)>,
    /// What counts.
    current: Known,
    /// What will count when its backends are known, or at this time.
    next: Option<(HttpRoute, Instant)>,
    backends: Vec<Followed>,
    next_no: u32,
    next_id: u32,
    /// What the router was told last.
    told: Vec<Member>,
}

// === impl Following ===

impl Following {
    async fn run(
        mut self,
        mut route: watch::Receiver<discovery::Known<ReadRoute>>,
        mut news: mpsc::Receiver<(BackendNo, News)>,
    ) {
        let late = tokio::time::sleep(WARM);
        tokio::pin!(late);
        let mut is_late = false;
        loop {
            let waits = self.next.is_some() || self.backends.iter().any(|each| each.left.is_some());
            tokio::select! {
                changed = route.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let said = route.borrow_and_update().clone();
                    self.hear(said);
                }
                Some((no, news)) = news.recv() => {
                    if let Some(each) = self.backends.iter_mut().find(|each| each.backend.no == no) {
                        each.backend.missing = news == News::Missing;
                        each.news = Some(news);
                    }
                }
                () = &mut late, if !is_late => {
                    is_late = true;
                    if self.current == Known::Unknown && self.next.is_none() {
                        eprintln!(
                            "route {}: nothing is known of it after {WARM:?}, and every request gets 503; is HTTPRoute defined on this \
                             cluster, and may this account list and watch httproutes?",
                            self.name
                        );
                    }
                    continue;
                }
                () = tokio::time::sleep(TICK), if waits => {
                    if !self.settle() {
                        continue;
                    }
                }
            }
            self.settle();
            self.publish();
        }
    }

    /// The route says something else.
    fn hear(&mut self, said: discovery::Known<ReadRoute>) {
        let name = &self.name;
        match said {
            discovery::Known::Unknown => {}
            discovery::Known::Absent => {
                eprintln!("route {name}: there is none; every request gets 404");
                (self.current, self.next) = (Known::Absent, None);
            }
            discovery::Known::Present(Ok(route)) if targets(&route).len() <= MAX_BACKENDS => {
                self.accept(route);
            }
            discovery::Known::Present(Ok(_)) => {
                self.refuse(&[format!("more than {MAX_BACKENDS} backends")]);
            }
            discovery::Known::Present(Err(unread)) => self.refuse(&unread),
        }
    }

    fn accept(&mut self, route: HttpRoute) {
        // Its status may have changed, of which nothing is read.
        let is_current = matches!(&self.current, Known::Route(known) if **known == route);
        self.next = (!is_current).then(|| (route, Instant::now() + WARM));
        let wanted = self.next.iter().flat_map(|(route, _)| targets(route)).collect::<Vec<_>>();
        for target in wanted {
            if self.backends.iter().all(|each| each.backend.target != target) {
                self.begin(target);
            }
        }
    }

    fn refuse(&mut self, unread: &[String]) {
        let stays = match self.current {
            Known::Route(_) => "the route before it stays",
            Known::Unknown | Known::Absent => "every request gets 404",
        };
        let (name, unread) = (&self.name, unread.join(", "));
        eprintln!("route {name} is refused, and {stays}: the router does not read {unread}");
        if self.current == Known::Unknown {
            self.current = Known::Absent;
        }
    }

    fn begin(&mut self, target: Target) {
        let no = BackendNo(self.next_no);
        self.next_no += 1;
        let watched = begin(self.place.clone(), target.clone(), no, self.sender.clone());
        let backend = Backend { no, target, missing: false, gauges: Arc::default() };
        let (ids, left) = (BTreeMap::new(), None);
        self.backends.push(Followed { backend, news: None, ids, left, _watched: watched });
    }

    /// Lets the next route count once its backends are known, and what has left go. Whether something changed.
    fn settle(&mut self) -> bool {
        let now = Instant::now();
        let is_warm = |target: &Target| {
            self.backends.iter().any(|each| each.backend.target == *target && each.is_warm())
        };
        let counts = |(route, due): &mut (HttpRoute, Instant)| {
            *due <= now || targets(route).iter().all(is_warm)
        };
        let promoted = self.next.take_if(counts);
        let changed = promoted.is_some();
        if let Some((route, _)) = promoted {
            eprintln!("route {}: {}", self.name, said(&route));
            for target in targets(&route).iter().filter(|target| !is_warm(target)) {
                eprintln!("route {}: {} is not known yet, or not well", self.name, target.label());
            }
            self.current = Known::Route(Box::new(route));
        }
        let mut wanted = Vec::new();
        if let Known::Route(route) = &self.current {
            wanted.extend(targets(route));
        }
        wanted.extend(self.next.iter().flat_map(|(route, _)| targets(route)));
        for each in &mut self.backends {
            match (wanted.contains(&each.backend.target), each.left) {
                (true, _) => each.left = None,
                (false, None) => each.left = Some(now),
                (false, Some(_)) => {}
            }
        }
        let before = self.backends.len();
        let is_busy = |each: &Followed| each.backend.gauges.open() > 0;
        self.backends.retain(|each| {
            each.left.is_none_or(|left| now.duration_since(left) < LINGER || is_busy(each))
        });
        changed || self.backends.len() != before
    }

    /// Tells the router. First what to do with endpoints, then that they are there.
    fn publish(&mut self) {
        let (mut endpoints, mut members) = (BTreeMap::new(), Vec::new());
        for each in &mut self.backends {
            for member in each.members(&mut self.next_id) {
                endpoints.insert(member.id, each.backend.no);
                members.push(member);
            }
        }
        let backends = self.backends.iter().map(|each| each.backend.clone()).collect();
        self.planned.set(Plan { route: self.current.clone(), backends, endpoints });
        if self.told != members {
            self.members.set(members.clone());
            self.told = members;
        }
    }
}

// === impl Followed ===

impl Followed {
    /// Whether requests may come: it is known who is there, and one of them is well, if there are any.
    fn is_warm(&self) -> bool {
        match &self.news {
            None => false,
            Some(News::Missing) => true,
            Some(News::Replicas(all)) => {
                self.backend.gauges.ready() > 0 || all.iter().all(|(_, _, takes)| !takes)
            }
        }
    }

    /// Its replicas. Who is new gets an id that nobody had.
    fn members(&mut self, next_id: &mut u32) -> Vec<Member> {
        let Some(News::Replicas(all)) = &self.news else {
            self.ids.clear();
            return Vec::new();
        };
        let known = std::mem::take(&mut self.ids);
        let mut fresh = || {
            *next_id = next_id.wrapping_add(1);
            EndpointId(*next_id)
        };
        let member = |(key, address, takes_requests): &(Key, std::net::SocketAddr, bool)| {
            let id = known.get(key).copied().unwrap_or_else(&mut fresh);
            self.ids.insert(key.clone(), id);
            Member { id, address: *address, takes_requests: *takes_requests }
        };
        all.iter().map(member).collect()
    }
}

/// A route in one line.
fn said(route: &HttpRoute) -> String {
    let rule = |rule: &discovery::RouteRule| {
        let each = rule.backend_refs.iter();
        each.map(|backend| format!("{} {}", backend.name, backend.weight))
            .collect::<Vec<_>>()
            .join(", ")
    };
    route.spec.rules.iter().map(rule).collect::<Vec<_>>().join("; ")
}
