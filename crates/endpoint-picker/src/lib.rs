//! Envoy's external processing, as far as an endpoint picker needs it.
//!
//! The first part is plain data: the [`Phase`]s of a request as a proxy tells them, the [`Reply`]s that it takes, and the names
//! on which proxy and picker agree. The second, feature `grpc`, serves them, and asks a picker
//! as a proxy does: `ask`. Which endpoint is picked is not known here: that is
//! lab 2's task 2.6, behind [`Picker`].
//!
//! Sources: the endpoint picker protocol of the Gateway API's inference extension
//! (<https://github.com/kubernetes-sigs/gateway-api-inference-extension/tree/main/docs/proposals/004-endpoint-picker-protocol>,
//! version 1.0.0) and Envoy's `service/ext_proc/v3/external_processor.proto`.

#[cfg(feature = "grpc")]
mod ask;
#[cfg(feature = "grpc")]
mod convert;
#[cfg(feature = "grpc")]
mod health;
#[cfg(feature = "grpc")]
pub mod messages;
mod phase;
mod reply;
#[cfg(feature = "grpc")]
mod service;

#[cfg(feature = "grpc")]
pub use ask::{Answer, AskError, ask};
pub use phase::{BodyMode, Phase};
pub use reply::{Chunk, Metadata, Mutation, Refusal, Reply};
#[cfg(feature = "grpc")]
pub use service::{ServeError, serve};

/// The header, and the key in the metadata, that name the endpoint: `ip:port`, or several with commas between.
pub const DESTINATION: &str = "x-gateway-destination-endpoint";
/// The namespace of the metadata in which the proxy looks for [`DESTINATION`].
pub const DESTINATION_NAMESPACE: &str = "envoy.lb";
/// The namespace in which the proxy says which endpoints may be picked.
pub const SUBSET_NAMESPACE: &str = "envoy.lb.subset_hint";
/// The key of the list of endpoints that may be picked.
pub const SUBSET: &str = "x-gateway-destination-endpoint-subset";
/// The key by which the proxy says who served, in [`DESTINATION_NAMESPACE`].
pub const SERVED: &str = "x-gateway-destination-endpoint-served";
/// The request header that names an `InferenceObjective`, from which a request has its priority.
pub const OBJECTIVE: &str = "x-gateway-inference-objective";
/// The port of a picker, where a pool does not name another.
pub const PORT: u16 = 9002;

/// Who picks: one for all requests.
pub trait Picker: Send + Sync + 'static {
    /// What it remembers of one request.
    type Session: Session;

    /// A request begins.
    fn open(&self) -> Self::Session;

    /// Whether it knows the endpoints: until then it is not ready, and a proxy should ask another.
    fn is_ready(&self) -> bool;
}

/// The life of one request, from headers to the last byte of its answer. Time is since the picker started.
pub trait Session: Send + 'static {
    /// What to tell the proxy. May be nothing where the proxy sends more before it waits.
    fn on(&mut self, phase: Phase, now: std::time::Duration) -> Vec<Reply>;

    /// The proxy hung up. Called once, at the end.
    fn closed(&mut self, now: std::time::Duration);
}
