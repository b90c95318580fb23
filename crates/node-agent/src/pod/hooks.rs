//! Calls into a container: by a program, by HTTP, by a connection. What hooks and probes have in common.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{HTTPGetAction, LifecycleHandler};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::tls;
use crate::net::PodAddress;
use crate::sandbox::Sandbox;
use crate::supervisor::order::Spec;

/// Bytes that are kept of what a call answers (kubelet: 10 KiB).
pub(super) const ANSWER: usize = 10 << 10;

/// What a call into a container needs to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) env: Arc<Vec<(String, String)>>,
    pub(crate) dir: PathBuf,
    /// The process whose view of files is shared.
    pub(crate) enter: Option<u32>,
    pub(crate) address: Option<PodAddress>,
    /// Declared ports.
    pub(crate) ports: Vec<(Option<String>, i32)>,
}

/// How a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In the kubelet's words.
    pub(crate) message: String,
    /// Nobody listens, or not yet.
    pub(crate) not_listening: bool,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { message, not_listening: false }
    }
}

/// Runs a lifecycle hook to its end.
pub(crate) async fn run(hook: &LifecycleHandler, call: &Call) -> Result<(), String> {
    let told = |failure: Failure| failure.message;
    if let Some(exec) = &hook.exec {
        call.exec(exec.command.as_deref().unwrap_or(&[])).await.map_err(told)
    } else if let Some(get) = &hook.http_get {
        call.http(get).await.map_err(told)
    } else if let Some(sleep) = &hook.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(())
    } else if let Some(socket) = &hook.tcp_socket {
        call.tcp(socket.host.as_deref(), &socket.port).await.map_err(told)
    } else {
        Err("the hook says nothing that can be done".to_owned())
    }
}

impl Call {
    /// What runs a command beside a container's main process.
    pub(crate) fn spec(&self, command: &[String]) -> Spec {
        Spec {
            argv: command.to_vec(),
            env: self.env.to_vec(),
            dir: self.dir.clone(),
            enter: self.enter,
            ..Spec::default()
        }
    }

    /// Runs a command; status 0 is success.
    pub(crate) async fn exec(&self, command: &[String]) -> Result<(), Failure> {
        let Some(sandbox) = &self.sandbox else {
            return Err("the container does not run".to_owned().into());
        };
        let (ended, output) = sandbox.output(self.spec(command), ANSWER as u64).await;
        match ended {
            Ok(ending) if ending.code == 0 => Ok(()),
            Ok(_) => Err(output.into()),
            Err(why) => Err(why.into()),
        }
    }

    /// Opens a connection.
    pub(crate) async fn tcp(&self, host: Option<&str>, port: &IntOrString) -> Result<(), Failure> {
        let to = self.reach(host, port)?;
        self.connect(to, "").await.map(drop)
    }

    /// Gets a page; a status from 200 to 399 is success.
    pub(crate) async fn http(&self, get: &HTTPGetAction) -> Result<(), Failure> {
        let scheme = match get.scheme.as_deref().unwrap_or("") {
            "" | "HTTP" => "http",
            "HTTPS" => "https",
            other => return Err(format!("unknown scheme {other:?}: HTTP or HTTPS").into()),
        };
        let to = self.reach(get.host.as_deref(), &get.port)?;
        let path = get.path.as_deref().unwrap_or("/");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let url = format!("{scheme}://{to}{path}");
        let prefix = format!("Get {url:?}: ");
        let stream = self.connect(to, &prefix).await?;
        let failed = |error: &dyn std::fmt::Display| Failure {
            message: format!("{prefix}{error}"),
            not_listening: false,
        };
        let mut request = http::Request::get(&path)
            .header(http::header::HOST, to.to_string())
            .header(http::header::USER_AGENT, "kube-probe/1.34")
            .header(http::header::ACCEPT, "*/*")
            .header(http::header::CONNECTION, "close");
        for header in get.http_headers.iter().flatten() {
            if header.name.eq_ignore_ascii_case("host")
                && let (Some(headers), Ok(value)) = (request.headers_mut(), header.value.parse())
            {
                headers.insert(http::header::HOST, value);
                continue;
            }
            request = request.header(&header.name, &header.value);
        }
        let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|error| failed(&error))?;
        if scheme == "http" {
            return exchange(TokioIo::new(stream), request, &prefix).await;
        }
        let stream = tls::connect(stream, to).await.map_err(|error| Failure {
            // The pod's relay takes a connection that nobody behind it does; then it closes it.
            not_listening: error.kind() != std::io::ErrorKind::InvalidData,
            ..failed(&error)
        })?;
        exchange(TokioIo::new(stream), request, &prefix).await
    }
    pub(super) async fn connect(&self, to: SocketAddr, prefix: &str) -> Result<TcpStream, Failure> {
        TcpStream::connect(to).await.map_err(|error| {
            let words = match error.kind() {
                std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
                _ => error.to_string(),
            };
            let not_listening = error.kind() == std::io::ErrorKind::ConnectionRefused;
            Failure { message: format!("{prefix}dial tcp {to}: {words}"), not_listening }
        })
    }

    /// Where a port of the container is reached: through the pod's relay if the port is declared.
    pub(super) fn reach(
        &self,
        host: Option<&str>,
        port: &IntOrString,
    ) -> Result<SocketAddr, Failure> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => self
                .ports
                .iter()
                .find(|(known, _)| known.as_deref() == Some(name))
                .map(|(_, number)| *number)
                .or_else(|| name.parse().ok()),
        };
        let port = number.and_then(|number| u16::try_from(number).ok());
        let port = port.ok_or_else(|| format!("unknown port: {port:?}"))?;
        if let Some(host) = host.filter(|host| !host.is_empty()) {
            let host: IpAddr =
                host.parse().map_err(|_| format!("the probe's host is no address: {host}"))?;
            return Ok((host, port).into());
        }
        let address = self.address.as_ref();
        let is_declared = self.ports.iter().any(|(_, declared)| *declared == i32::from(port));
        let host = address.map(|one| if is_declared { one.advertised } else { one.bind });
        Ok((host.unwrap_or(Ipv4Addr::LOCALHOST), port).into())
    }
}

/// One request and its answer on a connection of their own.
async fn exchange<S>(
    io: S,
    request: http::Request<Empty<bytes::Bytes>>,
    prefix: &str,
) -> Result<(), Failure>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let failed = |error: hyper::Error| Failure {
        message: format!("{prefix}{error}"),
        not_listening: !error.is_parse(),
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(failed)?;
    // Ends with this call, as the connection is not spawned.
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER).collect().await;
        let text = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok::<_, hyper::Error>((status, text))
    };
    let mut exchange = pin!(exchange);
    let answer = tokio::select! {
        answer = &mut exchange => answer,
        // Its end may be seen before what came with it.
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => exchange.now_or_never().unwrap_or(Err(error)),
        },
    };
    match answer {
        Ok((status, _)) if (200..400).contains(&status.as_u16()) => Ok(()),
        Ok((status, _)) => {
            Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()).into())
        }
        Err(error) => Err(failed(error)),
    }
}
