//! What a pod says of itself.

use cluster_orders::PodSeen;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, ResourceExt};

/// Reasons of a waiting container that no patience mends.
const HOPELESS: [&str; 5] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CrashLoopBackOff",
];

/// Whether it is ready, and not about to go.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Why it will never run, if that is so.
pub(crate) fn hopeless(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let message = waiting.message.as_deref().unwrap_or("no more is known");
        HOPELESS.contains(&reason).then(|| format!("{reason}: {message}"))
    })
}

/// What it says of itself when it is not ready.
pub(crate) fn describe(pod: &Pod) -> String {
    let Some(status) = &pod.status else { return "its pod has no status yet".to_owned() };
    let unmet = status.conditions.iter().flatten().find(|one| one.status != "True");
    match unmet {
        Some(one) => format!(
            "{} is {}: {}",
            one.type_,
            one.status,
            one.message.as_deref().or(one.reason.as_deref()).unwrap_or("no reason given")
        ),
        None => status.phase.clone().unwrap_or_default(),
    }
}

/// It, as checks see it.
pub(crate) fn seen(pod: &Pod) -> PodSeen {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    PodSeen {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        ip: status.pod_ip.filter(|ip| !ip.is_empty()),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        labels: pod.labels().clone(),
        phase: status.phase.unwrap_or_default(),
        ready: is_ready(pod),
        ending: pod.metadata.deletion_timestamp.is_some(),
        restarts: containers.iter().map(|one| u32::try_from(one.restart_count).unwrap_or(0)).sum(),
    }
}

/// The last lines of some pods' logs, of a container's earlier life where it has restarted.
pub(crate) async fn last_log(api: &Api<Pod>, pods: &[String], lines: usize) -> Vec<String> {
    let mut all = Vec::new();
    for pod in pods {
        for previous in [true, false] {
            let tail = i64::try_from(lines).ok();
            let params = LogParams { previous, tail_lines: tail, ..LogParams::default() };
            let text = api.logs(pod, &params).await.unwrap_or_default();
            all.extend(text.lines().map(ToOwned::to_owned));
        }
    }
    all.split_off(all.len().saturating_sub(lines))
}
