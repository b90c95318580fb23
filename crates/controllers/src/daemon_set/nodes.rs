//! Which nodes a daemon's pod belongs on, and how it is made to go there.

use serde_json::{Value, json};

use apimachinery::Meta;

use crate::fields::Fields;
use crate::scheduler::{NodeInfo, has_untolerated, selects};
use crate::{history, pod};

/// Taints that every daemon tolerates.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Whether a daemon should start on a node, and whether it should go on there.
pub(super) fn wants(set: &Value, node: &Value) -> (bool, bool) {
    let template = set.at("spec/template/spec");
    let named = template.text("nodeName");
    let mut info = NodeInfo::default();
    info.set(node);
    if !(named.is_empty() || named == node.name()) || !selects(template, &info) {
        return (false, false);
    }
    let spec = json!({"tolerations": tolerations(template)});
    let taints = node.list("spec/taints");
    if !has_untolerated(&spec, taints) {
        return (true, true);
    }
    let executing: Vec<Value> =
        taints.iter().filter(|taint| taint.text("effect") == "NoExecute").cloned().collect();
    (false, !has_untolerated(&spec, &executing))
}

fn tolerations(spec: &Value) -> Vec<Value> {
    let mut all = spec.list("tolerations").to_vec();
    let network = spec
        .flag("hostNetwork")
        .then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    for (key, effect) in TOLERATED.into_iter().chain(network) {
        let toleration = json!({"key": key, "operator": "Exists", "effect": effect});
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    all
}

/// A new pod for a node: the scheduler may put it there and nowhere else.
pub(super) fn make(set: &Value, revision: &Value, node: &str) -> Value {
    let mut made = pod::from_template(set.at("spec/template"), set);
    made["metadata"]["labels"][history::LABEL] = json!(history::hash(revision));
    if let Some(generation) = set.annotation("deprecated.daemonset.template.generation") {
        made["metadata"]["labels"]["pod-template-generation"] = json!(generation);
    }
    made["spec"]["tolerations"] = json!(tolerations(set.at("spec/template/spec")));
    let here =
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]);
    made["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": here});
    made
}

/// The node that a daemon's pod is on, or is made for.
pub(super) fn target(pod: &Value) -> &str {
    if !pod::node(pod).is_empty() {
        return pod::node(pod);
    }
    let terms = pod
        .list("spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms");
    let fields = terms.iter().flat_map(|term| term.list("matchFields"));
    let names =
        fields.filter(|one| one.text("key") == "metadata.name").flat_map(|one| one.list("values"));
    names.filter_map(Value::as_str).next().unwrap_or("")
}
