//! Servers that do not answer as they should. None of them may stop the run, or be counted as another.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loadgen::{ErrorKind, Pace, Plan, Target, run};

use crate::double::{Double, Gate, Request, answer, begin, end, event, token, whole};
use crate::load::{closed, kinds, open, setup};

/// Every third request gets this; the others are answered.
fn fault(
    misbehave: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> loadgen::Record {
    let server = Double::start(move |request, stream| {
        if request.number % 3 == 1 { misbehave(request, stream) } else { answer(request, stream) }
    });
    let (records, _) = setup().run(&server, closed(1, 6));
    let kinds = kinds(&records);
    for good in [0, 2, 3, 5] {
        assert_eq!(kinds[good], None, "{:?}", records[good]);
    }
    assert!(kinds[1].is_some() && kinds[1] == kinds[4], "{kinds:?}");
    records[1].clone()
}

fn kind(record: &loadgen::Record) -> &'static str {
    record.failure.as_ref().map_or("none", |failure| failure.kind.name())
}

#[test]
fn statuses_are_told_apart() {
    for (status, name) in [
        ("404 Not Found", "status_4xx"),
        ("429 Too Many Requests", "status_4xx"),
        ("500 Internal Server Error", "status_5xx"),
        ("503 Service Unavailable", "status_5xx"),
        ("302 Found", "status_other"),
    ] {
        let record = fault(move |_, stream| whole(stream, status, "what was wrong"));
        assert_eq!(kind(&record), name);
        assert_eq!(record.received.status.to_string(), status[..3]);
        assert_eq!(record.failure.unwrap().detail, "what was wrong");
    }
}

#[test]
fn a_stream_that_is_cut_is_closed_early() {
    let record = fault(|_, stream| {
        let _ = begin(stream) && token(stream);
        false
    });
    assert_eq!(kind(&record), "closed_early");
    assert_eq!(record.e2e(), None);
    let record = fault(|_, stream| begin(stream) && token(stream) && end_of_chunks(stream));
    assert_eq!(kind(&record), "closed_early", "a stream without its last event");
    let record = fault(|_, stream| stream.write_all(b"HTTP/1.1 200 OK\r\nConte").is_err());
    assert_eq!(kind(&record), "closed_early", "half a head");
}

fn end_of_chunks(stream: &mut TcpStream) -> bool {
    stream.write_all(b"0\r\n\r\n").is_ok()
}

#[test]
fn an_error_inside_a_stream_is_the_servers() {
    let record = fault(|_, stream| {
        begin(stream)
            && token(stream)
            && event(stream, r#"{"error":{"message":"out of memory","code":500}}"#)
            && event(stream, "[DONE]")
            && end_of_chunks(stream)
    });
    assert_eq!(kind(&record), "server_error");
    assert!(record.failure.unwrap().detail.contains("out of memory"));
}

#[test]
fn what_is_no_http_or_no_json_is_malformed() {
    for text in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: {]\n",
    ] {
        let record = fault(|_, stream| stream.write_all(text.as_bytes()).is_ok());
        assert_eq!(kind(&record), "malformed", "{text}");
    }
}

#[test]
fn no_answer_in_time_is_a_timeout() {
    let held = Gate::new(usize::MAX);
    let server = Double::start(move |request, stream| match request.number {
        1 => begin(stream) && token(stream) && held.pass(),
        _ => answer(request, stream),
    });
    let mut setup = setup();
    setup.limits.timeout = Duration::from_millis(300);
    let (records, _) = setup.run(&server, closed(1, 4));
    assert_eq!(kinds(&records), [None, Some(ErrorKind::Timeout), None, None]);
    assert_eq!(records[1].received.content_us.len(), 1);
}

#[test]
fn no_server_is_no_connection() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let setup = setup();
    let target = Target::parse(&format!("http://{free}")).unwrap();
    assert!(target.find().is_err());
    let (options, limits) = (&setup.options, setup.limits);
    let plan = Plan::new(&target, free, open(3), setup.source.clone(), options, limits).unwrap();
    let mut records = Vec::new();
    run(&plan, &AtomicBool::new(false), |record| records.push(record), |_| {}).unwrap();
    assert_eq!(kinds(&records), [Some(ErrorKind::Connect); 3]);
}

#[test]
fn a_kept_connection_that_closes_is_no_error_of_the_request() {
    // The second request on a connection is never answered, but closed upon, as by a server whose patience
    // ended just then.
    let server =
        Double::start(|request, stream| request.on_connection == 0 && answer(request, stream));
    let (records, outcome) = setup().run(&server, closed(1, 5));
    assert_eq!(kinds(&records), [None; 5]);
    let retried: Vec<_> = records.iter().map(|record| record.retried).collect();
    assert_eq!(retried, [false, true, true, true, true]);
    assert_eq!(outcome.workers[0].connections, 5);
}

#[test]
fn a_server_that_closes_after_each_answer_costs_connections_not_requests() {
    let server = Double::start(|request, stream| {
        answer(request, stream);
        false
    });
    let (records, _) =
        setup().run(&server, Pace::Open((0..20).map(|i| 5 * Duration::from_millis(i)).collect()));
    assert_eq!(kinds(&records), [None; 20]);
    assert!(server.connections.load(Ordering::SeqCst) >= 20);
}

#[test]
fn an_answer_in_single_bytes_is_the_same_answer() {
    let server = Double::start(|_, stream| {
        let body = r#"{"choices":[{"text":" a"}],"usage":{"completion_tokens":1}}"#;
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        text.as_bytes().chunks(1).all(|byte| stream.write_all(byte).is_ok())
    });
    let (records, _) = setup().run(&server, closed(1, 2));
    assert_eq!(kinds(&records), [None; 2]);
    assert_eq!(records[0].output_tokens(), 1);
}

#[test]
fn a_prompt_larger_than_a_socket_is_sent_in_pieces() {
    let server = Double::start(|request, stream| {
        begin(stream) && token(stream) && {
            let words = request.body["prompt"].as_str().unwrap().split(' ').count();
            end(stream, words, 1)
        }
    });
    let mut setup = setup();
    setup.source = loadgen::Source::Mix(
        workload::Mix {
            input: workload::Lengths::Fixed(1_500_000),
            output: workload::Lengths::Fixed(1),
            shared_prefix: None,
        },
        7,
    );
    let (records, _) = setup.run(&server, closed(1, 2));
    assert_eq!(kinds(&records), [None; 2]);
    assert_eq!(records[0].input_tokens(), 1_500_000);
}
