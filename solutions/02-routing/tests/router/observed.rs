//! The running router and two running engines, looked at from outside: a collector gets the spans of both, and a real Prometheus
//! scrapes all three as deploy/observe/prometheus.yml says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::built::{self, root};

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// The client's span.
const CLIENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A process that ends with the test.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    /// Starts a program, and reads the address from the line in which it says where it listens.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line = line.ok()?;
            let (_, rest) = line.split_once("http://")?;
            let end = rest.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(rest.len());
            Some(rest[..end].to_owned())
        });
        // Nobody reads on, and a full pipe must not stop the program.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("a program says where it listens") }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let until = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lab 1's engine on predicted steps.
fn engine(collector: SocketAddr) -> Running {
    let mut command = Command::new(built::engine());
    command.args(["--port", "0", "--sim", "h100:qwen2.5-7b", "--served-model-name", "model"]);
    Running::start(command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces(collector)))
}

fn router(engines: &[&Running], collector: SocketAddr) -> Running {
    let endpoints: Vec<String> = engines.iter().map(|engine| engine.url("")).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sol02-router"));
    command.args(["--port", "0", "--policy", "load", "--endpoints", &endpoints.join(",")]);
    Running::start(command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces(collector)))
}

fn traces(collector: SocketAddr) -> String {
    format!("http://{collector}/v1/traces")
}

/// Spans by name, with the service that sent them.
type Spans = Arc<Mutex<Vec<(String, Value)>>>;

/// A collector that takes what OTLP's JSON has.
fn collector() -> (SocketAddr, Spans) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let spans = Spans::default();
    let kept = Arc::clone(&spans);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || collect(stream, &kept));
        }
    });
    (address, spans)
}

fn collect(stream: TcpStream, kept: &Spans) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let export: Value = serde_json::from_slice(&body).unwrap();
        let resource = &export["resourceSpans"][0];
        let service =
            resource["resource"]["attributes"][0]["value"]["stringValue"].as_str().unwrap();
        for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
            kept.lock().unwrap().push((service.to_owned(), span.clone()));
        }
        let answer =
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}";
        if reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

/// What comes in time.
fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not come within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn get(url: &str) -> Option<String> {
    ureq::get(url).call().ok()?.body_mut().read_to_string().ok()
}

fn ask(router: &Running, caller: Option<&str>) {
    let body =
        json!({"model": "model", "prompt": "Tell me a story.", "max_tokens": 8, "stream": true});
    let mut request = ureq::post(router.url("/v1/completions"));
    if let Some(caller) = caller {
        request = request.header("traceparent", caller);
    }
    let text = request.send_json(&body).unwrap().body_mut().read_to_string().unwrap();
    assert!(text.contains("[DONE]"), "{text}");
}

fn ready(router: &Running) {
    within("a ready endpoint", || get(&router.url("/ready")));
}

#[test]
#[ignore = "builds lab 1's engine; run by `cargo xtask test --only peers`"]
fn peer_a_trace_leads_from_the_client_through_the_router_to_the_engines_phases() {
    let (address, spans) = collector();
    let engine = engine(address);
    let router = router(&[&engine], address);
    ready(&router);
    ask(&router, Some(CLIENT));
    let of = |name: &str| {
        let spans = spans.lock().unwrap();
        spans.iter().find(|(_, span)| span["name"] == name).cloned()
    };
    let (service, route) = within("the router's span", || of("route"));
    let (other, request) = within("the engine's span", || of("llm_request"));
    assert_eq!((&*service, &*other), ("router", "llm-systems-lab"));
    assert_eq!(route["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(request["traceId"], route["traceId"]);
    assert_eq!(route["parentSpanId"], "b7ad6b7169203331", "the client called the router");
    assert_eq!(request["parentSpanId"], route["spanId"], "the router called the engine");
    let (_, decode) = within("a phase", || of("decode"));
    assert_eq!(decode["parentSpanId"], request["spanId"], "the engine's phases are its own");
    let at = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
    let (start, end) = ("startTimeUnixNano", "endTimeUnixNano");
    // Both read the same machine's clock, once, when they start.
    let slack = Duration::from_millis(50).as_nanos();
    assert!(at(&route, start) <= at(&request, start) + slack, "the engine's part begins within");
    assert!(at(&request, end) <= at(&route, end) + slack, "and ends within");
    let told = route["attributes"].to_string();
    assert!(told.contains("server.address") && told.contains(&engine.address), "{told}");
}

#[test]
#[ignore = "builds lab 1's engine; run by `cargo xtask test --only peers`"]
fn peer_a_caller_that_does_not_record_leaves_no_span() {
    let (address, spans) = collector();
    let engine = engine(address);
    let router = router(&[&engine], address);
    ready(&router);
    ask(&router, Some(&CLIENT.replace("-01", "-00")));
    ask(&router, None);
    // The second is exported after the first would have been.
    let own = within("a span of a request without a caller", || {
        let spans = spans.lock().unwrap();
        spans.iter().find(|(_, span)| span["name"] == "route").map(|(_, span)| span.clone())
    });
    assert!(own.get("parentSpanId").is_none());
    let unrecorded =
        |(_, span): &(String, Value)| span["traceId"] == "0af7651916cd43dd8448eb211c80319c";
    assert!(!spans.lock().unwrap().iter().any(unrecorded));
}

/// The scrape configuration of deploy/observe, with the pods that Kubernetes would find written down: relabelling and all.
fn prometheus_config(pods: &[(&str, &Running)]) -> Value {
    let text =
        std::fs::read_to_string(root().join("solutions/02-routing/deploy/observe/prometheus.yml"));
    let mut config: Value = serde_saphyr::from_str(&text.unwrap()).unwrap();
    let job = config["scrape_configs"][0].as_object_mut().unwrap();
    job.remove("kubernetes_sd_configs").unwrap();
    let found = |(index, (name, pod)): (usize, &(&str, &Running))| {
        let (host, port) = pod.address.rsplit_once(':').unwrap();
        json!({"targets": [format!("{host}:1")], "labels": {
            "__meta_kubernetes_pod_annotation_prometheus_io_scrape": "true",
            "__meta_kubernetes_pod_annotation_prometheus_io_port": port,
            "__meta_kubernetes_namespace": "default",
            "__meta_kubernetes_pod_name": format!("{name}-{index}"),
            "__meta_kubernetes_pod_label_app_kubernetes_io_name": name,
        }})
    };
    let mut all: Vec<Value> = pods.iter().enumerate().map(found).collect();
    // A pod that nobody asked to scrape.
    all.push(
        json!({"targets": ["127.0.0.1:1"], "labels": {"__meta_kubernetes_pod_name": "other"}}),
    );
    job.insert("static_configs".to_owned(), Value::Array(all));
    config["global"] = json!({"scrape_interval": "1s", "evaluation_interval": "1s"});
    config
}

#[test]
#[ignore = "needs prometheus; `cargo xtask test --only peers` installs it"]
fn peer_prometheus_scrapes_the_router_and_its_engines() {
    let (address, _spans) = collector();
    let engines = [engine(address), engine(address)];
    let router = router(&[&engines[0], &engines[1]], address);
    ready(&router);
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: String| std::fs::write(folder.path().join(file), text).unwrap();
    let config =
        prometheus_config(&[("router", &router), ("engine", &engines[0]), ("engine", &engines[1])]);
    write("prometheus.yml", config.to_string());
    let rules =
        std::fs::read_to_string(root().join("solutions/02-routing/deploy/observe/rules.yaml"));
    let rules: Value = serde_saphyr::from_str(&rules.unwrap()).unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    write("rules/rules.yaml", rules["spec"].to_string());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("prometheus");
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", &listen]);
    command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let prometheus = Running { child, address: format!("127.0.0.1:{port}") };
    for _ in 0..20 {
        ask(&router, None);
    }
    let query = |expr: &str| -> Option<Vec<Value>> {
        let url = prometheus.url("/api/v1/query");
        let mut answer = ureq::get(&url).query("query", expr).call().ok()?;
        let answer: Value = answer.body_mut().read_json().ok()?;
        answer["data"]["result"].as_array().cloned().filter(|result| !result.is_empty())
    };
    let up = within("three targets", || query("up == 1").filter(|result| result.len() == 3));
    let names: BTreeMap<&str, &str> = up
        .iter()
        .map(|each| {
            (each["metric"]["pod"].as_str().unwrap(), each["metric"]["job"].as_str().unwrap())
        })
        .collect();
    let expected = [("engine-1", "engine"), ("engine-2", "engine"), ("router-0", "router")];
    assert_eq!(names, BTreeMap::from(expected), "the pod without an annotation is left out");
    let value = |expr: &str| -> f64 {
        let found = within(expr, || query(expr));
        found[0]["value"][1].as_str().unwrap().parse().unwrap()
    };
    within("all answers in a scrape", || {
        (value(r#"sum(llm_router_requests_total{code="200"})"#) >= 20.0).then_some(())
    });
    within("both engines' tokens", || {
        (value("sum(vllm:generation_tokens_total)") >= 160.0).then_some(())
    });
    assert_eq!(value("max(llm_router_endpoints_ready)"), 2.0);
    // The recording rules work on what is really exported. A rate needs a counter that grew between two scrapes: so ask on.
    within("an error ratio of 0", || {
        ask(&router, None);
        (value("llm_router:errors:ratio_rate5m") == 0.0).then_some(())
    });
    within("answers within 2.5 s", || {
        (value("llm_router:first_byte_2s5:ratio_rate5m") > 0.0).then_some(())
    });
}
