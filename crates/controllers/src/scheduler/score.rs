//! Which of the nodes that do is best: kube-scheduler's default scores and weights.
//!
//! Image locality is left out: every simulated node has every image.

use super::filter::Prepared;
use super::node_rules;
use super::snapshot::{NodeInfo, PodInfo};
use crate::fields::Fields;
use crate::scheduler::resources::Resources;

/// The best score of one rule.
const BEST: i64 = 100;
const TAINTS: i64 = 3;
const NODE_AFFINITY: i64 = 2;
const SPREAD: i64 = 2;
const NEIGHBOURS: i64 = 2;
const LEAST_ALLOCATED: i64 = 1;
const BALANCED: i64 = 1;

/// The score of each candidate, in their order.
pub(crate) fn scores(pod: &PodInfo, candidates: &[&NodeInfo], prepared: &Prepared) -> Vec<i64> {
    let mut totals = vec![0; candidates.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        totals.iter_mut().zip(scores).for_each(|(total, score)| *total += weight * score);
    };
    let each = |rule: &dyn Fn(&NodeInfo) -> i64| -> Vec<i64> {
        candidates.iter().map(|node| rule(node)).collect()
    };
    add(TAINTS, fewest_best(each(&|node| disliked_taints(pod, node))));
    add(NODE_AFFINITY, most_best(each(&|node| preferred_node(pod, node))));
    add(LEAST_ALLOCATED, each(&|node| least_allocated(pod, node)));
    if !pod.requests.is_empty() {
        add(BALANCED, each(&|node| balanced(pod, node)));
    }
    if prepared.spread.has_preferences() {
        add(SPREAD, least_crowded(prepared.spread.crowding(candidates)));
    }
    if prepared.neighbours.has_preferences() {
        add(NEIGHBOURS, stretched(each(&|node| prepared.neighbours.score(node))));
    }
    totals
}

/// Taints that a pod had rather avoid.
fn disliked_taints(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let soft = node.taints.iter().filter(|taint| taint.text("effect") == "PreferNoSchedule");
    let tolerations: Vec<_> = pod
        .spec
        .list("tolerations")
        .iter()
        .filter(|one| matches!(one.text("effect"), "" | "PreferNoSchedule"))
        .cloned()
        .collect();
    let count = soft.filter(|taint| !node_rules::tolerates(&tolerations, taint)).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn preferred_node(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let preferred =
        pod.spec.list("affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution");
    let met = preferred.iter().filter(|one| node_rules::matches_term(one.at("preference"), node));
    met.map(|one| one.count("weight")).sum()
}

/// What the node's pods and this one take of it, by resource, for those that are scored.
fn shares(pod_asks: &Resources, used: &Resources, node: &NodeInfo) -> [Option<(i64, i64)>; 2] {
    ["cpu", "memory"].map(|name| {
        let has = node.allocatable.get(name);
        (has > 0).then(|| (used.get(name) + pod_asks.get(name), has))
    })
}

fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let shares = shares(&pod.scored, &node.used_scored, node);
    let scores: Vec<i64> = shares
        .into_iter()
        .flatten()
        .map(|(taken, has)| {
            let left = i128::from((has - taken).max(0));
            i64::try_from(left * i128::from(BEST) / i128::from(has)).unwrap_or(0)
        })
        .collect();
    if scores.is_empty() { 0 } else { scores.iter().sum::<i64>() / scores.len() as i64 }
}

/// CPU and memory should fill alike: 100 less the standard deviation of both shares.
fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let shares = shares(&pod.requests, &node.used, node);
    let [Some(cpu), Some(memory)] = shares else { return BEST };
    let share = |(taken, has): (i64, i64)| (taken as f64 / has as f64).min(1.0);
    let deviation = (share(cpu) - share(memory)).abs() / 2.0;
    ((1.0 - deviation) * BEST as f64) as i64
}

/// In proportion to the most.
fn most_best(scores: Vec<i64>) -> Vec<i64> {
    match scores.iter().copied().max() {
        Some(most) if most > 0 => scores.into_iter().map(|score| BEST * score / most).collect(),
        _ => vec![0; scores.len()],
    }
}

/// The most is worst.
fn fewest_best(scores: Vec<i64>) -> Vec<i64> {
    most_best(scores).into_iter().map(|score| BEST - score).collect()
}

/// From the lowest to the highest.
fn stretched(scores: Vec<i64>) -> Vec<i64> {
    let (Some(low), Some(high)) = (scores.iter().copied().min(), scores.iter().copied().max())
    else {
        return scores;
    };
    let part = |score: i64| if high > low { BEST * (score - low) / (high - low) } else { 0 };
    scores.into_iter().map(part).collect()
}

fn least_crowded(crowding: Vec<Option<i64>>) -> Vec<i64> {
    let known = || crowding.iter().flatten().copied();
    let (low, high) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    let part = |score: i64| if high == 0 { BEST } else { BEST * (high + low - score) / high };
    crowding.iter().map(|score| score.map_or(0, part)).collect()
}
