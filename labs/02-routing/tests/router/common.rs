//! Model servers that say one thing, and the running router before them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Long enough for a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A model server that says the same to everybody, and is always well.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(status: u16) -> Self {
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

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The next request of a connection: its first line, and its body. `None`: there is none any more.
pub(crate) fn read_request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
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
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((line, body))
}

fn answer(stream: TcpStream, status: u16, asked: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (line, _) = read_request(&mut reader)?;
        let is_well = line.starts_with("GET /health ");
        let status = if is_well { 200 } else { status };
        asked.fetch_add(usize::from(line.starts_with("POST ")), Ordering::SeqCst);
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 2\r\n\r\nok");
        reader.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}

/// The router; it ends with the test.
pub(crate) struct Router {
    child: Child,
    pub(crate) url: String,
}

impl Router {
    pub(crate) fn start(args: &[&str]) -> Self {
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

    pub(crate) fn wait_for(&self, metric: &str, value: f64) {
        let until = Instant::now() + LIMIT;
        while self.metric(metric) != Some(value) {
            assert!(Instant::now() < until, "{metric} is {:?}, not {value}", self.metric(metric));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let page = ureq::get(format!("{}/metrics", self.url)).call().unwrap();
        let page = page.into_body().read_to_string().unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }

    /// The status of a completion.
    pub(crate) fn ask(&self, body: &str, version: Option<&str>) -> u16 {
        self.ask_with(body, version.map(|version| ("x-llm-version", version)))
    }

    /// The same, with a field.
    pub(crate) fn ask_with(&self, body: &str, field: Option<(&str, &str)>) -> u16 {
        ask(&self.url, body, field).unwrap()
    }
}

/// The status of a completion, once its body is read.
pub(crate) fn ask(url: &str, body: &str, field: Option<(&str, &str)>) -> Result<u16, ureq::Error> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.post(format!("{url}/v1/completions"));
    if let Some((name, value)) = field {
        request = request.header(name, value);
    }
    let answer = request.send(body)?;
    let status = answer.status().as_u16();
    answer.into_body().read_to_string()?;
    Ok(status)
}

impl Drop for Router {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}
