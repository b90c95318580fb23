//! The service: one gRPC stream a request, served until told to end.
//!
//! tonic's generated code is written out here: two services with one method each need no code generator at build time.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::health::Health;
use crate::messages::{ProcessingRequest, ProcessingResponse};
use crate::{Picker, Reply, Session, convert};

/// The service's name on the wire.
pub(crate) const NAME: &str = "envoy.service.ext_proc.v3.ExternalProcessor";
/// Replies that may wait for the proxy to take them.
const REPLIES: usize = 64;
/// The largest message: a chunk of a body, or a whole one where the proxy buffers.
const MESSAGE: usize = 4 << 20;
/// Requests at once on one connection of a proxy.
const STREAMS: u32 = 4096;

/// Why there is no service any more.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The transport.
    #[error("the picker cannot be served: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until `shutdown`, then lets the streams that are open end.
///
/// # Errors
/// [`ServeError`].
pub async fn serve<P: Picker>(
    listener: TcpListener,
    picker: Arc<P>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let service = Processor { picker: Arc::clone(&picker), began: Instant::now() };
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        // Without it each small message can cost 40 ms.
        stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
    });
    tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS)
        .add_service(service)
        .add_service(Health { picker })
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await?;
    Ok(())
}

/// The service.
struct Processor<P> {
    picker: Arc<P>,
    began: Instant,
}

impl<P> Clone for Processor<P> {
    fn clone(&self) -> Self {
        Self { picker: Arc::clone(&self.picker), began: self.began }
    }
}

impl<P> NamedService for Processor<P> {
    const NAME: &'static str = NAME;
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Infallible>> + Send>>;

impl<P: Picker> Service<http::Request<Body>> for Processor<P> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            if request.uri().path() != format!("/{NAME}/Process") {
                return Ok(Status::unimplemented("there is one method: Process").into_http());
            }
            let codec = ProstCodec::<ProcessingResponse, ProcessingRequest>::default();
            let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(MESSAGE), None);
            Ok(grpc.streaming(Process(this), request).await)
        })
    }
}

/// The method.
struct Process<P>(Processor<P>);

impl<P: Picker> StreamingService<ProcessingRequest> for Process<P> {
    type Response = ProcessingResponse;
    type ResponseStream = ReceiverStream<Result<ProcessingResponse, Status>>;
    type Future =
        Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<ProcessingRequest>>) -> Self::Future {
        let (replies, stream) = mpsc::channel(REPLIES);
        let session = self.0.picker.open();
        tokio::spawn(converse(session, request.into_inner(), replies, self.0.began));
        Box::pin(async { Ok(Response::new(ReceiverStream::new(stream))) })
    }
}

/// One request's conversation.
async fn converse<S: Session>(
    session: S,
    mut requests: Streaming<ProcessingRequest>,
    replies: mpsc::Sender<Result<ProcessingResponse, Status>>,
    began: Instant,
) {
    let mut session = Closing { session, began };
    loop {
        let message = tokio::select! {
            message = requests.message() => message,
            () = replies.closed() => return,
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(status) => {
                tracing::debug!(%status, "the proxy's stream broke");
                return;
            }
        };
        let watched = message.observability_mode;
        let Some(phase) = convert::phase(message) else { continue };
        let said = session.session.on(phase, elapsed(began));
        for reply in said.into_iter().filter(|_| !watched) {
            let last = matches!(reply, Reply::Immediate(_));
            if replies.send(Ok(convert::response(reply))).await.is_err() || last {
                return;
            }
        }
    }
}

/// Tells a session that it is over, however its task ends.
struct Closing<S: Session> {
    session: S,
    began: Instant,
}

impl<S: Session> Drop for Closing<S> {
    fn drop(&mut self) {
        self.session.closed(elapsed(self.began));
    }
}

fn elapsed(began: Instant) -> Duration {
    began.elapsed()
}
