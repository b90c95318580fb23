//! The router as a pod on a cluster, before engines that are restarted, killed, added and stopped under load. What is counted are
//! requests: those that clients lost, and who got how many. What the machine is too busy for ends without a verdict.

mod clients;
mod machine;
mod picker;
mod place;
mod route;
mod router;

use std::time::{Duration, Instant};

use testbed::{PodSeen, expect, expect_eq, note, unknown};

use clients::{Ending, Load, Stream, get};
use place::{LIMIT, Place, within};

/// Engines behind the router.
const ENGINES: u32 = 3;
/// Clients that read one stream after the other.
const CLIENTS: usize = 6;
/// Tokens of a stream that outlasts its check.
const ENDLESS: usize = 20_000;
/// How long whoever is well may need for a token.
const MOMENT: Duration = Duration::from_secs(2);

/// What the clients of a run saw, in one line, for whoever reads the report.
fn tell(context: &str, endings: &[Ending]) {
    let complete = endings.iter().filter(|ending| **ending == Ending::Complete).count();
    note(format!("{context}: {complete} of {} streams complete", endings.len()));
    if endings.len() < 2 * CLIENTS {
        unknown("too few streams were read for a verdict: the machine is too busy");
    }
}

fn complete(ending: &Ending) -> bool {
    *ending == Ending::Complete
}

/// After a token of this engine, by an event that says so.
fn cut_off(ending: &Ending, killed: &str) -> bool {
    matches!(ending, Ending::ErrorEvent { tokens, engine } if *tokens > 0 && engine == killed)
}

/// No stream may have ended in another way.
fn expect_all(endings: &[Ending], allowed: impl Fn(&Ending) -> bool, wanted: &str) {
    let lost: Vec<_> = endings.iter().filter(|ending| !allowed(ending)).collect();
    let saw = format!("{} others such as {:?}", lost.len(), lost.first());
    expect("streams", lost.is_empty(), wanted, saw);
}

/// Requests that each of these engines has answered.
fn answered(place: &Place, engines: &[PodSeen]) -> Vec<f64> {
    engines.iter().map(|pod| place.figure(pod, "vllm:request_success_total")).collect()
}

/// Whether an engine says so itself.
fn is_well(place: &Place, engine: &PodSeen) -> bool {
    get(place.engine(engine), "/health").is_some_and(|(status, _)| status == 200)
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_1_a_slow_replica_gets_fewer_requests_than_any_other() {
    let place = Place::with_engines(ENGINES);
    let router = place.start_router("p2c", &[], ENGINES);
    let engines = place.all_engines(ENGINES);
    place.break_engine(&engines[0], "slow-steps");
    // To the end: what is asked here is counted before the load begins.
    let took = |pod| {
        let began = Instant::now();
        let ending = Stream::open(place.engine(pod), 20).ending();
        (ending == Ending::Complete).then(|| began.elapsed())
    };
    let is_slow = || match (took(&engines[0]), took(&engines[1])) {
        (Some(slow), Some(usual)) => slow > usual * 2,
        _ => false,
    };
    // Once may be chance.
    if !within(LIMIT, || is_slow() && is_slow()) {
        unknown("the engine that was to be slow is as fast as another");
    }
    let before = answered(&place, &engines);
    let load = Load::start(router, CLIENTS);
    load.wait_for_more(10 * CLIENTS);
    let endings = load.stop();
    tell("one of three engines is slow", &endings);
    let after = answered(&place, &engines);
    let counts: Vec<f64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let (slow, least) = (counts[0], counts[1].min(counts[2]));
    note(format!("the slow engine answered {slow}, no other fewer than {least}"));
    if slow >= least && !is_slow() {
        unknown("the engine that was to be slow is as fast as another by now");
    }
    expect("requests of the slow engine", slow < least, format!("fewer than {least}"), slow);
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_2_prompts_that_begin_alike_find_their_beginning_cached() {
    const GROUPS: usize = 4;
    const PROMPTS: usize = 6;
    let place = Place::with_engines(ENGINES);
    let router = place.start_router("prefix", &[], ENGINES);
    for prompt in 0..PROMPTS {
        for group in 0..GROUPS {
            let shared = format!("Application {group} answers in short words. ").repeat(60);
            let body = format!(
                "{{\"prompt\":\"{shared} Question {prompt} of {group}\",\"max_tokens\":2}}"
            );
            expect_eq("a completion", 200, router.post(&body));
        }
    }
    let engines = place.all_engines(ENGINES);
    let sum = |name| engines.iter().map(|pod| place.figure(pod, name)).sum::<f64>();
    let (hits, asked) =
        (sum("vllm:prefix_cache_hits_total"), sum("vllm:prefix_cache_queries_total"));
    if asked == 0.0 {
        unknown("the engines have looked nothing up");
    }
    // One prompt of six is the first of its group. In turn, each group would be new to each of three engines.
    let found = hits / asked;
    note(format!("{:.0} % of prompt tokens were cached", 100.0 * found));
    expect("part of the prompts' tokens that were cached", found > 0.6, "more than 0.6", found);
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_a_rolling_update_under_streams_costs_no_request() {
    let place = Place::with_engines(ENGINES);
    let router = place.start_router("round-robin", &[], ENGINES);
    let load = Load::start(router, CLIENTS);
    load.wait_for_more(CLIENTS);
    place.restart_engines();
    load.wait_for_more(CLIENTS);
    let endings = load.stop();
    tell("all engines replaced, one after the other", &endings);
    expect_all(&endings, complete, "all complete");
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_a_killed_engine_ends_only_the_streams_it_had_begun() {
    let place = Place::with_engines(ENGINES);
    let router = place.start_router("round-robin", &[], ENGINES);
    let load = Load::start(router, CLIENTS);
    load.wait_for_more(CLIENTS);
    // This one cannot end before the kill: so the engine that it is on has one stream under way at the least.
    let mut held = Stream::open(router.address, ENDLESS);
    if !held.read_events(3) {
        router.give_up("no stream began");
    }
    let killed = held.engine().to_owned();
    let _killed = place.kill_engine(&killed);
    load.wait_for_more(4 * CLIENTS);
    let (held, endings) = (held.ending(), load.stop());
    tell("one of three engines killed", &endings);
    let cut = endings.iter().filter(|ending| cut_off(ending, &killed)).count();
    note(format!("{killed} killed: 1 stream held there and {cut} others ended by an error event"));
    let wanted = "ended by an error event after its tokens";
    expect("a stream of the killed engine", cut_off(&held, &killed), wanted, format!("{held:?}"));
    let allowed = |ending: &Ending| complete(ending) || cut_off(ending, &killed);
    let wanted = format!("complete, or ended by an error event after a token of {killed}");
    expect_all(&endings, allowed, &wanted);
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_an_engine_that_is_healthy_and_silent_costs_no_request() {
    let place = Place::with_engines(ENGINES);
    let router = place.start_router("round-robin", &["--first-byte-timeout=2s"], ENGINES);
    let hung = &place.all_engines(ENGINES)[0];
    place.break_engine(hung, "hang");
    let mut silent = Stream::open(place.engine(hung), 2);
    let hangs = within(LIMIT, || {
        silent.is_silent(MOMENT) || {
            silent = Stream::open(place.engine(hung), 2);
            false
        }
    });
    if !hangs {
        unknown("the engine that was to hang still gives tokens");
    }
    if !is_well(&place, hung) {
        unknown("the engine that hangs does not call itself healthy");
    }
    let load = Load::start(router, CLIENTS);
    load.wait_for_more(3 * CLIENTS);
    let endings = load.stop();
    tell("one of three engines is healthy and gives no token", &endings);
    // The stream that was silent before the load was so all the time, or the engine was only slow.
    if !silent.is_silent(Duration::from_millis(100)) || !is_well(&place, hung) {
        unknown("the engine that was to hang has given a token, or does not call itself healthy");
    }
    expect_all(&endings, complete, "all complete");
    expect("retries", router.metric("llm_router_retries_total") > 0.0, "some", "none");
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_an_engine_stops_when_the_client_hangs_up() {
    let place = Place::with_engines(1);
    let router = place.start_router("round-robin", &[], 1);
    let engine = &place.all_engines(1)[0];
    let running = || place.figure(engine, "vllm:num_requests_running");
    let mut stream = Stream::open(router.address, ENDLESS);
    if !stream.read_events(3) {
        router.give_up("no stream began");
    }
    let mut seen = 0.0;
    within(MOMENT, || {
        seen = running();
        seen == 1.0
    });
    expect_eq("while it is read: requests running", 1.0, seen);
    drop(stream);
    let idle = within(Duration::from_secs(20), || running() == 0.0);
    expect("20 s after the client hung up: requests running", idle, "none", "it still works");
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_bad_requests_are_answered_by_the_engine_and_eject_nobody() {
    let place = Place::with_engines(ENGINES);
    let router = place.start_router("round-robin", &[], ENGINES);
    for _ in 0..10 * ENGINES {
        let status = router.post("{\"model\": 7}");
        expect_eq("a request whose model is a number", 400, status);
    }
    expect_eq("engines that are ejected", 0.0, router.metric("llm_router_endpoints_ejected"));
    expect_eq("retries", 0.0, router.metric("llm_router_retries_total"));
    expect_eq("a good request after that", 200, router.get("/v1/models"));
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_6_endpoints_come_and_go_with_the_cluster() {
    let place = Place::empty();
    let router = place.begin_router("round-robin", &[]);
    let ask = || router.post("{\"prompt\":\"Hi\",\"max_tokens\":2}");
    expect_eq("a request while there is no engine", 503, ask());
    place.start_engines(1);
    router.wait_until_ready(1);
    expect_eq("a request once there is one", 200, ask());

    let load = Load::start(router, CLIENTS);
    load.wait_for_more(CLIENTS);
    place.scale_engines(3);
    place.engines_ready();
    router.wait_until_ready(3);
    load.wait_for_more(4 * CLIENTS);
    let counts = answered(&place, &place.all_engines(3));
    place.scale_engines(1);
    router.wait_until_left(1);
    load.wait_for_more(2 * CLIENTS);
    let endings = load.stop();
    tell("from one engine to three and back", &endings);
    expect_all(&endings, complete, "all complete");
    let idle = counts.iter().filter(|count| **count == 0.0).count();
    expect("engines that got no request", idle == 0, "none of three", idle);
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_6_an_engine_that_kubernetes_does_not_call_ready_gets_nothing() {
    let place = Place::with_engines(2);
    place.start_unready_engine();
    place.engines_ready();
    let engines = place.all_engines(3);
    if !within(LIMIT, || engines.iter().all(|pod| is_well(&place, pod))) {
        unknown("not all three engines answer");
    }
    let router = place.start_router("round-robin", &[], 2);
    let load = Load::start(router, CLIENTS);
    load.wait_for_more(4 * CLIENTS);
    let endings = load.stop();
    tell("two engines that are ready, and one that only says so", &endings);
    let ready = engines.iter().filter(|pod| pod.ready).count();
    if ready != 2 || place.engines() != engines {
        unknown(format!("{ready} engines were ready, not 2, or it is others by now"));
    }
    expect_all(&endings, complete, "all complete");
    for (pod, count) in engines.iter().zip(answered(&place, &engines)) {
        let (wanted, right) =
            if pod.ready { ("some", count > 0.0) } else { ("none", count == 0.0) };
        let what = if pod.ready { "a ready engine" } else { "one that is not ready" };
        expect(format!("requests of {what}"), right, wanted, count);
    }
}
