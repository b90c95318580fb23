//! The engine as an operator meets it: a process with flags, a port, signals and an exit status.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ENGINE: &str = env!("CARGO_BIN_EXE_sol01-engine");
/// Long enough for a busy machine, short enough to be noticed.
const LIMIT: Duration = Duration::from_secs(60);

/// A running engine; killed when it goes out of scope.
struct Engine {
    process: Child,
    address: String,
}

impl Engine {
    fn start(flags: &[&str]) -> Self {
        let mut process = Command::new(ENGINE)
            .args(["--model", "tiny", "--port", "0"])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the engine starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a first line");
        let address = line.trim().strip_prefix("listening on http://").expect("its address");
        let engine = Self { process, address: address.to_owned() };
        engine.until("it is ready", || engine.get("/health").starts_with("HTTP/1.1 200 "));
        engine
    }

    /// A whole response, header and body.
    fn get(&self, path: &str) -> String {
        let mut stream = self.send(&format!("GET {path} HTTP/1.1\r\n"), "");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        response
    }

    /// Asks for a stream of tokens. The response is still to be read.
    fn stream(&self, max_tokens: usize) -> TcpStream {
        let body = format!(
            r#"{{"prompt": "Once", "max_tokens": {max_tokens}, "ignore_eos": true, "stream": true}}"#
        );
        let head = "POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n";
        self.send(head, &body)
    }

    fn send(&self, head: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let (address, length) = (&self.address, body.len());
        write!(
            stream,
            "{head}Host: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .expect("it reads");
        stream
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().expect("there is a kill");
        assert!(sent.success());
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !holds() {
            assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.process.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end within {LIMIT:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An engine that cannot start.
fn refused(flags: &[&str]) -> Output {
    Command::new(ENGINE).args(flags).stdin(Stdio::null()).output().expect("the engine starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn sigterm_lets_a_running_stream_finish_and_exits_with_0() {
    let mut engine = Engine::start(&[]);
    let mut running = engine.stream(400);
    let mut begun = [0; 400];
    running.read_exact(&mut begun).expect("the stream begins");
    engine.signal("-TERM");
    engine.until("readiness fails", || {
        // Once the last stream has ended, nobody listens any more.
        TcpStream::connect(&engine.address).is_err()
            || engine.get("/health").starts_with("HTTP/1.1 503 ")
    });
    let mut rest = String::new();
    running.read_to_string(&mut rest).expect("the rest");
    assert!(rest.contains("data: [DONE]"), "the stream was cut: {rest}");
    assert_eq!(engine.wait().code(), Some(0));
}

#[test]
fn a_client_that_hangs_up_leaves_no_block_in_use() {
    let engine = Engine::start(&["--max-num-seqs", "1"]);
    let mut leaving = engine.stream(1900);
    leaving.read_exact(&mut [0; 400]).expect("the stream begins");
    drop(leaving);
    engine.until("the abort is counted", || {
        let page = engine.get("/metrics");
        let line = |name: &str, rest: &str| {
            page.lines().find(|l| l.starts_with(name) && l.contains(rest)).map(str::to_owned)
        };
        let aborted = line("vllm:request_success_total", "finished_reason=\"abort\"");
        let used = line("vllm:kv_cache_usage_perc{", "");
        aborted.is_some_and(|line| line.ends_with(" 1.0"))
            && used.is_some_and(|line| line.ends_with(" 0.0"))
    });
}

#[test]
fn an_engine_ends_with_whoever_started_it() {
    let mut engine = Engine::start(&["--exit-with-parent"]);
    drop(engine.process.stdin.take());
    assert_eq!(engine.wait().code(), Some(0));
}

#[test]
fn an_occupied_port_is_named_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let output = refused(&["--model", "tiny", "--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains(&port) && said.contains("--port 0"), "{said}");
}

#[test]
fn a_corrupt_model_file_is_named() {
    let name = format!("sol01-engine-corrupt-{}.gguf", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, b"GGUF and then nothing that makes sense").expect("a file");
    let path_text = path.display().to_string();
    let output = refused(&["--port", "0", "--model", &path_text]);
    std::fs::remove_file(&path).expect("it is still there");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&path_text), "{}", stderr(&output));
}

#[test]
fn a_cache_too_small_for_one_context_is_refused_with_the_size_it_needs() {
    let output = refused(&["--port", "0", "--model", "tiny", "--num-kv-blocks", "4"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("raise it to") && said.contains("--max-model-len"), "{said}");
}
