//! What happens on SIGTERM: `serve`'s shutdown future stands for the signal.

use std::time::Duration;

use serde_json::json;
use server::Config;

use crate::client::{get, post, send_json, wait_until};
use crate::harness::{TestServer, config};

const PATH: &str = "/v1/completions";

#[test]
fn running_requests_finish_and_new_ones_are_refused() {
    let mut server = TestServer::ready();
    server.gate.close();
    let body = json!({"prompt": "abc", "max_tokens": 3, "temperature": 0, "stream": true});
    let mut streaming = send_json(server.address, PATH, &body);
    let whole = json!({"prompt": "xyz", "max_tokens": 3, "temperature": 0});
    wait_until("it runs", || server.gate.begun() == 1);
    let waiting = send_json(server.address, PATH, &whole);
    wait_until("another waits", || server.load() == 2);
    server.gate.allow(1);
    streaming.read_until("\"a\"");

    server.drain();
    wait_until("it is not ready", || get(server.address, "/health").status == 503);
    let refused = post(server.address, PATH, &whole);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert_eq!(refused.json()["error"]["type"], "ServiceUnavailableError");

    server.gate.open();
    let rest = streaming.read_until("data: [DONE]\n\n");
    // The last two tokens may have come in one frame.
    let text: String =
        rest.split("\"text\":\"").skip(1).flat_map(|part| part.split('"').next()).collect();
    assert_eq!(text, "bc", "{rest}");
    assert_eq!(waiting.reply().json()["choices"][0]["text"], "xyz");
    server.join().unwrap();
}

#[test]
fn an_idle_server_stops_at_once() {
    let mut server = TestServer::ready();
    let address = server.address;
    server.drain();
    server.join().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_second_signal_cuts_off_what_runs() {
    let mut server = TestServer::ready();
    server.gate.close();
    let streaming = json!({"prompt": "abc", "max_tokens": 3, "temperature": 0, "stream": true});
    let streaming = send_json(server.address, PATH, &streaming);
    let whole = json!({"prompt": "abc", "max_tokens": 3});
    let whole = send_json(server.address, PATH, &whole);
    wait_until("both are in", || server.load() == 2 && server.gate.begun() == 1);
    server.drain();
    wait_until("it drains", || get(server.address, "/health").status == 503);
    server.abort();
    let frames = streaming.reply().frames();
    assert_eq!(frames.last().unwrap()["error"]["code"], 503);
    assert_eq!(whole.reply().status, 503);
    server.gate.open();
    server.join().unwrap();
}

#[test]
fn a_drain_that_takes_too_long_cuts_off_what_runs() {
    let config = Config { drain_timeout: Duration::from_millis(50), ..config() };
    let mut server = TestServer::start(config, 1);
    server.gate.close();
    let pending = send_json(server.address, PATH, &json!({"prompt": "abc", "max_tokens": 3}));
    wait_until("it runs", || server.gate.begun() == 1);
    server.drain();
    assert_eq!(pending.reply().status, 503);
    server.gate.open();
    server.join().unwrap();
}
