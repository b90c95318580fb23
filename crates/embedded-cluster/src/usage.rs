//! What autoscalers read: usage of pods, as the node agent measures it.

use apimachinery::Key;
use controllers::{Metrics, NoMetrics, PodMetrics};
use node_agent::NodeAgent;
use serde_json::Value;

/// Billionths in a thousandth: cores are measured in the one and compared in the other.
const NANO_IN_MILLI: u64 = 1_000_000;

/// Usage of pods; other metrics have no source here.
pub(crate) struct Usage(pub(crate) NodeAgent);

impl Metrics for Usage {
    fn pods(&self, namespace: &str) -> Result<Vec<PodMetrics>, String> {
        let all = self.0.pod_metrics(Some(namespace)).into_iter();
        Ok(all
            .map(|pod| PodMetrics {
                pod: Key::namespaced(pod.pod.namespace, pod.pod.name),
                timestamp: pod.time,
                window_s: pod.window.as_secs_f64(),
                containers: pod
                    .containers
                    .into_iter()
                    .map(|used| {
                        let cpu = signed(used.cpu_nano / NANO_IN_MILLI);
                        (used.name, cpu, signed(used.memory_bytes.saturating_mul(1000)))
                    })
                    .collect(),
            })
            .collect())
    }

    fn of_pods(
        &self,
        namespace: &str,
        metric: &str,
        selector: &Value,
    ) -> Result<Vec<(String, i64)>, String> {
        NoMetrics.of_pods(namespace, metric, selector)
    }

    fn of_object(
        &self,
        namespace: &str,
        object: &Value,
        metric: &str,
        selector: &Value,
    ) -> Result<i64, String> {
        NoMetrics.of_object(namespace, object, metric, selector)
    }

    fn external(
        &self,
        namespace: &str,
        metric: &str,
        selector: &Value,
    ) -> Result<Vec<i64>, String> {
        NoMetrics.external(namespace, metric, selector)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
