//! One pod: what is to run, what runs, and what the API is told about it.

pub(crate) mod container;
pub(crate) mod environment;
pub(crate) mod fields;
mod grpc;
mod hooks;
mod launch;
pub(crate) mod plan;
mod probe;
mod status;
mod tls;
mod volumes;
pub(crate) mod worker;
