//! What a check may ask of a cluster, and what it is told: one line of JSON each way, in turn.
//!
//! A check is built from a few small crates in seconds; a client of Kubernetes is not. So a program beside it, `cluster-bed` of the
//! crate `cluster`, does the talking, and these are the words. Nothing here knows a cluster, a process or a clock.

mod manifests;
mod order;
mod reply;

pub use manifests::{Change, ChangeError, Manifests, Source};
pub use order::{End, Order};
pub use reply::{ObjectName, PodSeen, Refusal, Reply};
