//! A small server for tests of this crate: what it does is said by its arguments.
//!
//! It is no pod of `crates/stub`, a whole image that knows nothing of Kubernetes: it has to be the agent's supervisor, and cargo
//! tells tests only where programs of their own package lie.
//!
//! `--listen HOST:PORT` serves `/health` (200, or what `--health CODE` says), `/slow` (after `--slow MS`), `/env/NAME`,
//! `/file/PATH`, `/host/NAME` (addresses of a name), `/get/HOST:PORT/PATH` (fetches it), `/log/TEXT`, `/exit/CODE`, `/echo` (the
//! request), `/name` (the host name). Without it: `--print TEXT`, `--to-stderr TEXT`, `--sleep MS`, `--fork` (a child that outlives
//! its parent, in a session of its own), `--ignore-term`, `--hold MIB`, `--write PATH TEXT`, `--exit CODE`, done in order.
//! `--cluster DIR PODS` is a whole cluster of such servers, until it is killed; it says when all are ready. It also serves as the supervisor of pods.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

fn main() -> std::process::ExitCode {
    node_agent::maybe_run_supervisor();
    let mut arguments = std::env::args().skip(1);
    let mut server = Server { health: 200, slow: Duration::from_millis(300) };
    while let Some(flag) = arguments.next() {
        let mut next = || arguments.next().unwrap_or_default();
        match flag.as_str() {
            "--health" => server.health = next().parse().unwrap_or(200),
            "--slow" => server.slow = milliseconds(&next()),
            "--listen" => return server.serve(&next()),
            "--print" => println!("{}", next()),
            "--to-stderr" => eprintln!("{}", next()),
            "--sleep" => std::thread::sleep(milliseconds(&next())),
            "--write" => {
                let path = next();
                if let Err(error) = std::fs::write(&path, next()) {
                    eprintln!("{path}: {error}");
                    return 1.into();
                }
            }
            "--exit" => return next().parse::<u8>().unwrap_or(1).into(),
            "--cluster" => return cluster(&next(), &next()),
            "--fork" => fork(),
            "--ignore-term" => ignore_term(),
            "--hold" => hold(&next()),
            other => {
                eprintln!("unknown argument {other}");
                return 2.into();
            }
        }
    }
    0.into()
}

fn milliseconds(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap_or(0))
}

/// A grandchild that nobody waits for, in a session of its own.
fn fork() {
    let child = std::process::Command::new("setsid").args(["-f", "sleep", "1000"]).status();
    if let Err(error) = child {
        eprintln!("setsid: {error}");
    }
}

fn ignore_term() {
    #[cfg(unix)]
    {
        let mut set = nix::sys::signal::SigSet::empty();
        set.add(nix::sys::signal::Signal::SIGTERM);
        if let Err(error) = set.thread_block() {
            eprintln!("SIGTERM: {error}");
        }
    }
}

fn hold(mib: &str) {
    let bytes = vec![1_u8; mib.parse::<usize>().unwrap_or(1) << 20];
    std::mem::forget(std::hint::black_box(bytes));
}

#[derive(Clone, Copy)]
struct Server {
    health: u16,
    slow: Duration,
}

impl Server {
    fn serve(self, at: &str) -> std::process::ExitCode {
        let listener = match TcpListener::bind(at) {
            Ok(listener) => listener,
            Err(error) => {
                eprintln!("{at}: {error}");
                return 1.into();
            }
        };
        println!("listening on {at}");
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _client_is_gone = self.answer_all(&stream);
            });
        }
        0.into()
    }

    fn answer_all(self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut input = BufReader::new(stream);
        let mut output = stream;
        loop {
            let mut head = String::new();
            let mut line = String::new();
            loop {
                line.clear();
                if input.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if line.trim_end().is_empty() {
                    break;
                }
                head.push_str(&line);
            }
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let mut body = vec![0; length.unwrap_or(0).min(1 << 20)];
            input.read_exact(&mut body)?;
            let path = head.split_ascii_whitespace().nth(1).unwrap_or("/").to_owned();
            let (code, text) = self.answer(&path, &head, &body);
            let length = text.len();
            let answer = format!("HTTP/1.1 {code} -\r\nContent-Length: {length}\r\n\r\n");
            output.write_all(&[answer.as_bytes(), &text].concat())?;
        }
    }

    fn answer(self, target: &str, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let (what, rest) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let text = match what {
            "health" => return (self.health, Vec::new()),
            "slow" => {
                std::thread::sleep(self.slow);
                "slow".to_owned()
            }
            "env" => match std::env::var(rest) {
                Ok(value) => value,
                Err(_) => return (404, Vec::new()),
            },
            "file" => match std::fs::read_to_string(format!("/{rest}")) {
                Ok(text) => text,
                Err(error) => return (404, error.to_string().into_bytes()),
            },
            "host" => match (rest, 0).to_socket_addrs() {
                Ok(all) => all.map(|at| at.ip().to_string()).collect::<Vec<_>>().join(" "),
                Err(error) => return (404, error.to_string().into_bytes()),
            },
            "get" => return get(rest),
            "name" => std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default(),
            "log" => {
                println!("{rest}");
                String::new()
            }
            "echo" => format!("{head}\n{}", String::from_utf8_lossy(body)),
            "exit" => std::process::exit(rest.parse().unwrap_or(1)),
            _ => return (404, Vec::new()),
        };
        (200, text.into_bytes())
    }
}

/// Fetches `HOST:PORT/PATH` on a connection of its own.
fn get(target: &str) -> (u16, Vec<u8>) {
    let (to, path) = target.split_once('/').unwrap_or((target, ""));
    let fetch = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    match fetch() {
        Ok(text) => (200, text.into_bytes()),
        Err(error) => (502, error.to_string().into_bytes()),
    }
}

/// A cluster of one node and some pods, each of which forks and then serves.
fn cluster(dir: &str, pods: &str) -> std::process::ExitCode {
    use object_store::{Store, WriteOptions};
    use serde_json::json;

    let Ok(runtime) =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
    else {
        return 1.into();
    };
    let mut config = node_agent::Config::new(dir);
    config.token = Some("token".to_owned());
    config.images.push(node_agent::Image {
        pattern: "stub".into(),
        program: std::env::current_exe().unwrap_or_default(),
        args: Vec::new(),
        env: Default::default(),
    });
    let store = Store::default();
    let create = |plural: &str, object| {
        let created = store.create(&store.kind("", plural), object, &WriteOptions::default());
        if let Err(refused) = created {
            eprintln!("{plural}: {refused}");
        }
    };
    create("namespaces", json!({"metadata": {"name": "default"}}));
    // What every pod mounts, and what controllers and API server would see to.
    let authority = json!({"name": "kube-root-ca.crt", "namespace": "default"});
    create("configmaps", json!({"metadata": authority, "data": {"ca.crt": "PEM"}}));
    let pods = pods.parse::<usize>().unwrap_or(1);
    for number in 0..pods {
        create(
            "pods",
            json!({
                "metadata": {"name": format!("stub-{number}"), "namespace": "default"},
                "spec": {
                    "nodeName": "node-0",
                    "containers": [{
                        "name": "main",
                        "image": "stub",
                        "args": ["--fork", "--listen", "$(POD_IP):8080"],
                        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                        "ports": [{"containerPort": 8080}],
                        "readinessProbe": {"httpGet": {"path": "/health", "port": 8080}},
                    }],
                },
            }),
        );
    }
    runtime.spawn(say_when_ready(store.clone(), pods));
    let ran = runtime.block_on(node_agent::run(store, config, std::future::pending()));
    match ran {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("{error}");
            1.into()
        }
    }
}

/// Prints how long it took until so many pods are ready.
async fn say_when_ready(store: object_store::Store, pods: usize) {
    let start = std::time::Instant::now();
    let kind = store.kind("", "pods");
    let is_ready = |pod: &serde_json::Value| {
        let all = pod["status"]["conditions"].as_array();
        all.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let ready = object_store::Selection::default().matching(is_ready);
    while store.select(&kind, &ready).len() < pods {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    println!("{pods} pods ready after {} ms", start.elapsed().as_millis());
}
