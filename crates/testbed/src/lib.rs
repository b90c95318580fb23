//! What a check stands on: expectations, seeds, a driver for schedulers, and an engine to talk to.
//!
//! Pure checks use [`Driver`]: no clock, no model, no thread. Live checks use [`start`] and [`Client`], a real engine in a
//! process of its own; or [`cluster()`], where several programs, their manifests and faults are the subject. Nothing here knows a
//! task or an answer.

mod client;
mod cluster;
mod drive;
mod engine;
mod expect;
mod fake_model;
mod report;
mod rules;

pub use client::{Answer, Client, ClientError, Prompt, Usage, in_parallel};
pub use cluster::{Cluster, ClusterError, Faults, cluster};
pub use cluster_orders::{Manifests, ObjectName, PodSeen, Refusal};
pub use drive::{Driver, Job};
pub use engine::{EngineSpec, LocalProcess, RunningEngine, StartError, Testbed, start};
pub use expect::{expect, expect_close, expect_eq, expect_some};
pub use fake_model::answer;
pub use protocol::scrape::{Page, ScrapeError, Scraped};
pub use report::{note, rng, seed, unknown};
