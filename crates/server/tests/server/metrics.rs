//! `/metrics`, and the timelines behind it.

use protocol::timelines::{TimelineKind, Timelines};
use serde_json::json;
use server::Config;

use crate::client::{get, post};
use crate::harness::{TestServer, config};

const PATH: &str = "/v1/completions";

#[test]
fn the_page_is_what_the_recorder_collected() {
    let server = TestServer::ready();
    post(server.address, PATH, &json!({"prompt": "abcd", "max_tokens": 3, "temperature": 0}));
    let page = get(server.address, "/metrics");
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let line = "vllm:request_success_total{engine=\"0\",model_name=\"script\",finished_reason=\"length\"} 1.0";
    assert!(page.body.contains(line), "{}", page.body);
    assert_eq!(server.metric("vllm:generation_tokens_total"), 3.0);
    assert_eq!(server.metric("vllm:prompt_tokens_total"), 4.0);
    assert_eq!(server.metric("vllm:kv_cache_usage_perc"), 0.0);
}

#[test]
fn every_choice_has_a_timeline_that_accounts_for_its_tokens() {
    let server = TestServer::ready();
    let body = json!({"prompt": ["abcd", "xy"], "max_tokens": 5, "temperature": 0});
    let whole = post(server.address, PATH, &body).json();
    let mut stream = body.clone();
    stream["stream"] = json!(true);
    post(server.address, PATH, &stream);

    let page = get(server.address, "/debug/timelines").body;
    let Timelines { timelines } = serde_json::from_str(&page).unwrap();
    assert_eq!(timelines.len(), 4);
    assert!(timelines[..2].iter().all(|timeline| whole["id"] == timeline.id.as_str()));
    assert_eq!(timelines.iter().map(|t| t.prompt_tokens).collect::<Vec<_>>(), [4, 2, 4, 2]);
    for timeline in &timelines {
        let of = |kind| timeline.events.iter().filter(move |event| event.kind == kind);
        assert_eq!((timeline.generated_tokens, timeline.finish_reason.as_str()), (5, "length"));
        assert_eq!(of(TimelineKind::Token).count(), 5);
        assert_eq!(of(TimelineKind::Flushed).map(|event| event.tokens.unwrap()).sum::<u32>(), 5);
        assert_eq!(timeline.events[0].kind, TimelineKind::Arrived);
        assert!(timeline.events.is_sorted_by_key(|event| event.at_us));
    }
}

#[test]
fn only_the_last_256_timelines_are_kept() {
    let server = TestServer::ready();
    for i in 0..3 {
        let body = json!({"prompt": vec!["a"; 100], "max_tokens": 1 + i, "temperature": 0});
        assert_eq!(post(server.address, PATH, &body).status, 200);
    }
    let page = get(server.address, "/debug/timelines").body;
    let Timelines { timelines } = serde_json::from_str(&page).unwrap();
    assert_eq!(timelines.len(), 256);
    assert_eq!(timelines[0].generated_tokens, 1);
    assert_eq!(timelines[255].generated_tokens, 3);
}

#[test]
fn timelines_are_there_only_where_the_operator_wants_them() {
    let server = TestServer::start(Config { debug_timelines: false, ..config() }, 1);
    let reply = get(server.address, "/debug/timelines");
    assert_eq!((reply.status, reply.body.as_str()), (404, r#"{"detail":"Not Found"}"#));
}
