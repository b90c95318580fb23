//! Whether a pod may go to a node, and why not, in kube-scheduler's words and order.

use super::affinity::Neighbours;
use super::node_rules;
use super::snapshot::{NodeInfo, PodInfo, Snapshot};
use super::spread::Spread;

/// What is counted once for a pod, before nodes are looked at.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) neighbours: Neighbours,
    pub(crate) spread: Spread,
}

impl Prepared {
    pub(crate) fn of(pod: &PodInfo, snapshot: &Snapshot) -> Self {
        Self { neighbours: Neighbours::of(pod, snapshot), spread: Spread::of(pod, snapshot) }
    }
}

/// Why a node does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reasons: Vec<String>,
    /// Other pods are in the way; were they gone, it might do.
    pub(crate) others_in_the_way: bool,
}

impl Refusal {
    fn by_node(reason: &str) -> Self {
        Self { reasons: vec![reason.to_owned()], others_in_the_way: false }
    }

    fn by_others(reason: &str) -> Self {
        Self { reasons: vec![reason.to_owned()], others_in_the_way: true }
    }
}

impl From<(&'static str, bool)> for Refusal {
    fn from((reason, others_in_the_way): (&'static str, bool)) -> Self {
        Self { reasons: vec![reason.to_owned()], others_in_the_way }
    }
}

/// Whether a pod may go to a node. The first rule that fails says why.
pub(crate) fn allow(pod: &PodInfo, node: &NodeInfo, prepared: &Prepared) -> Result<(), Refusal> {
    if node_rules::is_closed_to(pod, node) {
        return Err(Refusal::by_node("node(s) were unschedulable"));
    }
    if node_rules::has_untolerated(&pod.spec, &node.taints) {
        return Err(Refusal::by_node("node(s) had untolerated taint(s)"));
    }
    if !node_rules::selects(&pod.spec, node) {
        return Err(Refusal::by_node("node(s) didn't match Pod's node affinity/selector"));
    }
    if node.pods.values().any(|other| ports_collide(pod, other)) {
        let reason = "node(s) didn't have free ports for the requested pod ports";
        return Err(Refusal::by_others(reason));
    }
    fits(pod, node)?;
    prepared.spread.allow(node)?;
    prepared.neighbours.allow(node)?;
    Ok(())
}

fn ports_collide(a: &PodInfo, b: &PodInfo) -> bool {
    const ANY: &str = "0.0.0.0";
    a.ports.iter().any(|(address, protocol, number)| {
        b.ports.iter().any(|(other, same, equal)| {
            protocol == same
                && number == equal
                && (address == other || address == ANY || other == ANY)
        })
    })
}

/// Whether what the pod asks for is left on the node.
fn fits(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    let mut refusal = Refusal { reasons: Vec::new(), others_in_the_way: true };
    let most = node.allocatable.get("pods");
    if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= most {
        refusal.reasons.push("Too many pods".to_owned());
    }
    for (name, asked) in pod.requests.iter().filter(|(_, asked)| *asked > 0) {
        let has = node.allocatable.get(name);
        if asked > has - node.used.get(name) {
            refusal.reasons.push(format!("Insufficient {name}"));
            refusal.others_in_the_way &= asked <= has;
        }
    }
    if refusal.reasons.is_empty() { Ok(()) } else { Err(refusal) }
}
