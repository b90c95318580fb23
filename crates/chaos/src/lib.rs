//! Faults as Kubernetes resources: Chaos Mesh's kinds as types, an executor for clusters where Chaos Mesh cannot run, and
//! experiments that prove that they bite and always clean up.
//!
//! Everything talks to a cluster through `kube` alone. Which cluster it is, and who makes a fault on a node, is not known here:
//! on a real cluster Chaos Mesh executes the resources, elsewhere [`controller::run`] does with an [`Injector`].

pub mod api;
pub mod controller;
pub mod crds;
pub mod cron;
pub mod experiment;
pub mod fault;
pub mod go;

mod injector;
pub mod phase;
pub mod select;
pub mod timeline;

pub use injector::{Attempt, InjectError, Injection, Injector, Target};
