//! The routers: how each is told to do the same.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{BenchError, Installed, Task, write};

/// How long a router may live.
const LIMIT: Duration = Duration::from_secs(600);
/// Bytes of a request that nginx and haproxy keep in memory: more than any here has.
const BODY: &str = "128k";

/// A router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Nginx,
    Haproxy,
    VllmRouter,
    SglangRouter,
}

impl Kind {
    pub(super) fn of_peer(name: &str) -> Option<Self> {
        Some(match name {
            "nginx" => Self::Nginx,
            "haproxy" => Self::Haproxy,
            "vllm-router" => Self::VllmRouter,
            "sglang-router" => Self::SglangRouter,
            _ => return None,
        })
    }

    /// Of what is installed, the program that is started.
    pub(super) fn program(self, installed: &Installed) -> PathBuf {
        installed.program(match self {
            Self::Ours => "sol02-router",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::VllmRouter | Self::SglangRouter => "python",
        })
    }

    /// Starts it on the first of these ports, before these backends; some want a second one for their metrics. `by_prefix` wants the policy that looks at prefixes, where there is one.
    pub(super) fn task(
        self,
        program: &Path,
        dir: &Path,
        [port, metrics]: [u16; 2],
        backends: &[String],
        by_prefix: bool,
    ) -> Result<Task, BenchError> {
        let task = Task::new(program, LIMIT);
        let (port, metrics) = (port.to_string(), metrics.to_string());
        let urls = backends.iter().map(|backend| format!("http://{backend}"));
        let python = |module: &str| {
            let policy = if by_prefix { "cache_aware" } else { "round_robin" };
            let fixed = ["-m", module, "--host", "127.0.0.1", "--port", &port, "--policy", policy];
            let task = Task::new(program, LIMIT).args(fixed).args(["--log-level", "error"]);
            let task = task.args(["--prometheus-port", &metrics]);
            task.args(["--worker-urls"]).args(urls.clone())
        };
        Ok(match self {
            Self::Ours => {
                let policy = if by_prefix { "combined" } else { "round-robin" };
                let urls: Vec<String> = urls.collect();
                task.args(["--port", &port, "--policy", policy, "--endpoints", &urls.join(",")])
            }
            Self::Nginx => {
                let file = dir.join("nginx.conf");
                write(&file, &nginx(dir, &port, backends))?;
                task.args([Path::new("-c"), &file, Path::new("-p"), dir])
            }
            Self::Haproxy => {
                let file = dir.join("haproxy.cfg");
                write(&file, &haproxy(&port, backends))?;
                task.args([Path::new("-db"), Path::new("-f"), &file])
            }
            Self::VllmRouter => python("vllm_router.launch_router"),
            Self::SglangRouter => python("sglang_router.launch_router"),
        })
    }
}

fn nginx(dir: &Path, port: &str, backends: &[String]) -> String {
    let servers: String =
        backends.iter().map(|backend| format!("    server {backend};\n")).collect();
    let dir = dir.display();
    format!(
        "daemon off;\nworker_processes 1;\nerror_log {dir}/nginx.log crit;\npid {dir}/nginx.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  tcp_nodelay on;\n  keepalive_requests 100000000;\n\
         \x20 client_body_temp_path {dir}/body;\n  proxy_temp_path {dir}/proxy;\n  fastcgi_temp_path {dir}/f;\n\
         \x20 uwsgi_temp_path {dir}/u;\n  scgi_temp_path {dir}/s;\n\
         \x20 client_body_buffer_size {BODY};\n  client_max_body_size 16m;\n\
         \x20 upstream backends {{\n{servers}    keepalive 128;\n    keepalive_requests 100000000;\n  }}\n\
         \x20 server {{\n    listen 127.0.0.1:{port} backlog=1024;\n    location / {{\n\
         \x20     proxy_pass http://backends;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n\
         \x20     proxy_buffering off;\n      proxy_read_timeout 600s;\n    }}\n  }}\n}}\n"
    )
}

fn haproxy(port: &str, backends: &[String]) -> String {
    let servers: String = backends
        .iter()
        .enumerate()
        .map(|(at, backend)| format!("  server s{at} {backend}\n"))
        .collect();
    format!(
        "global\n  nbthread 1\n  maxconn 4096\n  tune.bufsize 131072\n\
         defaults\n  mode http\n  option http-no-delay\n  http-reuse always\n\
         \x20 timeout connect 5s\n  timeout client 600s\n  timeout server 600s\n\
         frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
         backend b\n  balance roundrobin\n{servers}"
    )
}
