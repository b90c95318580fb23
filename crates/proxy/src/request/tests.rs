//! Requests that are read, and requests that must not be.

use memchr::memmem;
use proptest::prelude::*;

use super::*;

fn caller() -> Caller {
    Caller::new(([192, 0, 2, 7], 1).into(), &[])
}

/// The message as it leaves, its body, and what was sent ahead.
type Done = (Vec<u8>, Vec<u8>, Vec<u8>);

fn read(text: &[u8], piece: usize) -> Result<Done, BadRequest> {
    let mut reader = Reader::new(1000, caller());
    let mut last = Read::Partial;
    for part in text.chunks(piece) {
        if last == Read::Complete {
            reader.keep(part);
            continue;
        }
        last = reader.feed(&mut part.to_vec())?;
    }
    if last != Read::Complete {
        return Err(BadRequest::Timeout);
    }
    Ok((reader.message().to_vec(), reader.body().to_vec(), reader.pending.clone()))
}

fn status(text: &str) -> u16 {
    read(text.as_bytes(), 4096).map_or_else(BadRequest::status, |_| 200)
}

#[test]
fn what_belongs_to_the_connection_stays_here() {
    let text = "POST /v1/completions?a=b HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Mine\r\n\
                X-Mine: secret\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\n\
                Proxy-Authorization: Basic x\r\nAuthorization: Bearer y\r\ntraceparent: 00-1-2-01\r\n\
                Content-Length: 2\r\n\r\n{}";
    let (message, body, _) = read(text.as_bytes(), 4096).unwrap();
    assert_eq!(
        String::from_utf8(message).unwrap(),
        "POST /v1/completions?a=b HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer y\r\n\
         traceparent: 00-1-2-01\r\nx-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\nvia: 1.1 llm-router\r\n\
         content-length: 2\r\n\r\n{}"
    );
    assert_eq!(body, b"{}");
}

#[test]
fn a_body_in_chunks_leaves_with_its_length() {
    let text = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
    let (message, body, ahead) = read(text.as_bytes(), 7).unwrap();
    let message = String::from_utf8(message).unwrap();
    assert!(message.ends_with("content-length: 000000000005\r\n\r\nabcde"), "{message}");
    assert_eq!((body.as_slice(), ahead.as_slice()), (&b"abcde"[..], &b"GET / HTTP/1.1\r\n"[..]));
}

#[test]
fn requests_that_two_servers_could_read_in_two_ways_are_refused() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    for fields in [
        format!("Content-Length: 3\r\n{chunked}"),
        format!("{chunked}Content-Length: 3\r\n"),
        format!("{chunked}{chunked}"),
        "Content-Length: 3\r\nContent-Length: 3\r\n".to_owned(),
        "Content-Length: 3, 3\r\n".to_owned(),
        "Content-Length: +3\r\n".to_owned(),
        "Content-Length: -3\r\n".to_owned(),
        "Content-Length: 0x3\r\n".to_owned(),
        "Content-Length:\r\n".to_owned(),
        "Content-Length: 99999999999999999999999\r\n".to_owned(),
        "Content-Length : 3\r\n".to_owned(),
        "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
        "Transfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding:\x0bchunked\r\n".to_owned(),
        "X: a\r\n b\r\n".to_owned(),
        "X: a\r\n\tb\r\n".to_owned(),
        " X: a\r\n".to_owned(),
        "X\r\n".to_owned(),
        "X: a\rb\r\n".to_owned(),
        "X: a\0b\r\n".to_owned(),
        "Host: other\r\n".to_owned(),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\nabc");
        assert_eq!(status(&text), 400, "{}", text.escape_debug());
    }
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400, "no Host");
    assert_eq!(status("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    assert_eq!(status("GET  / HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
    assert_eq!(status("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), 400);
    assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), 200);
    assert_eq!(
        status("GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n"),
        400,
        "they leave as HTTP/1.1"
    );
}

#[test]
fn each_limit_has_its_own_status() {
    let host = "HTTP/1.1\r\nHost: h\r\n";
    assert_eq!(status(&format!("POST / {host}Content-Length: 1001\r\n\r\n")), 413);
    let chunk = format!("{:x}\r\n{}\r\n", 600, "x".repeat(600));
    let chunked = format!("POST / {host}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert_eq!(status(&chunked), 413);
    assert_eq!(status(&format!("GET / {host}{}\r\n", "A: b\r\n".repeat(MAX_HEADERS))), 431);
    assert_eq!(status(&format!("GET /{} {host}\r\n", "x".repeat(MAX_REQUEST_HEAD))), 431);
    assert_eq!(status(&format!("CONNECT h:1 {host}\r\n")), 405);
    assert_eq!(status(&format!("GET / {host}Expect: more\r\n\r\n")), 417);
}

#[test]
fn the_absolute_form_is_a_path_too() {
    let text = b"GET http://h/v1/models HTTP/1.1\r\nHost: h\r\n\r\n";
    assert!(read(text, 99).unwrap().0.starts_with(b"GET /v1/models HTTP/1.1\r\n"));
    assert_eq!(status("GET * HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
}

#[test]
fn who_waits_for_a_continue_is_told_unless_the_body_is_here() {
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut reader = Reader::new(10, caller());
    assert_eq!(reader.feed(&mut head.to_vec()), Ok(Read::WantsContinue));
    assert_eq!(reader.feed(&mut b"ab".to_vec()), Ok(Read::Complete));
    let mut reader = Reader::new(10, caller());
    assert_eq!(reader.feed(&mut [&head[..], b"ab"].concat()), Ok(Read::Complete));
    assert_eq!(reader.body(), b"ab");
}

#[test]
fn pipelined_requests_are_read_one_after_the_other() {
    let one = "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nA";
    let two = "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut reader = Reader::new(10, caller());
    let mut both = format!("{one}{two}{two}").into_bytes();
    assert_eq!(reader.feed(&mut both), Ok(Read::Complete));
    for _ in 0..2 {
        reader.next();
        assert_eq!(reader.resume(), Ok(Read::Complete));
        assert_eq!(reader.head().map(|head| head.path.as_str()), Some("/2"));
    }
    reader.next();
    assert!(reader.is_idle());
}

proptest! {
    #[test]
    fn pieces_do_not_matter(piece in 1_usize..60, body in "[a-z]{0,40}", chunked: bool) {
        let framing = if chunked {
            format!("Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
                if body.is_empty() { String::new() } else { format!("{:x}\r\n{body}\r\n", body.len()) })
        } else {
            format!("Content-Length: {}\r\n\r\n{body}", body.len())
        };
        let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}");
        let (message, read_body, _) = read(text.as_bytes(), piece).unwrap();
        prop_assert_eq!(&read_body, body.as_bytes());
        prop_assert!(message.ends_with(body.as_bytes()));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes, 17);
    }

    /// What leaves is read by the same strict reader as one request and nothing more: nothing can be smuggled through.
    #[test]
    fn what_leaves_is_one_request(
        parts in prop::collection::vec(prop::sample::select(vec![
            "POST / HTTP/1.1\r\n", "GET /a HTTP/1.0\r\n", "Host: h\r\n", "Content-Length: 3\r\n", "\r\n", "\n", "\r",
            "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n", "0\r\n\r\n", "abc", "X: y\n", "Connection: content-length\r\n",
            "Connection: host\r\n", "X:\ty\r\n", " ", "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ]), 0..14)
    ) {
        if let Ok((message, body, _)) = read(parts.concat().as_bytes(), 4096) {
            let mut reader = Reader::new(1000, caller());
            let again = reader.feed(&mut message.clone());
            // A client of HTTP/1.0 need not name a host; nor may anybody strip it.
            if memmem::find(&message, b"\r\nHost: h").is_some() {
                prop_assert_eq!(again, Ok(Read::Complete), "{}", message.escape_ascii());
                prop_assert_eq!(reader.body(), body.as_slice());
                prop_assert_eq!(reader.ahead(), 0);
            }
        }
    }
}

/// The value of the one `traceparent` in a message.
fn traceparent(reader: &Reader) -> protocol::traceparent::TraceParent {
    let message = String::from_utf8_lossy(reader.message()).into_owned();
    let values: Vec<&str> =
        message.lines().filter_map(|line| line.strip_prefix("traceparent: ")).collect();
    assert_eq!(values.len(), 1, "{message}");
    protocol::traceparent::TraceParent::parse(values[0]).unwrap()
}

#[test]
fn an_endpoint_hears_of_the_routers_span_and_not_of_the_clients() {
    let mut reader = Reader::new(1000, caller()).with_traces();
    let request = "GET /v1/models HTTP/1.1\r\nHost: h\r\nTraceparent: \
                   00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    let read = reader.feed(&mut request.as_bytes().to_vec());
    assert_eq!(read, Ok(Read::Complete));
    let sent = traceparent(&reader);
    assert_eq!(sent.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    assert_ne!(sent.span_id, 0xb7ad_6b71_6920_3331);
    let place = reader.head().unwrap().place.unwrap();
    assert_eq!((place.own, place.parent), (sent, Some(0xb7ad_6b71_6920_3331)));
}

#[test]
fn a_header_goes_on_as_it_is_where_nobody_records() {
    let request = "GET /v1/models HTTP/1.1\r\nHost: h\r\ntraceparent: \
                   00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n\r\n";
    for mut reader in [Reader::new(1000, caller()), Reader::new(1000, caller()).with_traces()] {
        assert_eq!(reader.feed(&mut request.as_bytes().to_vec()), Ok(Read::Complete));
        assert_eq!(traceparent(&reader).span_id, 0xb7ad_6b71_6920_3331);
        assert_eq!(reader.head().unwrap().place, None);
    }
}
