//! One pod: what is to run, what runs, and what the API is told about it.

pub(crate) mod container;
pub(crate) mod environment;
pub(crate) mod fields;
mod hooks;
mod launch;
pub(crate) mod plan;
mod probe;
mod status;
mod volumes;
pub(crate) mod worker;
