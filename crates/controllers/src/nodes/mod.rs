//! Nodes that fall silent, and what becomes of their pods.
//!
//! The rules are those of kube-controller-manager 1.34: node-lifecycle, taint-eviction and pod-garbage-collector.

mod eviction;
mod health;
mod pod_gc;

pub(crate) use eviction::Eviction;
pub(crate) use health::Health;
pub(crate) use pod_gc::PodGc;
