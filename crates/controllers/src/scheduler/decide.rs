//! The decision about one pod: a node, or the reasons of all nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::filter::{Prepared, Refusal, allow};
use super::score::scores;
use super::snapshot::{NodeInfo, PodInfo, Snapshot};

/// No node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// Nodes that exist.
    pub(crate) nodes: usize,
    /// Why each does not do.
    pub(crate) refusals: BTreeMap<String, Refusal>,
}

impl Unfit {
    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).`
    pub(crate) fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut message = unavailable(self.nodes);
        let counted = histogram(self.refusals.values().flat_map(|refusal| &refusal.reasons));
        if !counted.is_empty() {
            message.push_str(&format!(" {counted}."));
        }
        message
    }
}

/// `0/3 nodes are available:`
pub(crate) fn unavailable(nodes: usize) -> String {
    format!("0/{nodes} nodes are available:")
}

/// How often each reason is given, in the order of their texts.
pub(crate) fn histogram<'a>(reasons: impl Iterator<Item = &'a String>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut lines: Vec<String> =
        counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    lines.sort();
    lines.join(", ")
}

/// Pods that wait for a node that was cleared for them: they count as there, for pods that matter no more than they do.
pub(crate) type Nominated = BTreeMap<String, Vec<Arc<PodInfo>>>;

/// The node for a pod. Nodes that are equally good are told apart by `dice` and their names.
pub(crate) fn decide(
    pod: &PodInfo,
    snapshot: &Snapshot,
    nominated: &Nominated,
    dice: u64,
) -> Result<String, Unfit> {
    let prepared = Prepared::of(pod, snapshot);
    let mut refusals = BTreeMap::new();
    let mut candidates: Vec<&NodeInfo> = Vec::new();
    for node in snapshot.existing() {
        match allow_with_nominated(pod, node, snapshot, &prepared, nominated) {
            Ok(()) => candidates.push(node),
            Err(refusal) => {
                refusals.insert(node.name.clone(), refusal);
            }
        }
    }
    if let Some(cleared) = candidates.iter().find(|node| node.name == pod.nominated) {
        return Ok(cleared.name.clone());
    }
    let scores = scores(pod, &candidates, &prepared);
    let best =
        candidates.iter().zip(scores).max_by_key(|(node, score)| (*score, roll(dice, &node.name)));
    match best {
        Some((node, _)) => Ok(node.name.clone()),
        None => Err(Unfit { nodes: snapshot.existing().count(), refusals }),
    }
}

/// A node must do both with and without those that were promised a place on it.
fn allow_with_nominated(
    pod: &PodInfo,
    node: &NodeInfo,
    snapshot: &Snapshot,
    prepared: &Prepared,
    nominated: &Nominated,
) -> Result<(), Refusal> {
    allow(pod, node, prepared)?;
    let promised: Vec<&Arc<PodInfo>> = nominated
        .get(&node.name)
        .into_iter()
        .flatten()
        .filter(|other| other.key != pod.key && other.priority >= pod.priority)
        .collect();
    if promised.is_empty() {
        return Ok(());
    }
    let mut assumed = snapshot.clone();
    if let Some(with) = assumed.nodes.get_mut(&node.name) {
        promised.into_iter().for_each(|other| with.add(Arc::clone(other)));
    }
    assumed
        .nodes
        .get(&node.name)
        .map_or(Ok(()), |with| allow(pod, with, &Prepared::of(pod, &assumed)))
}

/// FNV-1a: the same dice and name give the same number on every machine.
fn roll(dice: u64, name: &str) -> u64 {
    let bytes = dice.to_le_bytes().into_iter().chain(name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
