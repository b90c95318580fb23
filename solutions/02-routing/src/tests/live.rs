//! The router as a pod on a cluster, before engines that are restarted, killed, added and stopped under load. What is counted are
//! requests: those that clients lost, and who got how many. What the machine is too busy for ends without a verdict.

mod clients;
mod picker;
mod place;
mod route;

use std::collections::BTreeMap;
use std::time::Duration;

use testbed::{expect, expect_eq, note, unknown};

use clients::{Ending, Load, Stream, get, post};
use picker::Asked;
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

/// Requests that each engine has answered, by pod.
fn answered(place: &Place) -> Vec<(String, f64)> {
    let count = |pod: &testbed::PodSeen| place.figure(pod, "vllm:request_success_total");
    let engines = place.engines();
    engines.iter().map(|pod| (pod.name.clone(), count(pod).unwrap_or(0.0))).collect()
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_1_a_slow_replica_gets_fewer_requests_than_any_other() {
    let place = Place::with_engines(ENGINES);
    let router = place.start_router("p2c", &[], ENGINES as usize);
    let slow = &place.engines()[0];
    place.break_engine(slow, "slow-steps");
    let took = |pod| {
        let began = std::time::Instant::now();
        let read = Stream::open(place.engine(pod), 20).read_events(20);
        read.then(|| began.elapsed())
    };
    let other = &place.engines()[1];
    if !within(LIMIT, || took(slow) > took(other).map(|usual| usual * 2)) {
        unknown("the engine that was to be slow is as fast as another");
    }
    let before = answered(&place);
    let load = Load::start(router.address, CLIENTS);
    load.wait_for_more(10 * CLIENTS);
    let endings = load.stop();
    tell("one of three engines is slow", &endings);
    let since = |(name, count): &(String, f64)| {
        let earlier = before.iter().find(|(known, _)| known == name).map_or(0.0, |known| known.1);
        (name == &slow.name, count - earlier)
    };
    let counts: Vec<(bool, f64)> = answered(&place).iter().map(since).collect();
    let of = |slow: bool| counts.iter().filter(move |count| count.0 == slow).map(|count| count.1);
    let (slow, least) = (of(true).sum::<f64>(), of(false).fold(f64::INFINITY, f64::min));
    note(format!("the slow engine answered {slow}, no other fewer than {least}"));
    expect("requests of the slow engine", slow < least, format!("fewer than {least}"), slow);
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_2_prompts_that_begin_alike_find_their_beginning_cached() {
    const GROUPS: usize = 4;
    const PROMPTS: usize = 6;
    let place = Place::with_engines(ENGINES);
    let router = place.start_router("prefix", &[], ENGINES as usize);
    for prompt in 0..PROMPTS {
        for group in 0..GROUPS {
            let shared = format!("Application {group} answers in short words. ").repeat(60);
            let body = format!(
                "{{\"prompt\":\"{shared} Question {prompt} of {group}\",\"max_tokens\":2}}"
            );
            expect_eq("a completion", Some(200), post(router.address, &body));
        }
    }
    let engines = place.engines();
    let sum = |name| engines.iter().filter_map(|pod| place.figure(pod, name)).sum::<f64>();
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
    let router = place.start_router("round-robin", &[], ENGINES as usize);
    let load = Load::start(router.address, CLIENTS);
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
    let router = place.start_router("round-robin", &[], ENGINES as usize);
    let load = Load::start(router.address, CLIENTS);
    load.wait_for_more(CLIENTS);
    // This one cannot end before the kill: so the engine that it is on has one stream under way at the least.
    let mut held = Stream::open(router.address, ENDLESS);
    if !held.read_events(3) {
        unknown("no stream began: the machine is too busy");
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
    let router = place.start_router("round-robin", &["--first-byte-timeout=2s"], ENGINES as usize);
    let hung = &place.engines()[0];
    place.break_engine(hung, "hang");
    let speaks = || Stream::open(place.engine(hung), 2).patience(MOMENT).read_events(1);
    if !within(LIMIT, || !speaks()) {
        unknown("the engine that was to hang still gives tokens");
    }
    let health = get(place.engine(hung), "/health").map(|(status, _)| status);
    expect_eq("what the silent engine says of its health", Some(200), health);
    let load = Load::start(router.address, CLIENTS);
    load.wait_for_more(3 * CLIENTS);
    let endings = load.stop();
    tell("one of three engines is healthy and gives no token", &endings);
    expect_all(&endings, complete, "all complete");
    expect("retries", router.metric("llm_router_retries_total") > 0.0, "some", "none");
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_an_engine_stops_when_the_client_hangs_up() {
    let place = Place::with_engines(1);
    let router = place.start_router("round-robin", &[], 1);
    let engine = &place.engines()[0];
    let running = || place.figure(engine, "vllm:num_requests_running");
    let mut stream = Stream::open(router.address, ENDLESS);
    if !stream.read_events(3) {
        unknown("no stream began: the machine is too busy");
    }
    expect_eq("while it is read: requests running", Some(1.0), running());
    drop(stream);
    let idle = within(Duration::from_secs(20), || running() == Some(0.0));
    expect("20 s after the client hung up: requests running", idle, "none", "it still works");
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_5_bad_requests_are_answered_by_the_engine_and_eject_nobody() {
    let place = Place::with_engines(ENGINES);
    let router = place.start_router("round-robin", &[], ENGINES as usize);
    for _ in 0..10 * ENGINES {
        let status = post(router.address, "{\"model\": 7}");
        expect_eq("a request whose model is a number", Some(400), status);
    }
    expect_eq("engines that are ejected", 0.0, router.metric("llm_router_endpoints_ejected"));
    expect_eq("retries", 0.0, router.metric("llm_router_retries_total"));
    let models = get(router.address, "/v1/models").map(|(status, _)| status);
    expect_eq("a good request after that", Some(200), models);
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_6_endpoints_come_and_go_with_the_cluster() {
    let place = Place::empty();
    let router = place.begin_router("round-robin", &[]);
    let ask = || post(router.address, "{\"prompt\":\"Hi\",\"max_tokens\":2}");
    expect_eq("a request while there is no engine", Some(503), ask());
    place.start_engines(1);
    router.wait_until_ready(1);
    expect_eq("a request once there is one", Some(200), ask());

    let load = Load::start(router.address, CLIENTS);
    load.wait_for_more(CLIENTS);
    place.scale_engines(3);
    place.engines_ready();
    router.wait_until_ready(3);
    load.wait_for_more(4 * CLIENTS);
    let counts = answered(&place);
    place.scale_engines(1);
    router.wait_until_ready(1);
    load.wait_for_more(2 * CLIENTS);
    let endings = load.stop();
    tell("from one engine to three and back", &endings);
    expect_all(&endings, complete, "all complete");
    let idle: Vec<_> = counts.iter().filter(|(_, count)| *count == 0.0).collect();
    expect("engines that got no request", idle.is_empty(), "none of three", format!("{idle:?}"));
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_6_an_engine_that_kubernetes_does_not_call_ready_gets_nothing() {
    let place = Place::with_engines(2);
    place.start_unready_engine();
    let router = place.start_router("round-robin", &[], 2);
    let answers = || {
        let engines = place.engines();
        let well = |pod: &testbed::PodSeen| {
            get(place.engine(pod), "/health").is_some_and(|(status, _)| status == 200)
        };
        engines.len() == 3 && engines.iter().all(well)
    };
    if !within(LIMIT, answers) {
        unknown("not all three engines answer");
    }
    let load = Load::start(router.address, CLIENTS);
    load.wait_for_more(4 * CLIENTS);
    let endings = load.stop();
    tell("two engines that are ready, and one that only says so", &endings);
    expect_all(&endings, complete, "all complete");
    for pod in place.engines() {
        let count = place.figure(&pod, "vllm:request_success_total").unwrap_or(0.0);
        let (wanted, right) =
            if pod.ready { ("some", count > 0.0) } else { ("none", count == 0.0) };
        let what = if pod.ready { "a ready engine" } else { "one that is not ready" };
        expect(format!("requests of {what}"), right, wanted, count);
    }
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_6_a_picker_names_ready_engines_in_turn_and_no_other() {
    const EACH: usize = 8;
    let place = Place::empty();
    place.start_unready_engine();
    let picker = place.start_picker();
    let alone = picker.ask(EACH);
    let refused = BTreeMap::from([(503, EACH)]);
    expect_eq("while no engine is ready: statuses, and how many", refused, alone.refused);
    let named: Vec<_> = alone.named.keys().collect();
    expect("while no engine is ready: endpoints", named.is_empty(), "none", format!("{named:?}"));

    place.start_engines(ENGINES);
    place.engines_ready();
    let ready = place.ready_engines();
    if ready.len() != ENGINES as usize {
        unknown(format!("{} engines are ready, not {ENGINES}", ready.len()));
    }
    let knows = |engine: &str| picker.ask(2 * EACH).first.contains_key(engine);
    if !within(LIMIT, || ready.values().all(|engine| knows(engine))) {
        picker.give_up("the picker does not name every engine that is ready");
    }
    let asked = picker.ask(EACH * ready.len());
    note(format!("in turn: {:?}", asked.first.values()));
    let in_turn = asked.first.len() == ready.len() && asked.first.values().all(|n| *n == EACH);
    let saw = format!("{:?}", asked.first);
    expect("how often an engine was named first", in_turn, format!("{EACH} times each"), saw);
    let strange = |asked: &Asked, known: &BTreeMap<String, String>| {
        let is_known = |engine: &&String| known.values().any(|one| one == *engine);
        asked.named.keys().filter(|engine| !is_known(engine)).cloned().collect::<Vec<_>>()
    };
    expect_eq("endpoints that are not ready", Vec::<String>::new(), strange(&asked, &ready));

    let (name, dead) = ready.first_key_value().unwrap_or_else(|| unknown("no engine"));
    let _killed = place.kill_engine(name);
    let mut after = place.ready_engines();
    within(LIMIT, || {
        after = place.ready_engines();
        after.len() == ready.len() && !after.contains_key(name)
    });
    // What is told of the one that came later was told after the end of the one that went.
    let next = after.iter().find(|(name, _)| !ready.contains_key(*name)).map(|(_, next)| next);
    let Some(next) = next else { unknown("nobody took the killed engine's place") };
    if next == dead {
        unknown("the next engine has the address of the killed one");
    }
    if !within(LIMIT, || knows(next)) {
        picker.give_up("the picker does not name the engine that took the killed one's place");
    }
    let asked = picker.ask(EACH * ready.len());
    expect_eq("endpoints named after their end", Vec::<String>::new(), strange(&asked, &after));
}
