//! Task 2.6, Kubernetes-native, its second part: what an HTTPRoute of the Gateway API means.
//!
//! Pure: routes and a request come in, a backend or a status code comes out. Which backend has which replicas is not known here.
//!
//! Source: <https://gateway-api.sigs.k8s.io/reference/api-spec/main/spec/#httprouterule>, version 1.6.

use std::cmp::Reverse;

use discovery::{BackendRef, HttpRoute, PathMatch, RouteMatch, RouteRule};

/// A request, as far as a route looks at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// In upper case.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Names in any case, as they came.
    pub headers: Vec<(String, String)>,
    /// The query's parameters, decoded, as they came.
    pub query: Vec<(String, String)>,
}

/// Why a request has no backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unrouted {
    /// 404: nobody wants it.
    #[error("no route takes this request")]
    NoRule,
    /// 500: a rule wants it, and its part of the requests goes to a backend that does not exist.
    #[error("the route leads nowhere")]
    NoBackend,
}

impl Unrouted {
    /// The status code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::NoRule => 404,
            Self::NoBackend => 500,
        }
    }
}

/// Whether a request satisfies a match.
#[must_use]
pub fn matches(of: &RouteMatch, asked: &Asked) -> bool {
    // All parts must hold.
    // - `Exact` is byte for byte. `PathPrefix` is element by element, and a `/` at its end says nothing: `/v1` and `/v1/` match `/v1`,
    //   `/v1/` and `/v1/models`, and not `/v10`. `/` matches everything.
    // - The method, where one is named.
    // - Each header and each parameter has the value that is asked for. Names of headers know no case, names of parameters do. Where
    //   the match names a header twice, only the first counts; where the request has it twice, its values count as one text, with
    //   commas between (RFC 9110, section 5.3). Of a parameter that comes twice, the first counts. (`first_of_each` helps.)
    // ANCHOR: task_2_6_matches
    let path = match &of.path {
        PathMatch::Exact(path) => asked.path == *path,
        PathMatch::PathPrefix(prefix) => {
            let rest = asked.path.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    };
    let method = of.method.as_ref().is_none_or(|method| *method == asked.method);
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let headers = first_of_each(&of.headers, same).all(|wanted| {
        let values = asked.headers.iter().filter(|(name, _)| same(name, &wanted.name));
        let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        !values.is_empty() && values.join(",") == wanted.value
    });
    let query = first_of_each(&of.query_params, |a, b| a == b).all(|wanted| {
        let found = asked.query.iter().find(|(name, _)| *name == wanted.name);
        found.is_some_and(|(_, value)| *value == wanted.value)
    });
    path && method && headers && query
    // ANCHOR_END: task_2_6_matches
}

/// Of entries with the same name, the first.
fn first_of_each(
    all: &[discovery::ValueMatch],
    same: impl Fn(&str, &str) -> bool,
) -> impl Iterator<Item = &discovery::ValueMatch> {
    let is_first =
        move |index: usize| all[..index].iter().all(|e| !same(&e.name, &all[index].name));
    let firsts: Vec<_> = (0..all.len()).filter(|index| is_first(*index)).collect();
    firsts.into_iter().map(|index| &all[index])
}

/// The rule that a request belongs to, of all rules of all routes.
#[must_use]
pub fn best<'r>(routes: &'r [HttpRoute], asked: &Asked) -> Option<&'r RouteRule> {
    // Of all matches of all rules that hold (a rule without matches has one, `RouteMatch::default()`), the one that comes first:
    // 1. an `Exact` path, before every prefix;
    // 2. the prefix with more characters;
    // 3. one that names a method;
    // 4. more headers;
    // 5. more parameters.
    // Between routes then the older one, then the one whose "namespace/name" comes first; within a route the rule that stands first.
    // ANCHOR: task_2_6_best
    let always = [RouteMatch::default()];
    let mut held = Vec::new();
    for route in routes {
        let meta = &route.metadata;
        let name = format!("{}/{}", meta.namespace, meta.name);
        for (position, rule) in route.spec.rules.iter().enumerate() {
            let all = if rule.matches.is_empty() { &always[..] } else { &rule.matches };
            for each in all.iter().filter(|each| matches(each, asked)) {
                let (exact, length) = match &each.path {
                    PathMatch::Exact(path) => (true, path.chars().count()),
                    PathMatch::PathPrefix(prefix) => (false, prefix.chars().count()),
                };
                let specific = (exact, length, each.method.is_some());
                let specific = (specific, each.headers.len(), each.query_params.len());
                let order = (meta.creation_timestamp.clone(), name.clone(), position);
                held.push(((Reverse(specific), order), rule));
            }
        }
    }
    held.into_iter().min_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, rule)| rule)
    // ANCHOR_END: task_2_6_best
}

/// The backend whose part of the requests this one is. `ticket` is the request's number in the draw, from 0 to any number, each as
/// likely as the others; equal tickets give equal backends.
///
/// # Errors
/// [`Unrouted::NoBackend`].
pub fn split(
    backends: &[BackendRef],
    exists: impl Fn(&BackendRef) -> bool,
    ticket: u64,
) -> Result<&BackendRef, Unrouted> {
    // Each backend gets `weight` of every `sum of all weights` tickets in a row, in the order of the list: with weights 9 and 1, the
    // tickets 0 to 8 of each ten go to the first. A backend with weight 0 gets nothing. One that does not exist keeps its part, and the
    // requests in it get `NoBackend`: its weight must not move to the others, or a typing error in a canary's name would go unnoticed
    // until it is the only one left. No backend, or no weight at all: `NoBackend`.
    // ANCHOR: task_2_6_split
    let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    let mut place = ticket.checked_rem(total).ok_or(Unrouted::NoBackend)?;
    for backend in backends {
        let weight = u64::from(backend.weight);
        if place < weight {
            return if exists(backend) { Ok(backend) } else { Err(Unrouted::NoBackend) };
        }
        place -= weight;
    }
    Err(Unrouted::NoBackend)
    // ANCHOR_END: task_2_6_split
}

/// Where a request goes.
///
/// # Errors
/// [`Unrouted`].
pub fn route<'r>(
    routes: &'r [HttpRoute],
    asked: &Asked,
    exists: impl Fn(&BackendRef) -> bool,
    ticket: u64,
) -> Result<&'r BackendRef, Unrouted> {
    let rule = best(routes, asked).ok_or(Unrouted::NoRule)?;
    split(&rule.backend_refs, exists, ticket)
}
