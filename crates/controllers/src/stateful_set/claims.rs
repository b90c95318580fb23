//! The storage of a set's pods: a claim for each pod and template, and when it goes.

use apimachinery::Meta;
use serde_json::{Value, json};

use super::identity::claim_name;
use crate::action::{Action, Event};
use crate::fields::Fields;
use crate::owner;
use crate::resource::CLAIMS;

/// The claims that a pod lacks.
pub(super) fn missing(set: &Value, ordinal: i64, claims: &[&Value]) -> Vec<Action> {
    let mut actions = Vec::new();
    for template in set.list("spec/volumeClaimTemplates") {
        let name = claim_name(set, template, ordinal);
        if claims.iter().any(|claim| claim.name() == name) {
            continue;
        }
        let mut labels = template.map("metadata/labels").clone();
        labels.extend(set.map("spec/selector/matchLabels").clone());
        let mut claim = json!({
            "metadata": {"name": name, "namespace": set.namespace(), "labels": labels},
            "spec": template["spec"],
        });
        if template.has("metadata/annotations") {
            claim["metadata"]["annotations"] = template["metadata"]["annotations"].clone();
        }
        if deletes(set, "whenDeleted") {
            claim["metadata"]["ownerReferences"] = json!([reference(set)]);
        }
        actions.push(Action::create(CLAIMS, claim));
        let set_name = set.name();
        let message = format!(
            "create Claim {name} Pod {set_name}-{ordinal} in StatefulSet {set_name} success"
        );
        actions.push(Action::Tell(Event::normal(set, "SuccessfulCreate", message)));
    }
    actions
}

/// Whether a pod must wait for a claim that is on its way out.
pub(super) fn is_stale(set: &Value, ordinal: i64, claims: &[&Value]) -> bool {
    set.list("spec/volumeClaimTemplates").iter().any(|template| {
        let name = claim_name(set, template, ordinal);
        claims.iter().any(|claim| claim.name() == name && claim.is_terminating())
    })
}

/// Makes a pod's claims belong to whoever takes them along when it goes. `condemned`: the pod goes because the set shrinks.
pub(super) fn retain(
    set: &Value,
    pod: &Value,
    ordinal: i64,
    condemned: bool,
    claims: &[&Value],
) -> Vec<Action> {
    let by_pod = condemned && deletes(set, "whenScaled");
    let by_set = deletes(set, "whenDeleted") && !by_pod;
    let mut actions = Vec::new();
    for template in set.list("spec/volumeClaimTemplates") {
        let name = claim_name(set, template, ordinal);
        let Some(claim) = claims.iter().find(|claim| claim.name() == name) else { continue };
        let known = claim.list("metadata/ownerReferences");
        let ours = |one: &&Value| one["uid"] != set.uid() && one["uid"] != pod.uid();
        let mut wanted: Vec<Value> = known.iter().filter(ours).cloned().collect();
        for (owner, wants) in [(set, by_set), (pod, by_pod)] {
            let reference = || known.iter().find(|one| one["uid"] == owner.uid()).cloned();
            wanted.extend(wants.then(|| reference().unwrap_or_else(|| self::reference(owner))));
        }
        if known != wanted {
            actions.push(Action::references(CLAIMS, claim, wanted));
        }
    }
    actions
}

fn deletes(set: &Value, when: &str) -> bool {
    set.text(&format!("spec/persistentVolumeClaimRetentionPolicy/{when}")) == "Delete"
}

/// A reference that takes along, but does not manage.
fn reference(owner: &Value) -> Value {
    let mut reference = owner::reference(owner);
    if let Some(map) = reference.as_object_mut() {
        map.remove("controller");
        map.remove("blockOwnerDeletion");
    }
    reference
}
