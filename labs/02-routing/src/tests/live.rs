//! The router as a program before engines that are restarted, killed and stopped under load, started as the grader says. What is
//! counted are requests that clients lost; what the machine is too busy for ends without a verdict.

mod clients;
mod programs;

use std::time::Duration;

use testbed::{expect, expect_eq, note, unknown};

use clients::{Ending, Load, Stream, get};
use programs::{Engine, Router};

/// Engines behind the router.
const ENGINES: usize = 3;
/// Clients that read one stream after the other.
const CLIENTS: usize = 6;

fn fleet() -> Vec<Engine> {
    (0..ENGINES).map(|_| Engine::start()).collect()
}

/// What the clients of a run saw, in one line, for whoever reads the report.
fn tell(context: &str, endings: &[Ending]) {
    let complete = endings.iter().filter(|ending| **ending == Ending::Complete).count();
    note(format!("{context}: {complete} of {} streams complete", endings.len()));
    if endings.len() < 2 * CLIENTS {
        unknown("too few streams were read for a verdict: the machine is too busy");
    }
}

fn lost<'a>(endings: &'a [Ending], allowed: &[fn(&Ending) -> bool]) -> Vec<&'a Ending> {
    endings.iter().filter(|ending| !allowed.iter().any(|allow| allow(ending))).collect()
}

fn complete(ending: &Ending) -> bool {
    *ending == Ending::Complete
}

fn cut_off_cleanly(ending: &Ending) -> bool {
    matches!(ending, Ending::ErrorEvent { tokens } if *tokens > 0)
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_a_rolling_restart_under_streams_costs_no_request() {
    let mut engines = fleet();
    let router = Router::start(&engines, &[]);
    let load = Load::start(&router, CLIENTS);
    for engine in &mut engines {
        load.wait_for_more(CLIENTS);
        engine.restart_gracefully();
        router.wait_until_ready(ENGINES);
    }
    load.wait_for_more(CLIENTS);
    let endings = load.stop();
    tell("all engines restarted, one after the other", &endings);
    let lost = lost(&endings, &[complete]);
    expect(
        "streams that were lost",
        lost.is_empty(),
        "none",
        format!("{} such as {:?}", lost.len(), lost.first()),
    );
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_a_killed_engine_ends_only_the_streams_it_had_begun() {
    let mut engines = fleet();
    let router = Router::start(&engines, &[]);
    let load = Load::start(&router, CLIENTS);
    load.wait_for_more(CLIENTS);
    engines[0].kill();
    load.wait_for_more(2 * CLIENTS);
    let endings = load.stop();
    tell("one of three engines killed", &endings);
    let lost = lost(&endings, &[complete, cut_off_cleanly]);
    let saw = format!("{} others such as {:?}", lost.len(), lost.first());
    expect("streams", lost.is_empty(), "complete, or ended by an error event after a token", saw);
    let cut = endings.iter().filter(|ending| cut_off_cleanly(ending)).count();
    note(format!("{cut} streams ended by an error event"));
    expect("streams that were cut off", cut <= CLIENTS, "at most those that were under way", cut);
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_an_engine_that_stops_answering_costs_no_request() {
    let mut engines = fleet();
    // Nobody notices by health that it hangs: only the first byte that does not come tells.
    let router = Router::start(&engines, &["--first-byte-timeout", "2s", "--watch-every", "1h"]);
    let warm = Load::start(&router, CLIENTS);
    warm.wait_for_more(CLIENTS);
    tell("before", &warm.stop());
    engines[1].pause();
    let load = Load::start(&router, CLIENTS);
    load.wait_for_more(3 * CLIENTS);
    let endings = load.stop();
    engines[1].resume();
    tell("one of three engines takes connections and says nothing", &endings);
    let lost = lost(&endings, &[complete]);
    expect(
        "streams that were lost",
        lost.is_empty(),
        "none",
        format!("{} such as {:?}", lost.len(), lost.first()),
    );
    expect("retries", router.metric("llm_router_retries_total") > 0.0, "some", "none");
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_an_engine_stops_when_the_client_hangs_up() {
    let engines = vec![Engine::start()];
    let router = Router::start(&engines, &[]);
    let mut stream = Stream::open(router.port(), 20_000);
    let began = stream.read_events(3);
    if !began {
        unknown("no stream began: the machine is too busy");
    }
    expect_eq("while it is read: requests running", Some(1.0), engines[0].running());
    drop(stream);
    let idle = programs::within(Duration::from_secs(20), || engines[0].running() == Some(0.0));
    expect("20 s after the client hung up: requests running", idle, "none", "it still works");
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_bad_requests_are_answered_by_the_engine_and_eject_nobody() {
    let engines = fleet();
    let router = Router::start(&engines, &[]);
    for _ in 0..10 * ENGINES {
        let status = clients::post(router.port(), "{\"model\": 7}");
        expect_eq("a request whose model is a number", Some(400), status);
    }
    expect_eq("engines that are ejected", 0.0, router.metric("llm_router_endpoints_ejected"));
    expect_eq("retries", 0.0, router.metric("llm_router_retries_total"));
    let models = get(router.port(), "/v1/models").map(|(status, _)| status);
    expect_eq("a good request after that", Some(200), models);
}
