//! OpenTelemetry traces, as a collector receives them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};

use serde_json::{Value, json};
use server::Config;

use crate::client::{JSON, send, wait_until};
use crate::harness::{TestServer, config};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A collector that takes one export after the other, and what it got.
fn collector() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (tell, told) = sync_channel(16);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            // First: whoever has its answer may take for granted that it was told.
            if tell.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
            reader.get_mut().write_all(answer).unwrap();
        }
    });
    (endpoint, told)
}

fn ask(server: &TestServer, traceparent: &str) {
    let headers = format!("{JSON}traceparent: {traceparent}\r\nX-Request-Id: me\r\n");
    let body = br#"{"prompt":"abc","max_tokens":3,"temperature":0}"#;
    let reply = send(server.address, "POST", "/v1/completions", &headers, body).reply();
    assert_eq!(reply.status, 200);
}

fn attribute(span: &Value, key: &str) -> Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    let value = found.unwrap_or_else(|| panic!("no {key}"))["value"].as_object().unwrap();
    value.values().next().unwrap().clone()
}

#[test]
fn a_request_is_one_trace_with_a_span_for_each_phase() {
    let (endpoint, told) = collector();
    let server = TestServer::start(Config { otlp_traces_endpoint: Some(endpoint), ..config() }, 1);
    // The caller does not record this one.
    ask(&server, &format!("00-{TRACE}-b7ad6b7169203331-00"));
    ask(&server, &format!("00-{TRACE}-b7ad6b7169203331-01"));
    let export = told.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
    let resource = &export["resourceSpans"][0];
    assert_eq!(attribute(&resource["resource"], "service.name"), "llm-systems-lab");
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    assert!(spans.iter().all(|span| span["traceId"] == TRACE), "{spans:#?}");
    let root = &spans[0];
    assert_eq!((&root["name"], &root["kind"]), (&json!("llm_request"), &json!(2)));
    assert_eq!(root["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(attribute(root, "gen_ai.request.id"), "cmpl-me");
    assert_eq!(attribute(root, "gen_ai.usage.completion_tokens"), "3");
    let phases: Vec<_> = spans[1..].iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert!(phases.contains(&"prefill") && phases.contains(&"decode"), "{phases:?}");
    let at = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u128>().unwrap();
    for span in &spans[1..] {
        assert_eq!(span["parentSpanId"], root["spanId"]);
        assert!(at(span, "startTimeUnixNano") >= at(root, "startTimeUnixNano"));
        assert!(at(span, "endTimeUnixNano") <= at(root, "endTimeUnixNano"));
    }
    wait_until("the export is counted", || server.metric("otlp_exported_requests_total") == 1.0);
}

#[test]
fn a_collector_that_is_not_there_costs_spans_and_no_request() {
    let endpoint = Some("http://127.0.0.1:1/v1/traces".to_owned());
    let server = TestServer::start(Config { otlp_traces_endpoint: endpoint, ..config() }, 1);
    ask(&server, "nonsense");
    wait_until("it is counted", || server.metric("otlp_dropped_requests_total") == 1.0);
}

#[test]
fn a_server_that_ends_sends_its_last_spans() {
    let (endpoint, told) = collector();
    let mut server =
        TestServer::start(Config { otlp_traces_endpoint: Some(endpoint), ..config() }, 1);
    ask(&server, &format!("00-{TRACE}-b7ad6b7169203331-01"));
    server.drain();
    server.join().unwrap();
    assert!(told.try_recv().is_ok());
}
