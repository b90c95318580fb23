//! The HTTP face of an embedded cluster: Kubernetes' API over a [`Store`](object_store::Store).
//!
//! Speaks TLS on loopback to clients with a token. What objects mean is `apimachinery`'s, what is stored is
//! `object-store`'s; where pods run is behind [`NodeProxy`]. No controller, no scheduler and no process is known here.

mod answer;
mod autoscaling_v1;
mod body;
mod certificates;
mod config;
mod connections;
mod decode;
mod definitions;
mod discovery;
mod groups;
mod guard;
mod health;
mod metrics;
mod negotiate;
mod node_proxy;
mod openapi;
mod path;
mod protobuf;
mod query;
mod resource;
mod reviews;
mod route;
mod server;
mod spdy;
mod streams;
mod subresource;
mod table;
mod version;

pub use certificates::Certificates;
pub use config::{Config, Limits};
pub use metrics::{Measured, MetricQuery, MetricsProvider};
pub use node_proxy::{
    BoxFuture, ByteStream, ContainerUsage, Duplex, ExecOptions, LogOptions, NoNodes, NodeProxy,
    NodeUsage, PodUsage, Session, TerminalSize, Usage,
};
pub use server::{ServeError, serve};
