//! The running router before an old and a new version, from outside: what clients see, what its page says, where copies go.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A model server that says the same to everybody, and is always well.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = count.clone();
                std::thread::spawn(move || answer(stream, status, &count));
            }
        });
        Self { address, asked }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(stream: TcpStream, status: u16, asked: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut length = 0;
        let mut field = String::new();
        while reader.read_line(&mut field).ok()? > 2 {
            let lower = field.to_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            field.clear();
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        let is_well = line.starts_with("GET /health ");
        let status = if is_well { 200 } else { status };
        asked.fetch_add(usize::from(line.starts_with("POST ")), Ordering::SeqCst);
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 2\r\n\r\nok");
        reader.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}

/// The router; it ends with the test.
struct Router {
    child: Child,
    url: String,
}

impl Router {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lab02-router"))
            .args(["--port", "0", "--watch-every", "50ms", "--exit-with-parent"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { child, url }
    }

    fn wait_for(&self, metric: &str, value: f64) {
        let until = Instant::now() + LIMIT;
        while self.metric(metric) != Some(value) {
            assert!(Instant::now() < until, "{metric} is {:?}, not {value}", self.metric(metric));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let page = ureq::get(format!("{}/metrics", self.url)).call().unwrap();
        let page = page.into_body().read_to_string().unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }

    /// The status of a completion.
    fn ask(&self, body: &str, version: Option<&str>) -> u16 {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = agent.post(format!("{}/v1/completions", self.url));
        if let Some(version) = version {
            request = request.header("x-llm-version", version);
        }
        request.send(body).unwrap().status().as_u16()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

const CANARY: [&str; 4] = ["--canary-slow", "30s", "--canary-steps", "50"];

#[test]
fn a_canary_that_fails_is_rolled_back_and_clients_see_nothing() {
    let (stable, canary) = (Server::start(200), Server::start(500));
    let urls = [stable.url(), canary.url()];
    let args = ["--endpoints", &urls[0], "--canary-endpoints", &urls[1]];
    // After five failures it is ejected, and on probation again a moment later: evidence comes in drops.
    let soon = ["--base-ejection-time", "20ms"];
    let router = Router::start(&[&args[..], &CANARY, &soon].concat());
    router.wait_for("llm_router_endpoints_ready", 2.0);
    assert_eq!(router.metric("llm_router_canary_share"), Some(0.5));
    let until = Instant::now() + LIMIT;
    while router.metric("llm_router_canary_share") != Some(0.0) {
        assert!(Instant::now() < until, "it is not rolled back");
        assert_eq!(router.ask("{}", None), 200);
    }
    router.wait_for("llm_router_canary_state{state=\"rolled_back\"}", 1.0);
    let met = canary.asked();
    assert!((1..20).contains(&met), "{met} requests met it");
    assert!((0..20).all(|_| router.ask("{}", Some("canary")) == 200));
    assert_eq!(canary.asked(), met, "nobody gets it any more");
}

#[test]
fn testers_choose_by_header_only_where_that_is_allowed() {
    let (stable, canary) = (Server::start(200), Server::start(200));
    let urls = [stable.url(), canary.url()];
    let args = ["--endpoints", &urls[0], "--canary-endpoints", &urls[1], "--canary-header"];
    let router = Router::start(&[&args[..], &CANARY].concat());
    router.wait_for("llm_router_endpoints_ready", 2.0);
    assert!((0..20).all(|_| router.ask("{}", Some("canary")) == 200));
    assert_eq!((stable.asked(), canary.asked()), (0, 20));
    let counted = router.metric("llm_router_canary_step_requests{version=\"canary\"}");
    assert_eq!(counted, Some(0.0), "what somebody chose is no evidence");
}

#[test]
fn copies_go_to_the_shadow_but_not_of_what_must_not_happen_twice() {
    let (stable, shadow) = (Server::start(200), Server::start(500));
    let urls = [stable.url(), shadow.url()];
    let router =
        Router::start(&["--endpoints", &urls[0], "--shadow", &urls[1], "--shadow-share", "100"]);
    router.wait_for("llm_router_endpoints_ready", 1.0);
    for _ in 0..5 {
        assert_eq!(router.ask("{\"store\": true}", None), 200);
        assert_eq!(router.ask("{\"prompt\": \"a\"}", None), 200);
    }
    router.wait_for("llm_router_shadow_total{outcome=\"failed\"}", 5.0);
    assert_eq!((stable.asked(), shadow.asked()), (10, 5));
}
