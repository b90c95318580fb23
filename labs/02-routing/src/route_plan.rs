//! Given: what a route means for requests that come now. Whoever follows the cluster publishes a [`Plan`]; whoever routes reads it.
//!
//! Pure: a request's head and a plan come in, a backend comes out. The rules of task 2.6 say which rule and which part of it, and
//! the position of task 2.4 says where in the split a request stands: the same session is always at the same place, so a larger
//! weight keeps who is there already.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use discovery::{BackendRef, HttpRoute};
use routing::{Arrival, EndpointId, Reason};

use crate::gateway::{Asked, Unrouted, best, split};
use crate::split::position;

/// The number of a backend, which no other gets for as long as the router lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendNo(pub u32);

/// What a route leads to: a Service's port, or a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A Service, and which of its ports.
    Service(String, u16),
    /// An InferencePool.
    Pool(String),
}

/// What whoever follows the cluster and whoever routes tell each other of a backend.
#[derive(Debug, Default)]
pub struct Gauges {
    open: AtomicU32,
    ready: AtomicU32,
}

/// A backend that is followed. It may be in the route, come into it soon, or have left it with requests under way.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Who.
    pub no: BackendNo,
    /// What.
    pub target: Target,
    /// Whether it is known not to exist: then its part of the requests gets 500.
    pub missing: bool,
    /// How it is.
    pub gauges: Arc<Gauges>,
}

/// Where the route is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Known {
    /// Nobody has said yet.
    #[default]
    Unknown,
    /// There is none, or none that was ever accepted.
    Absent,
    /// This one.
    Route(Box<HttpRoute>),
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// To whom.
    pub backend: &'a Backend,
    /// How long the route lets it take.
    pub timeout: Option<Duration>,
}

/// All that has to be known to route a request.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The route.
    pub route: Known,
    /// The backends.
    pub backends: Vec<Backend>,
    /// Whose an endpoint is.
    pub endpoints: BTreeMap<EndpointId, BackendNo>,
}

/// The plan of now, shared by whoever follows the cluster and whoever routes.
#[derive(Debug, Clone, Default)]
pub struct Planned(Arc<RwLock<Arc<Plan>>>);

// === impl Planned ===

impl Planned {
    /// From now on this one.
    pub fn set(&self, plan: Plan) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
    }

    /// The last one.
    #[must_use]
    pub fn get(&self) -> Arc<Plan> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl Gauges ===

impl Gauges {
    /// Requests that it has, or that wait for it.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Acquire)
    }

    /// Endpoints of it that are ready and well.
    #[must_use]
    pub fn ready(&self) -> u32 {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn set_ready(&self, count: u32) {
        self.ready.store(count, Ordering::Release);
    }
}

// === impl Target ===

impl Target {
    /// What a reference in a route of `namespace` means. `None`: nothing that can exist for us. References into other namespaces need
    /// a ReferenceGrant, which is not read.
    #[must_use]
    pub fn of(backend: &BackendRef, namespace: &str) -> Option<Self> {
        let name = backend.name.clone();
        let target = match &*backend.kind {
            "Service" => Self::Service(name, backend.port?),
            _ => Self::Pool(name),
        };
        target.is(backend, namespace).then_some(target)
    }

    /// For logs and metrics.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Service(name, port) => format!("{name}:{port}"),
            Self::Pool(name) => format!("pool/{name}"),
        }
    }

    /// Whether a reference in a route of `namespace` means it.
    fn is(&self, backend: &BackendRef, namespace: &str) -> bool {
        let (group, kind, name, port) = match self {
            Self::Service(name, port) => ("", "Service", name, Some(*port)),
            Self::Pool(name) => ("inference.networking.k8s.io", "InferencePool", name, None),
        };
        backend.namespace.as_deref().is_none_or(|other| other == namespace)
            && (&*backend.group, &*backend.kind, &backend.name) == (group, kind, name)
            && port.is_none_or(|port| backend.port == Some(port))
    }
}

/// All that a route leads to, each once, in its order; also what has weight 0 now.
#[must_use]
pub fn targets(route: &HttpRoute) -> Vec<Target> {
    let mut all = Vec::new();
    for backend in route.spec.rules.iter().flat_map(|rule| &rule.backend_refs) {
        if let Some(target) = Target::of(backend, &route.metadata.namespace)
            && !all.contains(&target)
        {
            all.push(target);
        }
    }
    all
}

// === impl Plan ===

impl Plan {
    /// Where a request goes.
    ///
    /// # Errors
    /// Why nowhere.
    pub fn destination(&self, about: &Arrival<'_>) -> Result<Destination<'_>, Reason> {
        let route = match &self.route {
            Known::Unknown => return Err(Reason::NobodyReady),
            Known::Absent => return Err(Reason::NoRoute),
            Known::Route(route) => route,
        };
        let asked = asked(about.head, route).ok_or(Reason::NoRoute)?;
        let rule = best(std::slice::from_ref(route), &asked).ok_or(Reason::NoRoute)?;
        let namespace = &route.metadata.namespace;
        let find = |wanted: &BackendRef| {
            let is = |backend: &&Backend| backend.target.is(wanted, namespace);
            self.backends.iter().filter(|backend| !backend.missing).find(is)
        };
        let number = about.route.id.to_be_bytes();
        let key = about.route.session.map_or(&number[..], str::as_bytes);
        let total: u64 = rule.backend_refs.iter().map(|backend| u64::from(backend.weight)).sum();
        // The position is anywhere in 64 bits; the ticket is at the same place in the sum of all weights.
        let position = position(&route.metadata.name, key);
        let ticket = (u128::from(position) * u128::from(total)) >> 64;
        let ticket = u64::try_from(ticket).unwrap_or(u64::MAX);
        let chosen = split(&rule.backend_refs, |wanted| find(wanted).is_some(), ticket);
        let chosen = chosen.map_err(|unrouted| match unrouted {
            Unrouted::NoRule => Reason::NoRoute,
            Unrouted::NoBackend => Reason::NoBackend,
        })?;
        let backend = find(chosen).ok_or(Reason::NoBackend)?;
        Ok(Destination { backend, timeout: rule.timeouts.request })
    }
}

/// What of a head the route looks at. `None`: it is no head.
fn asked(head: &[u8], route: &HttpRoute) -> Option<Asked> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
    let mut words = std::str::from_utf8(lines.next()?).ok()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let matches = || route.spec.rules.iter().flat_map(|rule| &rule.matches);
    let wants = |name: &str| {
        let mut names = matches().flat_map(|each| &each.headers);
        names.any(|wanted| wanted.name.eq_ignore_ascii_case(name))
    };
    let field = |line: &[u8]| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        wants(name).then(|| (name.to_owned(), value.trim().to_owned()))
    };
    let headers = if matches().any(|each| !each.headers.is_empty()) {
        lines.filter_map(field).collect()
    } else {
        Vec::new()
    };
    let query = if matches().any(|each| !each.query_params.is_empty()) {
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    } else {
        Vec::new()
    };
    Some(Asked { method: method.to_owned(), path: path.to_owned(), headers, query })
}

#[cfg(test)]
mod tests {
    use discovery::{HttpRouteSpec, Meta, PathMatch, RouteMatch, RouteRule, ValueMatch};

    use super::*;

    fn service(name: &str, weight: u32) -> BackendRef {
        BackendRef { name: name.to_owned(), port: Some(80), weight, ..BackendRef::default() }
    }

    fn plan(rules: Vec<RouteRule>) -> Plan {
        let metadata =
            Meta { namespace: "lab".to_owned(), name: "engine".to_owned(), ..Meta::default() };
        let route = HttpRoute { metadata, spec: HttpRouteSpec { rules } };
        let backends = (0..).zip(targets(&route)).map(|(no, target)| Backend {
            no: BackendNo(no),
            target,
            missing: false,
            gauges: Arc::default(),
        });
        let backends = backends.collect();
        Plan { backends, route: Known::Route(Box::new(route)), endpoints: BTreeMap::new() }
    }

    fn weights(stable: u32, canary: u32) -> Plan {
        let backend_refs = vec![service("stable", stable), service("canary", canary)];
        plan(vec![RouteRule { backend_refs, ..RouteRule::default() }])
    }

    fn to(plan: &Plan, id: u64, head: &str) -> Result<u32, Reason> {
        let about = Arrival { head: head.as_bytes(), ..Arrival::new(id) };
        plan.destination(&about).map(|to| to.backend.no.0)
    }

    const HEAD: &str =
        "POST /v1/completions?beta=a%20b HTTP/1.1\r\nHost: h\r\nX-Tier: gold\r\n\r\n";

    #[test]
    fn weights_are_parts_and_a_larger_one_keeps_whoever_is_there() {
        let at = |plan: &Plan| -> Vec<u64> {
            (0..10_000).filter(|id| to(plan, *id, HEAD) == Ok(1)).collect()
        };
        let (none, few, many) = (at(&weights(1, 0)), at(&weights(90, 10)), at(&weights(10, 90)));
        assert!(none.is_empty());
        assert!((900..1100).contains(&few.len()) && (8900..9100).contains(&many.len()));
        assert!(few.iter().all(|id| many.contains(id)), "the canary's stay at the canary");
        assert_eq!(at(&weights(900_000, 100_000)), few, "only the ratio counts");
        let session = |id| {
            let about = Arrival { head: HEAD.as_bytes(), ..Arrival::new(id) };
            let route = routing::RouteRequest { session: Some("anna"), ..about.route };
            weights(1, 1).destination(&Arrival { route, ..about }).map(|to| to.backend.no)
        };
        assert!((1..50).all(|id| session(id) == session(0)), "a conversation stays where it is");
    }

    #[test]
    fn a_backend_that_is_missing_keeps_its_part_and_answers_500() {
        let mut plan = weights(1, 1);
        plan.backends[1].missing = true;
        let outcomes: Vec<_> = (0..100).map(|id| to(&plan, id, HEAD)).collect();
        let lost = outcomes.iter().filter(|outcome| **outcome == Err(Reason::NoBackend)).count();
        assert!((30..70).contains(&lost) && outcomes.iter().all(|each| *each != Ok(1)), "{lost}");
        assert_eq!(to(&weights(0, 0), 0, HEAD), Err(Reason::NoBackend));
        let elsewhere = BackendRef { namespace: Some("other".to_owned()), ..service("stable", 1) };
        let portless = BackendRef { port: None, ..service("stable", 1) };
        let odd = BackendRef { kind: "Bucket".to_owned(), ..service("stable", 1) };
        for backend in [elsewhere, portless, odd] {
            let rule = RouteRule { backend_refs: vec![backend], ..RouteRule::default() };
            assert_eq!(to(&plan_of(rule), 0, HEAD), Err(Reason::NoBackend));
        }
    }

    fn plan_of(rule: RouteRule) -> Plan {
        plan(vec![rule])
    }

    #[test]
    fn rules_see_method_path_fields_and_query() {
        let pair =
            |name: &str, value: &str| ValueMatch { name: name.to_owned(), value: value.to_owned() };
        let rule = |each: RouteMatch, name: &str| RouteRule {
            matches: vec![each],
            backend_refs: vec![service(name, 1)],
            ..RouteRule::default()
        };
        let path = PathMatch::PathPrefix("/v1".to_owned());
        let plain = RouteMatch { path, ..RouteMatch::default() };
        let gold = RouteMatch { headers: vec![pair("x-tier", "gold")], ..plain.clone() };
        let beta = RouteMatch { query_params: vec![pair("beta", "a b")], ..plain.clone() };
        let get = RouteMatch { method: Some("GET".to_owned()), ..plain.clone() };
        let plan = plan(vec![
            rule(plain, "plain"),
            rule(beta, "beta"),
            rule(gold, "gold"),
            rule(get, "get"),
        ]);
        let name = |head: &str| {
            let about = Arrival { head: head.as_bytes(), ..Arrival::new(0) };
            plan.destination(&about).map(|to| to.backend.target.label())
        };
        assert_eq!(name(HEAD), Ok("gold:80".to_owned()), "a field counts more than a parameter");
        assert_eq!(name(&HEAD.replace("gold", "tin")), Ok("beta:80".to_owned()));
        assert_eq!(name(&HEAD.replace("POST", "GET")), Ok("get:80".to_owned()));
        assert_eq!(name("POST /v1/models HTTP/1.1\r\nHost: h\r\n\r\n"), Ok("plain:80".to_owned()));
        assert_eq!(name("POST /generate HTTP/1.1\r\nHost: h\r\n\r\n"), Err(Reason::NoRoute));
        assert_eq!(name(""), Err(Reason::NoRoute));
    }

    #[test]
    fn unknown_is_not_absent() {
        assert_eq!(to(&Plan::default(), 0, HEAD), Err(Reason::NobodyReady));
        assert_eq!(
            to(&Plan { route: Known::Absent, ..Plan::default() }, 0, HEAD),
            Err(Reason::NoRoute)
        );
    }
}
