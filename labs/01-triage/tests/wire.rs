//! The engine on the wire: beside what a real vLLM 0.32.0 answered, and with programs that others wrote.
//!
//! The recordings lie with `crates/server`, whose own test replays them with vLLM's tokens. Here a real model answers, so
//! that its words may differ, and the shape of what it says may not. Tests of other people's programs are ignored by
//! default; `cargo xtask test --only peers` fetches the programs and runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const ENGINE: &str = env!("CARGO_BIN_EXE_lab01-engine");
/// Long enough for a busy machine, short enough to be noticed.
const LIMIT: Duration = Duration::from_secs(120);
const MODEL: &str = "smollm2-135m";
const MODEL_FILE: &str = "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf";

/// A running program; killed when it goes out of scope.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Engine {
    _process: Running,
    address: String,
}

impl Engine {
    fn start(model: &str) -> Self {
        let mut process = Command::new(ENGINE)
            .args(["--port", "0", "--served-model-name", MODEL, "--exit-with-parent"])
            .args(["--max-model-len", "2048", "--model", model])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the engine starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a first line");
        let address = line.trim().strip_prefix("listening on http://").expect("its address");
        let engine = Self { address: address.to_owned(), _process: Running(process) };
        until("the engine is ready", || engine.get("/health").status == 200);
        engine
    }

    fn send(&self, request: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        stream.write_all(request).expect("it reads");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("it answers");
        Reply::parse(&bytes)
    }

    fn get(&self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.send((head + &body).as_bytes())
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

struct Reply {
    status: u16,
    headers: String,
    body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("headers end");
        let headers = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = headers.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let chunked = headers.contains("transfer-encoding: chunked");
        let body = &bytes[end + 4..];
        let body = if chunked { dechunk(body) } else { body.to_vec() };
        Self { status, headers, body: String::from_utf8(body).expect("text") }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// The body's JSON, or that of each frame.
    fn content(&self) -> Vec<Value> {
        let parse = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        if self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
            protocol::sse::data(&self.body).map(parse).collect()
        } else {
            vec![parse(self.body.trim())]
        }
    }
}

fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|w| w == b"\r\n").expect("a chunk's length");
        let length = std::str::from_utf8(&bytes[..line]).expect("a number");
        let length = usize::from_str_radix(length, 16).expect("a number");
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[line + 2..line + 2 + length]);
        bytes = &bytes[line + 2 + length + 2..];
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/server/tests/golden/vllm-0.32.0")
}

/// The course's model, or a line that says why a test did not run.
fn real_model() -> Option<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or(home.map(|home| home.join(".cache"))).map(|c| c.join("llm-systems-lab"));
    let cache = std::env::var_os("LLM_LAB_CACHE").map(PathBuf::from).or(cache);
    let path = cache.map(|cache| cache.join(MODEL_FILE)).filter(|path| path.is_file());
    if path.is_none() {
        eprintln!("SKIPPED: {MODEL_FILE} is not here; `cargo xtask model pull` fetches it");
    }
    path.map(|path| path.display().to_string())
}

/// What a value is, not what it says: names, types, what is null. Maps by token are one kind of thing.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map)
            if map.values().all(Value::is_number) && !map.contains_key("logprob") =>
        {
            json!("numbers")
        }
        Value::Object(map) => {
            map.iter().map(|(name, value)| (name.clone(), shape(value))).collect()
        }
        Value::Array(items) => {
            let mut shapes: Vec<Value> = items.iter().map(shape).collect();
            shapes.dedup();
            Value::Array(shapes)
        }
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        other => other.clone(),
    }
}

/// What must be equal whatever the model says.
fn determined(content: &[Value], ended_early: bool) -> Value {
    let of = |value: &Value, pointer: &str| value.pointer(pointer).cloned().unwrap_or_default();
    let last = content.iter().rev().find(|value| value.is_object()).unwrap_or(&Value::Null);
    let mut known: Vec<Value> = [
        "/object",
        "/model",
        "/usage/prompt_tokens",
        "/error/type",
        "/error/param",
        "/error/code",
        "/tokens",
        "/count",
        "/prompt",
        "/detail",
        "/max_model_len",
    ]
    .map(|pointer| of(last, pointer))
    .to_vec();
    if !ended_early {
        known.push(of(last, "/usage/completion_tokens"));
        known.push(of(last, "/choices/0/finish_reason"));
    }
    Value::Array(known)
}

#[test]
fn a_real_model_answers_in_the_shapes_that_vllm_recorded() {
    let Some(model) = real_model() else { return };
    let engine = Engine::start(&model);
    let mut wrong = Vec::new();
    let mut files: Vec<PathBuf> =
        fs::read_dir(golden()).expect("recordings").map(|e| e.expect("a file").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    files.sort();
    assert_eq!(files.len(), 42);
    for path in files {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("text");
        let text = text.strip_prefix("### REQUEST\n").expect("a request");
        let marker = "\n\n### RESPONSE (headers verbatim; body de-chunked)\n";
        let (request, theirs) = text.split_once(marker).expect("a response");
        let theirs = Reply::parse(theirs.replace("transfer-encoding: chunked", "x: y").as_bytes());
        let ours = engine.send(request.as_bytes());
        let mut differs = |what: &str, ours: &dyn ToString, theirs: &dyn ToString| {
            if ours.to_string() != theirs.to_string() {
                let (ours, theirs) = (ours.to_string(), theirs.to_string());
                wrong.push(format!("{name}: {what}: {ours}\n    vLLM {theirs}"));
            }
        };
        differs("status", &ours.status, &theirs.status);
        for header in ["content-type", "allow", "vary"] {
            let value = |reply: &Reply| reply.header(header).unwrap_or("none").to_owned();
            differs(header, &value(&ours), &value(&theirs));
        }
        let (ours, theirs) = (ours.content(), theirs.content());
        let shapes = |content: &[Value]| {
            let mut shapes: Vec<Value> = content.iter().map(shape).collect();
            shapes.dedup();
            Value::Array(shapes)
        };
        differs("shape", &shapes(&ours), &shapes(&theirs));
        // A quantised model may end an answer that the original one goes on with.
        let ended = |content: &[Value]| {
            content.iter().any(|value| value["choices"][0]["finish_reason"] == "stop")
        };
        let early = ended(&ours) != ended(&theirs);
        differs("values", &determined(&ours, early), &determined(&theirs, early));
        if name == "completion_echo" {
            let text = ours[0]["choices"][0]["text"].as_str().unwrap_or_default();
            assert!(text.starts_with("The capital of France is"), "{text}");
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// One family of a `/metrics` page.
#[derive(Debug, Default, PartialEq)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    bounds: BTreeSet<String>,
}

fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            current = name.to_owned();
            families.entry(current.clone()).or_default().help = help.trim().to_owned();
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((_, labels)) = line.split_once('{') {
            let family = families.entry(current.clone()).or_default();
            let labels = labels.rsplit_once('}').map_or("", |(labels, _)| labels);
            for label in labels.split("\",").filter_map(|label| label.split_once("=\"")) {
                if label.0 == "le" {
                    family.bounds.insert(label.1.trim_end_matches('"').to_owned());
                } else {
                    family.labels.insert(label.0.to_owned());
                }
            }
        }
    }
    families
}

/// Families of vLLM's page that are Python's or its client library's, or of features that are not here.
fn not_ours(name: &str) -> bool {
    name.starts_with("python_") || name.ends_with("_created") || name.starts_with("vllm:estimated_")
}

#[test]
fn the_metrics_page_has_vllms_families() {
    let engine = Engine::start("tiny");
    let body = json!({"prompt": "Once", "max_tokens": 4, "ignore_eos": true});
    assert_eq!(engine.post("/v1/completions", &body).status, 200);
    let mut ours = families(&engine.get("/metrics").body);
    for page in ["metrics.txt", "metrics-after-load.txt"] {
        let theirs = families(&fs::read_to_string(golden().join(page)).expect("a page"));
        let mut wrong = Vec::new();
        for (name, family) in theirs.iter().filter(|(name, _)| !not_ours(name)) {
            // What a cache is made of differs; the blocks have vLLM's label.
            let same_labels = name == "vllm:cache_config_info" || family.labels.is_empty();
            match ours.get_mut(name) {
                None => wrong.push(format!("{name} is missing")),
                Some(our) => {
                    if same_labels {
                        our.labels = family.labels.clone();
                    }
                    if our != family && !(page == "metrics.txt" && name.starts_with("http_")) {
                        wrong.push(format!("{name}: {our:?}\n    vLLM {family:?}"));
                    }
                }
            }
        }
        wrong.extend(ours.keys().filter(|name| !theirs.contains_key(*name)).cloned());
        assert!(wrong.is_empty(), "{page}: {} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// A folder of its own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lab01-wire-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
#[ignore = "needs promtool: `cargo xtask test --only peers`"]
fn peer_promtool_finds_only_what_vllms_own_names_bring() {
    let engine = Engine::start("tiny");
    engine.post("/v1/completions", &json!({"prompt": "Once", "max_tokens": 4}));
    let lint = |page: &str| -> BTreeSet<String> {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("promtool starts");
        let mut stdin = promtool.stdin.take().expect("a pipe");
        stdin.write_all(page.as_bytes()).expect("it reads");
        drop(stdin);
        let output = promtool.wait_with_output().expect("it ends");
        String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
    };
    let theirs =
        lint(&fs::read_to_string(golden().join("metrics-after-load.txt")).expect("a page"));
    let ours = lint(&engine.get("/metrics").body);
    let new: Vec<_> = ours.difference(&theirs).collect();
    assert!(!theirs.is_empty() && new.is_empty(), "{new:#?}");
}

#[test]
#[ignore = "needs prometheus: `cargo xtask test --only peers`"]
fn peer_prometheus_scrapes_the_engine() {
    let engine = Engine::start("tiny");
    engine.post("/v1/completions", &json!({"prompt": "Once", "max_tokens": 4, "ignore_eos": true}));
    let scratch = Scratch::new("prometheus");
    let config = scratch.0.join("prometheus.yml");
    let target = &engine.address;
    let text = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
         scrape_configs: [{{job_name: engine, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    fs::write(&config, text).expect("a file");
    // Nobody else's port: taken and given back just before.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = free.local_addr().expect("an address").to_string();
    drop(free);
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", scratch.0.join("data").display()))
        .arg(format!("--web.listen-address={listen}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _prometheus = Running(prometheus.expect("prometheus starts"));
    let query = |query: &str| -> Option<Value> {
        let mut stream = TcpStream::connect(&listen).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = format!("GET /api/v1/query?query={query} HTTP/1.0\r\nHost: {listen}\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        let reply = Reply::parse(&bytes);
        let value: Value = serde_json::from_str(&reply.body).ok()?;
        value.pointer("/data/result/0/value/1").cloned()
    };
    until("the target is up", || query("up") == Some(json!("1")));
    until("the tokens are there", || query("vllm:generation_tokens_total") == Some(json!("4")));
    assert_eq!(query("vllm:time_to_first_token_seconds_count"), Some(json!("1")));
    assert_eq!(query("count(vllm:e2e_request_latency_seconds_bucket)"), Some(json!("22")));
}

#[test]
#[ignore = "needs the openai client: `cargo xtask test --only peers`"]
fn peer_openai_client_understands_the_engine() {
    let python = std::env::var("PEERS_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let engine = Engine::start("tiny");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai_client.py");
    let output = Command::new(python)
        .arg(script)
        .arg(format!("http://{}/v1", engine.address))
        .arg(MODEL)
        .stdin(Stdio::null())
        .output()
        .expect("python starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.trim_end().ends_with("all understood"), "{said}");
}
