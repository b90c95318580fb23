//! gRPC's health check, as a probe asks it: one call `grpc.health.v1.Health/Check` on a connection of its own.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>; the words are the kubelet's.

use std::pin::pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use http::HeaderMap;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::GRPCAction;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use prost::Message;

use super::hooks::{ANSWER, Call, Failure};

/// Which service is asked about; none: the server as a whole.
#[derive(Clone, PartialEq, Eq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
}

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Response {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The values of [`Response::status`].
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// The one that means well.
const SERVING: i32 = 1;
/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// gRPC's codes by number, as Go names them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
/// The number of `Unimplemented`.
const UNIMPLEMENTED: usize = 12;

impl Call {
    /// Asks for a service's health; `SERVING` is success.
    pub(crate) async fn grpc(&self, action: &GRPCAction) -> Result<(), Failure> {
        let to = self.reach(None, &IntOrString::Int(action.port))?;
        let at = to.to_string();
        let prefix = format!("error: failed to connect service at {at:?}: ");
        let stream = self.connect(to, &prefix).await?;
        let failed = |error: hyper::Error| Failure {
            message: format!("error: health rpc probe failed: {error}"),
            // The pod's relay takes a connection that nobody behind it does; then it closes it.
            not_listening: true,
        };
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(failed)?;
        let request = request(&at, action.service.as_deref().unwrap_or(""))
            .map_err(|error| format!("error: health rpc probe failed: {error}"))?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let (head, body) = answer.into_parts();
            let Ok(body) = Limited::new(body, ANSWER).collect().await else {
                return Ok(Err("error: health rpc probe failed: the answer broke off".to_owned()));
            };
            // An answer without a message has its status among its headers.
            let trailers = body.trailers().cloned().unwrap_or(head.headers);
            Ok(verdict(head.status, &trailers, &body.to_bytes()))
        };
        let mut exchange = pin!(exchange);
        let answer = tokio::select! {
            answer = &mut exchange => answer,
            // Its end may be seen before what came with it.
            ended = connection => match (exchange.now_or_never(), ended) {
                (Some(answer), _) => answer,
                (None, Err(error)) => Err(error),
                (None, Ok(())) => return Err("error: health rpc probe failed: no answer".to_owned().into()),
            },
        };
        Ok(answer.map_err(failed)??)
    }
}

fn request(at: &str, service: &str) -> http::Result<http::Request<Full<Bytes>>> {
    let message = Request { service: service.to_owned() }.encode_to_vec();
    let mut body = BytesMut::with_capacity(PREFIX + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.put_slice(&message);
    http::Request::post(format!("http://{at}/grpc.health.v1.Health/Check"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .header(http::header::USER_AGENT, "kube-probe/1.34")
        .body(Full::new(body.freeze()))
}

/// What an answer means.
fn verdict(status: http::StatusCode, trailers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    if status != http::StatusCode::OK {
        return Err(format!("error: health rpc probe failed: the server answered HTTP {status}"));
    }
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").and_then(|code| code.parse::<usize>().ok());
    let said = text("grpc-message").unwrap_or("");
    match code {
        Some(0) => {}
        Some(UNIMPLEMENTED) => {
            return Err(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {said}"
            ));
        }
        other => {
            let code = other.and_then(|code| CODES.get(code)).copied().unwrap_or("Unknown");
            return Err(format!(
                "error: health rpc probe failed: rpc error: code = {code} desc = {said}"
            ));
        }
    }
    let whole = body.split_at_checked(PREFIX).filter(|(prefix, _)| prefix[0] == 0);
    let message = whole.and_then(|(_, message)| Response::decode(message).ok());
    let message = message.ok_or("error: health rpc probe failed: the answer cannot be read")?;
    if message.status == SERVING {
        return Ok(());
    }
    let name = usize::try_from(message.status).ok().and_then(|status| STATUSES.get(status));
    let name = name.map_or_else(|| message.status.to_string(), |name| (*name).to_owned());
    Err(format!("service unhealthy (responded with {name:?})"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use endpoint_picker::{Phase, Picker, Reply, Session};
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that speaks gRPC by tonic, and is ready when it is told.
    #[derive(Default)]
    struct Server {
        ready: AtomicBool,
    }

    struct Silent;

    impl Picker for Server {
        type Session = Silent;

        fn open(&self) -> Silent {
            Silent
        }

        fn is_ready(&self) -> bool {
            self.ready.load(Ordering::SeqCst)
        }
    }

    impl Session for Silent {
        fn on(&mut self, _: Phase, _: Duration) -> Vec<Reply> {
            Vec::new()
        }

        fn closed(&mut self, _: Duration) {}
    }

    async fn ask(port: u16, service: Option<&str>) -> Result<(), Failure> {
        let service = service.map(str::to_owned);
        Call::default().grpc(&GRPCAction { port: i32::from(port), service }).await
    }

    #[tokio::test]
    async fn a_service_is_well_when_its_server_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Arc::new(Server::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = endpoint_picker::serve(listener, Arc::clone(&server), async {
            let _ = stopped.await;
        });
        let serving = tokio::spawn(serving);
        let message = async |service| ask(port, service).await.unwrap_err().message;
        assert_eq!(ask(port, Some("liveness")).await, Ok(()));
        let unhealthy = "service unhealthy (responded with \"NOT_SERVING\")";
        assert_eq!(message(Some("readiness")).await, unhealthy);
        assert_eq!(message(None).await, unhealthy);
        assert!(message(Some("nobody")).await.contains("code = NotFound"));
        server.ready.store(true, Ordering::SeqCst);
        assert_eq!(ask(port, Some("readiness")).await, Ok(()));
        assert_eq!(ask(port, None).await, Ok(()));
        drop(stop);
        serving.await.unwrap().unwrap();
        let refused = ask(port, None).await.unwrap_err();
        assert!(refused.not_listening && refused.message.contains("connection refused"));
    }

    #[tokio::test]
    async fn a_server_that_speaks_no_grpc_is_not_well() {
        use tokio::io::AsyncWriteExt;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            stream
        });
        let refused = ask(port, None).await.unwrap_err();
        assert!(refused.message.starts_with("error: health rpc probe failed"), "{refused:?}");
        drop(serving.await.unwrap());
    }

    fn trailers(code: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static(code),
        )])
    }

    fn answered(code: &'static str, status: i32) -> Result<(), String> {
        let message = Response { status }.encode_to_vec();
        let mut body = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
        body.extend(message);
        verdict(http::StatusCode::OK, &trailers(code), &body)
    }

    #[test]
    fn only_serving_is_well() {
        assert_eq!(answered("0", SERVING), Ok(()));
        let unhealthy = |name: &str| Err(format!("service unhealthy (responded with {name:?})"));
        assert_eq!(answered("0", 0), unhealthy("UNKNOWN"));
        assert_eq!(answered("0", 2), unhealthy("NOT_SERVING"));
        assert_eq!(answered("0", 9), unhealthy("9"));
        assert!(answered("5", SERVING).unwrap_err().contains("code = NotFound"));
        assert!(answered("12", SERVING).unwrap_err().contains("does not implement"));
        assert!(answered("x", SERVING).unwrap_err().contains("code = Unknown"));
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(
            code in 100..600_u16,
            body in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let status = http::StatusCode::from_u16(code).unwrap();
            let _never_panics = verdict(status, &trailers("0"), &body);
            let _never_panics = verdict(http::StatusCode::OK, &trailers("0"), &body);
        }
    }
}
