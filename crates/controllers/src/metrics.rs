//! What autoscalers read: the metrics APIs of Kubernetes, as a trait.
//!
//! Quantities are in thousandths of their unit, as everywhere in the API: 250 is a quarter of a core.

use apimachinery::Key;
use jiff::Timestamp;
use serde_json::Value;

/// One pod's usage, from `metrics.k8s.io`.
#[derive(Clone, Debug, PartialEq)]
pub struct PodMetrics {
    /// The pod.
    pub pod: Key,
    /// When it was measured.
    pub timestamp: Timestamp,
    /// Seconds that it was measured over.
    pub window_s: f64,
    /// By container: its name, its CPU in thousandths of a core, its memory in thousandths of a byte.
    pub containers: Vec<(String, i64, i64)>,
}

/// What autoscalers read. Answers from what was read last: it is called from a loop that must not wait.
pub trait Metrics: Send + Sync {
    /// Usage of a namespace's pods.
    ///
    /// # Errors
    /// Why it is not known, in words.
    fn pods(&self, namespace: &str) -> Result<Vec<PodMetrics>, String>;

    /// A metric of each pod, from `custom.metrics.k8s.io`, in thousandths. `selector`: the metric's own label selector.
    ///
    /// # Errors
    /// Why it is not known, in words.
    fn of_pods(
        &self,
        namespace: &str,
        metric: &str,
        selector: &Value,
    ) -> Result<Vec<(String, i64)>, String>;

    /// A metric of one object, from `custom.metrics.k8s.io`, in thousandths. `object`: `apiVersion`, `kind` and `name`.
    ///
    /// # Errors
    /// Why it is not known, in words.
    fn of_object(
        &self,
        namespace: &str,
        object: &Value,
        metric: &str,
        selector: &Value,
    ) -> Result<i64, String>;

    /// The values of a metric of the outside world, from `external.metrics.k8s.io`, in thousandths.
    ///
    /// # Errors
    /// Why it is not known, in words.
    fn external(&self, namespace: &str, metric: &str, selector: &Value)
    -> Result<Vec<i64>, String>;
}

/// A cluster in which nothing is measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMetrics;

const UNKNOWN: &str = "the server could not find the requested resource";

impl Metrics for NoMetrics {
    fn pods(&self, _: &str) -> Result<Vec<PodMetrics>, String> {
        Err(format!("{UNKNOWN} (get pods.metrics.k8s.io)"))
    }

    fn of_pods(&self, _: &str, _: &str, _: &Value) -> Result<Vec<(String, i64)>, String> {
        Err(format!("{UNKNOWN} (custom.metrics.k8s.io)"))
    }

    fn of_object(&self, _: &str, _: &Value, _: &str, _: &Value) -> Result<i64, String> {
        Err(format!("{UNKNOWN} (custom.metrics.k8s.io)"))
    }

    fn external(&self, _: &str, _: &str, _: &Value) -> Result<Vec<i64>, String> {
        Err(format!("{UNKNOWN} (external.metrics.k8s.io)"))
    }
}
