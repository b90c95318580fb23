//! The running router before an old and a new version, from outside: what clients see, what its page says, where copies go.

use std::time::Instant;

use crate::common::{LIMIT, Router, Server};

const CANARY: [&str; 4] = ["--canary-slow", "30s", "--canary-steps", "50"];

#[test]
fn a_canary_that_fails_is_rolled_back_and_clients_see_nothing() {
    let (stable, canary) = (Server::start(200), Server::start(500));
    let urls = [stable.url(), canary.url()];
    let args = ["--endpoints", &urls[0], "--canary-endpoints", &urls[1]];
    // After five failures it is ejected, and on probation again a moment later: evidence comes in drops.
    let soon = ["--base-ejection-time", "20ms"];
    let router = Router::start(&[&args[..], &CANARY, &soon].concat());
    router.wait_for("llm_router_endpoints_ready", 2.0);
    assert_eq!(router.metric("llm_router_canary_share"), Some(0.5));
    let until = Instant::now() + LIMIT;
    while router.metric("llm_router_canary_share") != Some(0.0) {
        assert!(Instant::now() < until, "it is not rolled back");
        assert_eq!(router.ask("{}", None), 200);
    }
    router.wait_for("llm_router_canary_state{state=\"rolled_back\"}", 1.0);
    let met = canary.asked();
    assert!((1..20).contains(&met), "{met} requests met it");
    assert!((0..20).all(|_| router.ask("{}", Some("canary")) == 200));
    assert_eq!(canary.asked(), met, "nobody gets it any more");
}

#[test]
fn testers_choose_by_header_only_where_that_is_allowed() {
    let (stable, canary) = (Server::start(200), Server::start(200));
    let urls = [stable.url(), canary.url()];
    let args = ["--endpoints", &urls[0], "--canary-endpoints", &urls[1], "--canary-header"];
    let router = Router::start(&[&args[..], &CANARY].concat());
    router.wait_for("llm_router_endpoints_ready", 2.0);
    assert!((0..20).all(|_| router.ask("{}", Some("canary")) == 200));
    assert_eq!((stable.asked(), canary.asked()), (0, 20));
    let counted = router.metric("llm_router_canary_step_requests{version=\"canary\"}");
    assert_eq!(counted, Some(0.0), "what somebody chose is no evidence");
}

#[test]
fn copies_go_to_the_shadow_but_not_of_what_must_not_happen_twice() {
    let (stable, shadow) = (Server::start(200), Server::start(500));
    let urls = [stable.url(), shadow.url()];
    let router =
        Router::start(&["--endpoints", &urls[0], "--shadow", &urls[1], "--shadow-share", "100"]);
    router.wait_for("llm_router_endpoints_ready", 1.0);
    for _ in 0..5 {
        assert_eq!(router.ask("{\"store\": true}", None), 200);
        assert_eq!(router.ask("{\"prompt\": \"a\"}", None), 200);
    }
    router.wait_for("llm_router_shadow_total{outcome=\"failed\"}", 5.0);
    assert_eq!((stable.asked(), shadow.asked()), (10, 5));
}
