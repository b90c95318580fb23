//! Which pods an experiment hits: a function of the pods, the nodes, the selectors and a seed.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use rand::seq::index;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::api::{
    Operator, Phase, PodSelector, PodSelectorSpec, Record, Requirement, SelectorMode, Targets,
};

/// Why nothing can be selected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No pod is like that.
    #[error("no pod is selected")]
    Nothing,
    /// The mode wants another value.
    #[error("mode {mode} needs a value {wanted}, not {value:?}")]
    Value {
        /// The mode.
        mode: &'static str,
        /// What it wants.
        wanted: &'static str,
        /// What it was given.
        value: String,
    },
    /// A field that pods cannot be selected by.
    #[error("pods cannot be selected by the field {0:?}")]
    Field(String),
    /// A container that a selected pod does not have.
    #[error("pod {pod} has no container {container:?}")]
    Container {
        /// The pod, as `namespace/name`.
        pod: String,
        /// The container.
        container: String,
    },
}

/// A record for each target of these selectors, all without a fault yet. Equal input gives equal records: pods are put in the
/// order of their names first, and `seed` stands for chance.
///
/// # Errors
/// [`SelectError`], if any of the selectors finds nothing or cannot be understood.
pub fn records(
    selectors: &[Targets<'_>],
    namespace: &str,
    pods: &[Pod],
    nodes: &[Node],
    seed: u64,
) -> Result<Vec<Record>, SelectError> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut records = Vec::new();
    for targets in selectors {
        for pod in select(targets.pods, namespace, pods, nodes, &mut chance)? {
            for id in ids(pod, targets.containers)? {
                let selector_key = targets.key.to_owned();
                records.push(Record {
                    id,
                    selector_key,
                    phase: Phase::NotInjected,
                    injected_count: 0,
                    recovered_count: 0,
                    events: Vec::new(),
                });
            }
        }
    }
    Ok(records)
}

/// What a pod's records are called: `namespace/pod`, or with each container behind it.
fn ids(pod: &Pod, containers: Option<&[String]>) -> Result<Vec<String>, SelectError> {
    let name = pod_id(pod);
    let Some(wanted) = containers else { return Ok(vec![name]) };
    let has: Vec<&str> =
        pod.spec.iter().flat_map(|spec| &spec.containers).map(|c| c.name.as_str()).collect();
    if wanted.is_empty() {
        return Ok(has.first().map(|first| format!("{name}/{first}")).into_iter().collect());
    }
    let missing = wanted.iter().find(|container| !has.contains(&container.as_str()));
    if let Some(container) = missing {
        return Err(SelectError::Container { pod: name, container: container.clone() });
    }
    Ok(wanted.iter().map(|container| format!("{name}/{container}")).collect())
}

fn pod_id(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// The pods that one selector hits.
fn select<'a>(
    selector: &PodSelector,
    namespace: &str,
    pods: &'a [Pod],
    nodes: &[Node],
    chance: &mut StdRng,
) -> Result<Vec<&'a Pod>, SelectError> {
    let all = candidates(&selector.selector, namespace, pods, nodes)?;
    if all.is_empty() {
        return Err(SelectError::Nothing);
    }
    let value = selector.value.as_deref().unwrap_or_default();
    let chosen = choose(all.len(), selector.mode, value, chance)?;
    if chosen.is_empty() {
        return Err(SelectError::Nothing);
    }
    Ok(chosen.into_iter().map(|index| all[index]).collect())
}

/// All pods that are like `spec`, in the order of their namespaces and names.
///
/// # Errors
/// [`SelectError::Field`] for a field that pods cannot be selected by.
pub fn candidates<'a>(
    spec: &PodSelectorSpec,
    namespace: &str,
    pods: &'a [Pod],
    nodes: &[Node],
) -> Result<Vec<&'a Pod>, SelectError> {
    let wrong = spec.field_selectors.keys().find(|path| !FIELDS.contains(&path.as_str()));
    if let Some(path) = wrong {
        return Err(SelectError::Field(path.clone()));
    }
    let on = nodes_of(spec, nodes);
    let mut found: Vec<&Pod> =
        pods.iter().filter(|pod| matches(spec, namespace, pod, on.as_ref())).collect();
    found.sort_by_key(|pod| (pod.namespace(), pod.name_any()));
    Ok(found)
}

/// The names of the nodes that a pod must be on, or nothing where any will do.
fn nodes_of(spec: &PodSelectorSpec, nodes: &[Node]) -> Option<BTreeSet<String>> {
    if spec.nodes.is_empty() && spec.node_selectors.is_empty() {
        return None;
    }
    let labelled = nodes.iter().filter(|node| {
        !spec.node_selectors.is_empty() && includes(node.labels(), &spec.node_selectors)
    });
    Some(spec.nodes.iter().cloned().chain(labelled.map(ResourceExt::name_any)).collect())
}

fn matches(
    spec: &PodSelectorSpec,
    namespace: &str,
    pod: &Pod,
    on: Option<&BTreeSet<String>>,
) -> bool {
    let (name, home) = (pod.name_any(), pod.namespace().unwrap_or_default());
    if !spec.pods.is_empty() {
        return spec.pods.get(&home).is_some_and(|names| names.contains(&name));
    }
    let here = if spec.namespaces.is_empty() {
        home == namespace
    } else {
        spec.namespaces.contains(&home)
    };
    let phase = field(pod, "status.phase");
    here && includes(pod.labels(), &spec.label_selectors)
        && includes(pod.annotations(), &spec.annotation_selectors)
        && spec.expression_selectors.iter().all(|each| satisfies(pod.labels(), each))
        && spec.field_selectors.iter().all(|(path, value)| field(pod, path) == *value)
        && (spec.pod_phase_selectors.is_empty() || spec.pod_phase_selectors.contains(&phase))
        && on.is_none_or(|names| names.contains(&field(pod, "spec.nodeName")))
}

fn includes(has: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| has.get(key) == Some(value))
}

fn satisfies(labels: &BTreeMap<String, String>, requirement: &Requirement) -> bool {
    let value = labels.get(&requirement.key);
    let listed = value.is_some_and(|value| requirement.values.contains(value));
    match requirement.operator {
        Operator::In => listed,
        Operator::NotIn => !listed,
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
    }
}

/// The fields by which Kubernetes selects pods.
const FIELDS: [&str; 8] = [
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
];

fn field(pod: &Pod, path: &str) -> String {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let value = match path {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.restartPolicy" => spec.and_then(|spec| spec.restart_policy.clone()),
        "spec.schedulerName" => spec.and_then(|spec| spec.scheduler_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.phase" => status.and_then(|status| status.phase.clone()),
        "status.podIP" => status.and_then(|status| status.pod_ip.clone()),
        _ => None,
    };
    value.unwrap_or_default()
}

/// Which of `count` things are hit, in rising order.
///
/// # Errors
/// [`SelectError::Value`] where the mode needs another value.
pub fn choose(
    count: usize,
    mode: SelectorMode,
    value: &str,
    chance: &mut impl Rng,
) -> Result<Vec<usize>, SelectError> {
    let number = match mode {
        SelectorMode::One => 1,
        SelectorMode::All => count,
        SelectorMode::Fixed => match value.parse::<usize>() {
            Ok(number) if number > 0 => number,
            _ => return Err(wrong("fixed", "of 1 or more", value)),
        },
        SelectorMode::FixedPercent => count * percentage("fixed-percent", value)? / 100,
        SelectorMode::RandomMaxPercent => {
            count * chance.random_range(0..=percentage("random-max-percent", value)?) / 100
        }
    };
    let mut chosen = index::sample(chance, count, number.min(count)).into_vec();
    chosen.sort_unstable();
    Ok(chosen)
}

fn percentage(mode: &'static str, value: &str) -> Result<usize, SelectError> {
    match value.parse::<usize>() {
        Ok(percent @ 1..=100) => Ok(percent),
        _ => Err(wrong(mode, "from 1 to 100", value)),
    }
}

fn wrong(mode: &'static str, wanted: &'static str, value: &str) -> SelectError {
    SelectError::Value { mode, wanted, value: value.to_owned() }
}

#[cfg(test)]
mod tests;
