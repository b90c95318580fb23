//! Checks of task 2.6, Kubernetes-native: what an HTTPRoute means.

use discovery::{
    BackendRef, HttpRoute, HttpRouteSpec, Meta, PathMatch, RouteMatch, RouteRule, ValueMatch,
};
use rand::seq::SliceRandom;
use testbed::{expect_eq, rng};

use crate::gateway::{Asked, Unrouted, matches, route, split};

fn exact(path: &str) -> RouteMatch {
    RouteMatch { path: PathMatch::Exact(path.to_owned()), ..RouteMatch::default() }
}

fn prefix(path: &str) -> RouteMatch {
    RouteMatch { path: PathMatch::PathPrefix(path.to_owned()), ..RouteMatch::default() }
}

fn pair(name: &str, value: &str) -> ValueMatch {
    ValueMatch { name: name.to_owned(), value: value.to_owned() }
}

fn asked(path: &str, headers: &[(&str, &str)]) -> Asked {
    Asked {
        method: "POST".to_owned(),
        path: path.to_owned(),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        query: Vec::new(),
    }
}

fn backend(name: &str, weight: u32) -> BackendRef {
    BackendRef { name: name.to_owned(), weight, ..BackendRef::default() }
}

fn rule(matches: Vec<RouteMatch>, name: &str) -> RouteRule {
    RouteRule { matches, backend_refs: vec![backend(name, 1)], ..RouteRule::default() }
}

fn named(name: &str, created: &str, rules: Vec<RouteRule>) -> HttpRoute {
    HttpRoute {
        metadata: Meta {
            namespace: "lab".to_owned(),
            name: name.to_owned(),
            creation_timestamp: created.to_owned(),
        },
        spec: HttpRouteSpec { rules },
    }
}

/// The name of the backend that a request gets.
fn to(routes: &[HttpRoute], asked: &Asked) -> Result<String, Unrouted> {
    route(routes, asked, |_| true, 0).map(|backend| backend.name.clone())
}

#[test]
fn task_2_6_matches_prefixes_by_whole_elements() {
    for (path, of, expected) in [
        ("/v1/completions", prefix("/v1"), true),
        ("/v1", prefix("/v1"), true),
        ("/v1", prefix("/v1/"), true),
        ("/v1/", prefix("/v1"), true),
        ("/v10/completions", prefix("/v1"), false),
        ("/v", prefix("/v1"), false),
        ("/anything", prefix("/"), true),
        ("/", prefix("/"), true),
        ("/v1/models", exact("/v1/models"), true),
        ("/v1/models/", exact("/v1/models"), false),
        ("/v1/models/a", exact("/v1/models"), false),
    ] {
        let context = format!("path {path} against {:?}", of.path);
        expect_eq(context, expected, matches(&of, &asked(path, &[])));
    }
}

#[test]
fn task_2_6_matches_headers_without_case_and_values_with() {
    let of = |headers: Vec<ValueMatch>| RouteMatch { headers, ..RouteMatch::default() };
    let canary = || pair("X-Canary", "yes");
    for (context, headers, sent, expected) in [
        ("another case of the name", vec![canary()], vec![("x-canary", "yes")], true),
        ("another case of the value", vec![canary()], vec![("x-canary", "Yes")], false),
        ("no such header", vec![canary()], vec![("x-other", "yes")], false),
        ("one of two", vec![canary(), pair("x-tier", "gold")], vec![("x-canary", "yes")], false),
        (
            "both of two",
            vec![canary(), pair("x-tier", "gold")],
            vec![("X-Tier", "gold"), ("X-CANARY", "yes")],
            true,
        ),
        (
            "the match names it twice: the first counts",
            vec![canary(), pair("x-canary", "no")],
            vec![("x-canary", "yes")],
            true,
        ),
        (
            "sent twice: one text with a comma",
            vec![canary()],
            vec![("x-canary", "yes"), ("x-canary", "no")],
            false,
        ),
    ] {
        expect_eq(context, expected, matches(&of(headers), &asked("/", &sent)));
    }
}

#[test]
fn task_2_6_matches_method_and_query() {
    let get = RouteMatch { method: Some("GET".to_owned()), ..RouteMatch::default() };
    expect_eq("POST against GET", false, matches(&get, &asked("/", &[])));
    let of = |value: &str| RouteMatch {
        query_params: vec![pair("version", value)],
        ..RouteMatch::default()
    };
    let query = |pairs: &[(&str, &str)]| Asked {
        query: pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        ..asked("/", &[])
    };
    let twice = query(&[("version", "1"), ("version", "2")]);
    expect_eq("?version=1&version=2 against version=1", true, matches(&of("1"), &twice));
    expect_eq("?version=1&version=2 against version=2", false, matches(&of("2"), &twice));
    let cased = query(&[("Version", "1")]);
    expect_eq("?Version=1 against version=1", false, matches(&of("1"), &cased));
}

#[test]
fn task_2_6_prefers_the_more_specific_match_wherever_it_stands() {
    let with = |mut of: RouteMatch, headers: usize, query: usize, method: bool| {
        of.headers = (0..headers).map(|n| pair(&format!("h{n}"), "1")).collect();
        of.query_params = (0..query).map(|n| pair(&format!("q{n}"), "1")).collect();
        of.method = method.then(|| "POST".to_owned());
        of
    };
    // Each is preferred to all that follow.
    let order = [
        with(exact("/v1/models"), 0, 0, false),
        with(prefix("/v1/models"), 0, 0, true),
        with(prefix("/v1/models"), 2, 0, false),
        with(prefix("/v1/models"), 1, 2, false),
        with(prefix("/v1/models"), 1, 1, false),
        with(prefix("/v1/models"), 0, 2, false),
        with(prefix("/v1/models"), 0, 0, false),
        with(prefix("/v1"), 2, 2, true),
        with(prefix("/"), 2, 2, true),
        with(prefix("/"), 0, 0, false),
    ];
    let request = Asked {
        query: vec![("q0".into(), "1".into()), ("q1".into(), "1".into())],
        ..asked("/v1/models", &[("h0", "1"), ("h1", "1")])
    };
    let mut random = rng("precedence");
    for from in 0..order.len() {
        for _ in 0..6 {
            let mut rules: Vec<RouteRule> = (from..order.len())
                .map(|at| rule(vec![order[at].clone()], &format!("rank {at}")))
                .collect();
            rules.shuffle(&mut random);
            // Half of them in a route of their own, which is younger.
            let rest = rules.split_off(rules.len() / 2);
            let routes = [
                named("b", "2026-01-02T00:00:00Z", rest),
                named("a", "2026-01-01T00:00:00Z", rules),
            ];
            expect_eq(
                "the most specific of all",
                Ok(format!("rank {from}")),
                to(&routes, &request),
            );
        }
    }
}

#[test]
fn task_2_6_breaks_ties_by_age_then_name_then_place() {
    let any = |name: &str| rule(vec![prefix("/")], name);
    let old = "2026-01-01T00:00:00Z";
    let new = "2026-02-01T00:00:00Z";
    let routes = [named("a", new, vec![any("young")]), named("z", old, vec![any("old")])];
    expect_eq("the older route comes last", Ok("old".to_owned()), to(&routes, &asked("/", &[])));
    let routes = [named("b", old, vec![any("b")]), named("a", old, vec![any("a")])];
    expect_eq("two of the same age", Ok("a".to_owned()), to(&routes, &asked("/", &[])));
    let routes = [named("a", old, vec![any("first"), any("second")])];
    expect_eq("two rules of one route", Ok("first".to_owned()), to(&routes, &asked("/", &[])));
}

#[test]
fn task_2_6_takes_every_request_without_matches_and_answers_404_without_rules() {
    let routes = [named("a", "", vec![rule(vec![], "all")])];
    expect_eq("a rule without matches", Ok("all".to_owned()), to(&routes, &asked("/x", &[])));
    let routes = [named("a", "", vec![rule(vec![exact("/v1")], "v1")])];
    let lost = to(&routes, &asked("/v2", &[])).map_err(Unrouted::status);
    expect_eq("nobody wants /v2", Err(404), lost);
}

#[test]
fn task_2_6_splits_exactly_by_weight() {
    let backends = [backend("stable", 90), backend("none", 0), backend("canary", 10)];
    let mut counts = [0; 3];
    for ticket in 0..1_000 {
        let chosen = split(&backends, |_| true, ticket).map(|backend| &*backend.name);
        let at = backends.iter().position(|backend| Ok(&*backend.name) == chosen);
        at.into_iter().for_each(|at| counts[at] += 1);
    }
    expect_eq("1000 tickets in a row, weights 90, 0 and 10", [900, 0, 100], counts);
    let far = split(&backends, |_| true, u64::MAX).is_ok();
    expect_eq("the largest ticket has a backend", true, far);
    let one = [backend("only", 7)];
    let chosen = split(&one, |_| true, 123).map(|backend| &*backend.name);
    expect_eq("one backend of weight 7", Ok("only"), chosen);
}

#[test]
fn task_2_6_answers_500_for_the_share_of_a_backend_that_is_missing() {
    let backends = [backend("stable", 3), backend("typo", 1)];
    let exists = |backend: &BackendRef| backend.name != "typo";
    let answers = (0..400).map(|ticket| split(&backends, exists, ticket));
    let lost = answers.filter(|answer| *answer == Err(Unrouted::NoBackend)).count();
    expect_eq("weights 3 and 1, the second does not exist: of 400 lost", 100, lost);
    for (context, backends) in [
        ("no backend at all", vec![]),
        ("all weights are 0", vec![backend("a", 0), backend("b", 0)]),
    ] {
        let status = split(&backends, |_| true, 5).map_err(Unrouted::status);
        expect_eq(context, Err(500), status);
    }
}
