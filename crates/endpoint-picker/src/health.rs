//! gRPC's health check, which the picker protocol asks for.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>; the names `liveness` and `readiness` are the
//! inference extension's.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::Message;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::Picker;
use crate::service::NAME as PROCESSOR;

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

/// Which service is asked about.
#[derive(Clone, PartialEq, Eq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The service.
pub(crate) struct Health<P> {
    pub(crate) picker: Arc<P>,
}

impl<P> Clone for Health<P> {
    fn clone(&self) -> Self {
        Self { picker: Arc::clone(&self.picker) }
    }
}

impl<P> NamedService for Health<P> {
    const NAME: &'static str = "grpc.health.v1.Health";
}

impl<P: Picker> Service<http::Request<Body>> for Health<P> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let check = Check(self.clone());
        Box::pin(async move {
            if request.uri().path() != "/grpc.health.v1.Health/Check" {
                return Ok(Status::unimplemented("there is one method: Check").into_http());
            }
            let codec = ProstCodec::<HealthCheckResponse, HealthCheckRequest>::default();
            Ok(Grpc::new(codec).unary(check, request).await)
        })
    }
}

struct Check<P>(Health<P>);

impl<P: Picker> UnaryService<HealthCheckRequest> for Check<P> {
    type Response = HealthCheckResponse;
    type Future = Ready<Result<Response<HealthCheckResponse>, Status>>;

    fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
        let is_ready = self.0.picker.is_ready();
        let status = match request.get_ref().service.as_str() {
            "liveness" => SERVING,
            "" | "readiness" | PROCESSOR => {
                if is_ready {
                    SERVING
                } else {
                    NOT_SERVING
                }
            }
            other => return ready(Err(Status::not_found(format!("no service {other:?}")))),
        };
        ready(Ok(Response::new(HealthCheckResponse { status })))
    }
}
