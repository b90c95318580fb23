//! What is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Manifests, ObjectName};

/// What is asked. Everything happens in the session's own namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Apply objects. Answered by [`Reply::Objects`](crate::Reply::Objects).
    Apply {
        /// Which.
        manifests: Manifests,
    },
    /// Wait until all replicas of a Deployment, StatefulSet or DaemonSet, or a pod, are ready. Answered by
    /// [`Reply::Done`](crate::Reply::Done).
    Ready {
        /// Of what.
        object: ObjectName,
        /// How long.
        limit: Duration,
    },
    /// Say which pods there are. Answered by [`Reply::Pods`](crate::Reply::Pods).
    Pods {
        /// Labels, like `app=engine`; empty: all.
        selector: String,
    },
    /// Say where a port is reached from this machine. Answered by [`Reply::Address`](crate::Reply::Address).
    Reach {
        /// Whose.
        end: End,
        /// Which.
        port: u16,
    },
    /// Set how many replicas there shall be.
    Scale {
        /// Of what.
        object: ObjectName,
        /// How many.
        replicas: u32,
    },
    /// Set annotations of a pod; nothing takes one away. This is how an engine's own faults are switched.
    Annotate {
        /// The pod.
        pod: String,
        /// Keys and values.
        annotations: BTreeMap<String, Option<String>>,
    },
    /// Show the last lines of a pod's log, and of its containers' lives before. Answered by
    /// [`Reply::Lines`](crate::Reply::Lines).
    Log {
        /// The pod.
        pod: String,
        /// How many.
        lines: usize,
    },
    /// Apply faults, and wait until their executor says that every target has them. Answered by
    /// [`Reply::Objects`](crate::Reply::Objects).
    Inject {
        /// Chaos Mesh's resources.
        manifests: Manifests,
        /// How long to wait.
        limit: Duration,
    },
    /// Delete objects, and wait until they are gone: faults are undone then.
    Delete {
        /// Which. What is not there is gone.
        objects: Vec<ObjectName>,
        /// How long to wait.
        limit: Duration,
    },
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// A pod.
    Pod(String),
    /// A Service: whoever is ready behind it.
    Service(String),
}
