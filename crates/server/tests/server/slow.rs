//! Clients that take their time: they are cut off, and hold up nobody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use server::Config;

use crate::client::{get, send_raw, wait_until};
use crate::harness::{TestServer, config};

fn impatient() -> Config {
    Config { header_timeout: Duration::from_millis(200), max_connections: 2, ..config() }
}

/// Reads until the server hangs up.
fn rest(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_header_that_does_not_end_is_cut_off() {
    let server = TestServer::start(impatient(), 1);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"POST /v1/completions HTTP/1.1\r\nX-Slow: ").unwrap();
    let said = rest(stream);
    assert!(said.is_empty() || said.contains("408"), "{said}");
}

#[test]
fn a_body_that_does_not_end_is_cut_off() {
    let server = TestServer::start(impatient(), 1);
    let head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
        Content-Length: 100\r\nConnection: close\r\n\r\n{";
    let reply = send_raw(server.address, head).reply();
    assert_eq!(reply.status, 400, "{}", reply.body);
}

#[test]
fn connections_over_the_limit_wait_for_a_place() {
    let server = TestServer::start(impatient(), 1);
    let held: Vec<TcpStream> =
        (0..2).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    // The two above say nothing, and lose their places.
    wait_until("there is a place again", || get(server.address, "/health").status == 200);
    drop(held);
}
