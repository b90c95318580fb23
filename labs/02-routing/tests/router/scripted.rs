//! Model servers that do as they are told, and what a router before them says.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::built;
use crate::common::{LIMIT, Router, read_request};

/// What a server does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// 200, `ok`.
    Answers,
    /// 500.
    Fails,
    /// Nothing, until it is told otherwise.
    Holds,
}

struct State {
    act: Act,
    well: bool,
    bodies: Vec<String>,
}

/// A model server.
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { act: Act::Answers, well: true, bodies: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn act(&self, act: Act) {
        self.state.lock().unwrap().act = act;
    }

    pub(crate) fn be_well(&self, well: bool) {
        self.state.lock().unwrap().well = well;
    }

    /// Of all requests that were posted.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.state.lock().unwrap().bodies.clone()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (line, body) = read_request(&mut reader)?;
        let status = if line.starts_with("POST ") {
            state.lock().unwrap().bodies.push(String::from_utf8(body).unwrap());
            let act = within("an order to answer", || {
                let act = state.lock().unwrap().act;
                (act != Act::Holds).then_some(act)
            });
            if act == Act::Fails { 500 } else { 200 }
        } else if line.starts_with("GET /health ") && !state.lock().unwrap().well {
            503
        } else {
            200
        };
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 2\r\n\r\nok");
        reader.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}

/// What comes in time.
pub(crate) fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not come within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What the router said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) downgraded: Option<String>,
    pub(crate) body: String,
}

impl Router {
    pub(crate) fn with_catalogue(text: &str, args: &[&str]) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        // It is read once, before the router says where it listens.
        Self::start(&[&["--catalogue", path], args].concat())
    }

    pub(crate) fn get(&self, path: &str) -> Said {
        said(agent().get(format!("{}{path}", self.url)).call().unwrap())
    }

    pub(crate) fn post(&self, path: &str, body: &str, fields: &[(&str, &str)]) -> Said {
        let mut request =
            agent().post(format!("{}{path}", self.url)).header("content-type", "application/json");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        said(request.send(body).unwrap())
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn said(answer: ureq::http::Response<ureq::Body>) -> Said {
    let field = |name: &str| {
        let value = answer.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let (retry_after, downgraded) = (field("retry-after"), field("x-llm-tier-downgraded"));
    let status = answer.status().as_u16();
    let body = answer.into_body().read_to_string().unwrap();
    Said { status, retry_after, downgraded, body }
}

/// Lab 1's engine on predicted steps. It ends with the test.
pub(crate) struct Engine {
    child: Child,
    pub(crate) url: String,
}

impl Engine {
    pub(crate) fn start(name: &str) -> Self {
        let mut child = Command::new(built::engine())
            .args(["--port", "0", "--sim", "h100:qwen2.5-7b", "--served-model-name", name])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.find_map(|line| {
            let line = line.ok()?;
            let from = line.find("http://")?;
            line[from..].split_whitespace().next().map(|url| url.trim_end_matches('/').to_owned())
        });
        // Nobody reads on, and a full pipe must not stop the program.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: url.expect("an engine says where it listens") }
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Said {
        let request = agent().post(format!("{}{path}", self.url));
        said(request.header("content-type", "application/json").send(body).unwrap())
    }

    pub(crate) fn kill(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}
