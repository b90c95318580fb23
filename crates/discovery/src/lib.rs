//! Where the replicas of a Service or of an inference pool are, as Kubernetes says it.
//!
//! The first part is plain data: what a [`Slice`] says, the [`Event`]s in which a watch brings it, and the objects of the Gateway
//! API that a router reads. The second, feature `watch`, is the watch itself. What a router makes of the events is not known here: that is lab 2's task 2.6.

mod event;
mod gateway;
#[cfg(feature = "watch")]
mod inference;
#[cfg(feature = "watch")]
mod object;
#[cfg(feature = "watch")]
mod route;
mod slice;
#[cfg(feature = "watch")]
mod watch;

pub use event::Event;
pub use gateway::{
    BackendRef, EndpointPickerRef, FailureMode, HttpRoute, HttpRouteSpec, InferenceObjective,
    InferencePool, Meta, ObjectiveSpec, PathMatch, PoolPort, PoolRef, PoolSelector, PoolSpec,
    RouteMatch, RouteRule, RuleTimeouts, ValueMatch,
};
#[cfg(feature = "watch")]
pub use inference::{Priorities, watch_objectives};
#[cfg(feature = "watch")]
pub use kube::Client;
#[cfg(feature = "watch")]
pub use object::Known;
#[cfg(feature = "watch")]
pub use route::{ReadRoute, ServicePorts, read_route, watch_pool, watch_route, watch_service};
pub use slice::{Conditions, Family, Slice, SliceEndpoint, SlicePort};
#[cfg(feature = "watch")]
pub use watch::{Source, client, watch};
