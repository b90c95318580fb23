//! The data plane over real sockets, before scripted endpoints, with the baseline that decides nothing.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Backend, Client, Script, serve, serve_with};
use proxy::{Member, Settings, Shadowing};
use routing::EndpointId;

const MODELS: &str = "GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n";

/// What an endpoint hears of a client on this machine.
const WAY: &str =
    "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nvia: 1.1 llm-router\r\n";

fn post(body: &str) -> String {
    format!(
        "POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn an_answer_comes_back_as_it_was_without_the_fields_of_the_connection() {
    let backend = Backend::start(Script::Bytes(
        "HTTP/1.1 201 Made\r\nServer: s\r\nX-A: b\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\n{}",
    ));
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    client.send(&post("{}"));
    let answer = client.answer();
    assert_eq!(answer, "HTTP/1.1 201 Made\r\nServer: s\r\nX-A: b\r\ncontent-length: 2\r\n\r\n{}");
    let asked = backend.requests();
    assert_eq!(asked.len(), 1);
    let rest = "content-length: 2\r\n\r\n{}";
    assert_eq!(asked[0], format!("POST /v1/completions HTTP/1.1\r\nHost: h\r\n{WAY}{rest}"));
}

#[test]
fn where_a_request_came_from_is_what_the_socket_says_unless_a_trusted_proxy_knows_better() {
    let claimed = "GET /v1/models HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                   Via: 2 edge\r\nConnection: x-forwarded-for\r\n\r\n";
    let backend = Backend::start(Script::unary("ok"));
    for (trusted, told) in [
        // Its connection cannot take away what we say of it, either.
        ("192.0.2.0/24", format!("Via: 2 edge\r\n{WAY}")),
        (
            "127.0.0.0/8",
            "X-Forwarded-Proto: https\r\nVia: 2 edge\r\nx-forwarded-for: 6.6.6.6, 127.0.0.1\r\n\
             via: 1.1 llm-router\r\n"
                .to_owned(),
        ),
    ] {
        let trusted_proxies = vec![trusted.parse().unwrap()];
        let router = serve_with(Settings { trusted_proxies, ..Settings::local() }, &[&backend]);
        let mut client = Client::connect(&router);
        // A second request of the same connection is told the same way.
        for text in [claimed, &claimed.replace("Connection: x-forwarded-for\r\n", "")] {
            let is_hidden = trusted.starts_with("127") && text.contains("Connection");
            client.send(text);
            assert!(client.answer().ends_with("\r\n\r\nok"));
            let asked = backend.requests().pop().unwrap();
            let told = if is_hidden { told.replace("6.6.6.6, ", "") } else { told.clone() };
            assert_eq!(asked, format!("GET /v1/models HTTP/1.1\r\nHost: h\r\n{told}\r\n"));
        }
    }
}

#[test]
fn connections_are_used_again_on_both_sides() {
    let backend = Backend::start(Script::unary("ok"));
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    for _ in 0..5 {
        client.send(MODELS);
        assert!(client.answer().ends_with("\r\n\r\nok"));
    }
    assert_eq!(backend.requests().len(), 5);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_new_replica_at_an_old_address_gets_a_connection_of_its_own() {
    let backend = Backend::start(Script::unary("ok"));
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    client.send(MODELS);
    assert!(client.answer().ends_with("\r\n\r\nok"));
    let member = Member { id: EndpointId(7), address: backend.address, takes_requests: true };
    router.membership.set(vec![member]);
    let until = Instant::now() + Duration::from_secs(60);
    while backend.connections() == 1 {
        assert!(Instant::now() < until, "nobody connected to the new one");
        // From the old one, from nobody, and then from the new one.
        client.send(MODELS);
        client.answer();
    }
    assert_eq!(backend.connections(), 2);
}

/// Copies everything to a backend; counts the copies under way.
fn shadowing(backend: &Backend, limit: Duration) -> (Settings, Arc<()>) {
    let places = Arc::new(());
    let place = places.clone();
    let shadowing = Shadowing {
        address: backend.address,
        timeout: limit,
        header: "x-copy",
        draw: Arc::new(move |original| {
            assert_eq!((original.path, original.repeatable), ("/v1/completions", true));
            Some(Box::new(place.clone()))
        }),
    };
    (Settings { shadowing: Some(shadowing), ..Settings::local() }, places)
}

fn within_a_minute(mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

#[test]
fn a_copy_goes_to_the_shadow_and_its_answer_to_nobody() {
    let backend = Backend::start(Script::unary("ok"));
    let shadow =
        Backend::start(Script::Bytes("HTTP/1.1 500 Bad\r\nContent-Length: 5\r\n\r\nworse"));
    let (settings, places) = shadowing(&shadow, Duration::from_secs(60));
    let router = serve_with(settings, &[&backend]);
    let mut client = Client::connect(&router);
    client.send(&post("{}"));
    assert!(client.answer().ends_with("\r\n\r\nok"));
    // The router itself and this test; a copy under way would be a third.
    assert!(within_a_minute(|| !shadow.requests().is_empty() && Arc::strong_count(&places) == 2));
    assert_eq!(
        shadow.requests(),
        [format!(
            "POST /v1/completions HTTP/1.1\r\nx-copy: 1\r\nHost: h\r\n{WAY}content-length: 2\r\n\r\n{{}}"
        )]
    );
    let mut client = Client::connect(&router);
    client.send("GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let page = client.rest();
    assert!(page.contains("\nllm_router_shadow_total{outcome=\"failed\"} 1"), "{page}");
    assert!(!page.contains("code=\"500\""), "clients saw no failure");
}

#[test]
fn a_shadow_that_hangs_delays_nobody_and_gives_its_place_back() {
    let backend = Backend::start(Script::unary("ok"));
    let shadow = Backend::start(Script::Stream(vec!["never told to go on"]));
    let (settings, places) = shadowing(&shadow, Duration::from_secs(5));
    let router = serve_with(settings, &[&backend]);
    let mut client = Client::connect(&router);
    for _ in 0..20 {
        client.send(&post("{}"));
        assert!(client.answer().ends_with("\r\n\r\nok"));
    }
    assert!(Arc::strong_count(&places) > 2, "all answers came before the end of any copy");
    assert!(within_a_minute(|| Arc::strong_count(&places) == 2));
}

#[test]
fn a_kept_connection_that_ended_meanwhile_is_replaced() {
    let backend =
        Backend::start(Script::BytesThenClose("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    for _ in 0..5 {
        client.send(MODELS);
        assert!(client.answer().ends_with("\r\n\r\nok"));
    }
    assert_eq!(backend.requests().len(), 5);
}

#[test]
fn events_of_a_stream_come_one_by_one_as_they_are_sent() {
    let backend = Backend::start(Script::Stream(vec!["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"]));
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    client.send(&post("{}"));
    // The backend sends the next one when it is told to: nothing may wait for more.
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        backend.go_on();
        client.wait_for(event);
    }
    backend.go_on();
    let answer = client.answer();
    assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[test]
fn an_event_that_comes_in_pieces_is_passed_on_whole() {
    let backend = Backend::start(Script::Stream(vec!["data: 1\n\nda", "ta: 2", "\n\n"]));
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    client.send(&post("{}"));
    backend.go_on();
    client.wait_for("9\r\ndata: 1\n\n\r\n");
    for _ in 0..3 {
        backend.go_on();
    }
    let answer = client.answer();
    assert!(answer.ends_with("9\r\ndata: 2\n\n\r\n0\r\n\r\n"), "{answer}");
}

#[test]
fn a_stream_that_breaks_ends_with_an_event_that_says_so() {
    let backend = Backend::start(Script::BrokenStream(vec!["data: 1\n\ndata: hal"]));
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    client.send(&post("{}"));
    backend.go_on();
    client.wait_for("data: 1\n\n");
    backend.go_on();
    let answer = client.answer();
    assert!(!answer.contains("hal"), "no half event: {answer}");
    assert!(answer.contains(r#"data: {"error":{"message":"The model server failed"#), "{answer}");
    assert!(answer.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{answer}");
    // The framing is whole, so the client may ask again.
    client.send("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.answer().ends_with("ok\n"));
}

#[test]
fn a_client_that_hangs_up_is_felt_by_the_endpoint() {
    let backend = Backend::start(Script::Stream(vec!["data: 1\n\n", "data: 2\n\n"]));
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    client.send(&post("{}"));
    backend.go_on();
    client.wait_for("data: 1\n\n");
    drop(client);
    assert!(backend.hung_up(Duration::from_secs(20)), "the endpoint works on for nobody");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::start(Script::Echo);
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    let requests: String = (0..10).map(|at| post(&format!("body {at}"))).collect();
    client.send(&requests);
    for at in 0..10 {
        assert!(client.answer().ends_with(&format!("\r\n\r\nbody {at}")));
    }
}

#[test]
fn bad_requests_are_answered_and_the_connection_ends() {
    let backend = Backend::start(Script::unary("ok"));
    let router = serve(&[&backend]);
    for (request, status) in [
        (
            "POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nA",
            400,
        ),
        ("POST /v1/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ("GET /v1/x HTTP/1.1\r\n\r\n", 400),
        ("POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999999\r\n\r\n", 413),
        ("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 405),
    ] {
        let mut client = Client::connect(&router);
        client.send(request);
        let answer = client.answer();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains("connection: close") && answer.contains(r#"{"error":{"#));
        assert!(client.is_closed(), "{request}");
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn what_is_not_for_clients_is_not_found() {
    let backend = Backend::start(Script::unary("secret"));
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    for path in ["/reset_prefix_cache", "/v1/../metrics", "/"] {
        client.send(&format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"));
        assert!(client.answer().starts_with("HTTP/1.1 404 "), "{path}");
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn a_head_is_answered_without_a_body_and_old_clients_are_understood() {
    let backend = Backend::start(Script::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    client.send("HEAD /v1/models HTTP/1.1\r\nHost: h\r\n\r\n");
    client.wait_for("content-length: 5\r\n\r\n");
    client.forget();
    client.send("HEAD /health HTTP/1.1\r\nHost: h\r\n\r\n");
    client.wait_for("content-length: 3\r\n");

    let stream = Backend::start(Script::Stream(vec!["data: 1\n\n"]));
    let router = serve(&[&stream]);
    let mut client = Client::connect(&router);
    client.send("GET /v1/models HTTP/1.0\r\n\r\n");
    stream.go_on();
    stream.go_on();
    let answer = client.rest();
    assert!(answer.ends_with("connection: close\r\n\r\ndata: 1\n\n"), "{answer}");
}

#[test]
fn who_expects_a_continue_gets_one() {
    let backend = Backend::start(Script::Echo);
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    client.send(
        "POST /v1/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    );
    client.wait_for("HTTP/1.1 100 Continue\r\n\r\n");
    client.forget();
    client.send("ab");
    assert!(client.answer().ends_with("\r\n\r\nab"));
    assert!(!backend.requests()[0].to_lowercase().contains("expect"));
}

#[test]
fn answers_that_are_no_http_are_a_bad_gateway() {
    for bytes in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nA",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let backend = Backend::start(Script::Bytes(bytes));
        let router = serve(&[&backend]);
        let mut client = Client::connect(&router);
        client.send(MODELS);
        let answer = client.answer();
        assert!(answer.starts_with("HTTP/1.1 502 "), "{bytes}: {answer}");
    }
}

#[test]
fn large_bodies_pass_both_ways() {
    let backend = Backend::start(Script::Echo);
    let router = serve(&[&backend]);
    let mut client = Client::connect(&router);
    let body = "0123456789abcdef".repeat(64 << 10);
    let text = post(&body);
    let mut other = client.clone_socket();
    let sender =
        std::thread::spawn(move || std::io::Write::write_all(&mut other, text.as_bytes()).is_ok());
    let answer = client.answer();
    assert!(sender.join().unwrap());
    assert!(answer.ends_with(&body), "{} bytes", answer.len());
}

#[test]
fn many_clients_at_once_are_all_answered() {
    let backends: Vec<Backend> = (0..3).map(|_| Backend::start(Script::Echo)).collect();
    let router = serve(&backends.iter().collect::<Vec<_>>());
    let clients: Vec<_> = (0..16)
        .map(|at| {
            let mut client = Client::connect(&router);
            std::thread::spawn(move || {
                (0..50).all(|turn| {
                    client.send(&post(&format!("{at} {turn}")));
                    client.answer().ends_with(&format!("\r\n\r\n{at} {turn}"))
                })
            })
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap()));
    let each: Vec<usize> = backends.iter().map(|backend| backend.requests().len()).collect();
    assert_eq!(each.iter().sum::<usize>(), 800);
    assert!(each.iter().all(|count| (260..=270).contains(count)), "{each:?}");
}

#[test]
fn a_drain_ends_idle_connections_and_waits_for_streams() {
    let backend = Backend::start(Script::Stream(vec!["data: 1\n\n", "data: 2\n\n"]));
    let mut router = serve(&[&backend]);
    let mut idle = Client::connect(&router);
    idle.send("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(idle.answer().ends_with("ok\n"));
    let mut client = Client::connect(&router);
    client.send(&post("{}"));
    backend.go_on();
    client.wait_for("data: 1\n\n");
    router.drain();
    assert!(idle.is_closed());
    backend.go_on();
    backend.go_on();
    assert!(client.answer().ends_with("0\r\n\r\n"));
    assert!(router.has_ended(), "nothing is left to wait for");
}
