//! The sink, as clients of any make ask it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// A running sink; killed when it goes out of scope.
struct Sink {
    process: Child,
    address: String,
}

impl Sink {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen-sink"));
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { process, address }
    }

    fn answer(&self, body: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let length = body.len();
        let head = format!("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {length}");
        socket.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let (mut answer, mut part) = (String::new(), [0; 4096]);
        // It keeps the connection open: the end is that of the answer.
        while !answer.ends_with("0\r\n\r\n") && !answer.ends_with("}}") {
            let read = socket.read(&mut part).unwrap();
            assert!(read > 0, "it hung up after {answer}");
            answer.push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
        answer
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_sink_reads_json_with_blanks_and_without() {
    let sink = Sink::start();
    for body in [
        r#"{"prompt":"w1","max_tokens":3,"stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"prompt": "w1", "max_tokens": 3, "stream": true, "stream_options": {"include_usage": true}}"#,
    ] {
        let answer = sink.answer(body);
        assert_eq!(answer.matches("\"text\":\" token\"").count(), 3, "{answer}");
        assert!(answer.contains("data: [DONE]"), "{answer}");
    }
    let unary = sink.answer(r#"{"prompt": "w1", "max_tokens": 2, "stream": false}"#);
    assert!(unary.contains("\"text\":\" token token\""), "{unary}");
}
