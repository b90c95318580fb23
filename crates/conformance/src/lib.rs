//! What any Kubernetes cluster must do, asked through the `kube` crate.
//!
//! A [`behaviour::Behaviour`] is a sentence and the code that finds out. Nothing here knows which cluster answers: a
//! kubeconfig is all there is. A real control plane passes everything that needs no kubelet; where another cluster
//! differs, that cluster is wrong.

pub mod behaviour;
pub mod bench;
pub mod connect;
pub mod fixture;
pub mod fuzz;
pub mod host;
pub mod kubectl;
pub mod live;
pub mod place;
pub mod raw;
pub mod report;
pub mod resource;
pub mod runner;
pub mod soak;
pub mod stage;
pub mod suite;
pub mod unmet;
pub mod up;
pub mod watch;
pub mod wire;
