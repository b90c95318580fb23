//! Waits until all of a workload's pods serve.

use std::time::Duration;

use cluster_orders::ObjectName;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Bed, BedError};
use crate::pod;

/// Where a Deployment counts the templates of its ReplicaSets.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Which template a ReplicaSet and its pods have.
const TEMPLATE: &str = "pod-template-hash";
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(30);

impl Bed {
    /// Waits until all replicas of a workload are ready, and of its newest template; or a pod.
    pub(super) async fn ready(
        &mut self,
        object: &ObjectName,
        limit: Duration,
    ) -> Result<(), BedError> {
        let api = self.api_of(object).await?;
        let pods = self.session.api::<Pod>();
        let deadline = Instant::now() + limit;
        loop {
            let found = api.get(&object.name).await?;
            if is_ready(&found) {
                return Ok(());
            }
            let (theirs, late) = match labels(&found) {
                Some(labels) if object.kind != "Pod" => {
                    let selector = ListParams::default().labels(&labels);
                    (pods.list(&selector).await?.items, Instant::now() >= deadline)
                }
                _ => (vec![pods.get(&object.name).await?], Instant::now() >= deadline),
            };
            let names = || theirs.iter().map(ResourceExt::name_any).collect();
            if let Some(why) = self.newest(object, &theirs).await?.find_map(pod::hopeless) {
                return Err(BedError::NotSo {
                    why: format!("{object} cannot run: {why}"),
                    pods: names(),
                });
            }
            if late {
                let unready = theirs.iter().find(|one| !pod::is_ready(one));
                let why = unready.map_or_else(|| "it has too few pods".to_owned(), pod::describe);
                let why = format!("{object} was not ready within {limit:?}: {why}");
                return Err(BedError::NotSo { why, pods: names() });
            }
            sleep(POLL).await;
        }
    }
}

impl Bed {
    /// Those of a workload's pods that have its newest template, as far as that can be told.
    async fn newest<'p>(
        &self,
        object: &ObjectName,
        pods: &'p [Pod],
    ) -> Result<impl Iterator<Item = &'p Pod> + use<'p>, BedError> {
        let mut newest = None;
        if object.kind == "Deployment" && pods.iter().any(|pod| pod::hopeless(pod).is_some()) {
            let sets = self.session.api::<ReplicaSet>().list(&ListParams::default()).await?.items;
            let ours = sets
                .iter()
                .filter(|set| set.owner_references().iter().any(|owner| owner.name == object.name));
            let revision = |set: &&ReplicaSet| -> Option<u64> {
                set.annotations().get(REVISION)?.parse().ok()
            };
            let set = ours.max_by_key(revision);
            newest = set.and_then(|set| set.labels().get(TEMPLATE).cloned());
        }
        let is_newest = move |pod: &&Pod| {
            newest.as_ref().is_none_or(|hash| pod.labels().get(TEMPLATE) == Some(hash))
        };
        Ok(pods.iter().filter(is_newest))
    }
}

/// The selector of a workload, as a list request takes it.
fn labels(object: &DynamicObject) -> Option<String> {
    let labels = object.data.pointer("/spec/selector/matchLabels")?.as_object()?;
    let pairs = labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    Some(pairs.collect::<Vec<_>>().join(","))
}

/// Whether its status says that everything is there and new.
fn is_ready(object: &DynamicObject) -> bool {
    let number = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_i64);
    if let Some(conditions) = object.data.pointer("/status/conditions")
        && object.data.pointer("/spec/containers").is_some()
    {
        let all = conditions.as_array().into_iter().flatten();
        return all.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
    }
    // A DaemonSet counts nodes instead of replicas.
    let wanted = number("/status/desiredNumberScheduled").or(number("/spec/replicas")).unwrap_or(1);
    let ready = number("/status/numberReady").or(number("/status/readyReplicas")).unwrap_or(0);
    let updated = number("/status/updatedNumberScheduled").or(number("/status/updatedReplicas"));
    let all = number("/status/currentNumberScheduled").or(number("/status/replicas")).unwrap_or(0);
    let seen = number("/status/observedGeneration").unwrap_or(0);
    seen >= object.metadata.generation.unwrap_or(0)
        && ready >= wanted
        && updated.unwrap_or(0) >= wanted
        && all == wanted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(status: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": { "name": "engine", "generation": 2 },
            "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "engine", "tier": "a" } } },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_rollout_is_ready_when_it_is_over() {
        let over = json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2 });
        assert!(is_ready(&deployment(&over)));
        for (key, value) in [
            ("observedGeneration", 1),
            ("replicas", 3),
            ("updatedReplicas", 1),
            ("readyReplicas", 1),
        ] {
            let mut status = over.clone();
            status[key] = value.into();
            assert!(!is_ready(&deployment(&status)), "{key}");
        }
        assert!(!is_ready(&deployment(&Value::Null)));
        assert_eq!(labels(&deployment(&over)).unwrap(), "app=engine,tier=a");
    }

    #[test]
    fn a_pod_is_ready_when_it_says_so() {
        let pod = |status: &str| -> DynamicObject {
            serde_json::from_value(json!({
                "spec": { "containers": [] },
                "status": { "conditions": [{ "type": "Ready", "status": status }] },
            }))
            .unwrap()
        };
        assert!(is_ready(&pod("True")) && !is_ready(&pod("False")));
    }
}
