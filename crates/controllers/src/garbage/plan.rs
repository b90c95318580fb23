//! What becomes of an object, given its owners and those who depend on it.

use std::sync::Arc;

use apimachinery::{Kind, Meta};
use object_store::{ObjectRef, Propagation};
use serde_json::Value;

use crate::action::Action;
use crate::fields::Fields;
use crate::owner;

/// The owner goes last.
const FOREGROUND: &str = "foregroundDeletion";
/// What it owns stays.
const ORPHAN: &str = "orphan";

/// What has become of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there.
    Solid,
    /// It goes as soon as what it owns is gone.
    Waiting,
    /// It is gone, or another of the same name is there.
    Absent,
    /// Of a kind that the cluster does not know: nothing can be said.
    Unknown,
}

/// An object that names an owner.
#[derive(Clone, Debug)]
pub(super) struct Dependent {
    pub(super) object: ObjectRef,
    /// Somebody else keeps it.
    pub(super) solid: bool,
}

/// Whether a finalizer is one that this controller serves.
pub(super) fn is_ours(finalizer: &str) -> bool {
    matches!(finalizer, FOREGROUND | ORPHAN)
}

/// Whether an object goes as soon as what it owns is gone.
pub(super) fn goes_last(object: &Value) -> bool {
    object.is_terminating() && object.finalizers().any(|one| one == FOREGROUND)
}

/// An object that somebody owns, or owned: stays while one owner does, and goes with the last.
pub(super) fn owned(
    kind: &Arc<Kind>,
    object: &Value,
    owners: &[Owner],
    has_dependents: bool,
) -> Vec<Action> {
    let references = object.list("metadata/ownerReferences");
    let stays = |owner: &Owner| matches!(owner, Owner::Solid | Owner::Unknown);
    if references.is_empty() || owners.len() != references.len() {
        return Vec::new();
    }
    if owners.iter().any(stays) {
        if owners.iter().all(stays) {
            return Vec::new();
        }
        let kept = references.iter().zip(owners).filter(|(_, owner)| stays(owner));
        return vec![Action::references(kind, object, kept.map(|(one, _)| one.clone()).collect())];
    }
    let finalizer = |name: &str| object.finalizers().any(|one| one == name);
    let how = if finalizer(ORPHAN) {
        Propagation::Orphan
    } else if finalizer(FOREGROUND) || (owners.contains(&Owner::Waiting) && has_dependents) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    let mut delete = Action::delete(kind, object);
    if let Action::Delete { propagation, .. } = &mut delete {
        *propagation = Some(how);
    }
    vec![delete]
}

/// An object that is to go, and first orphans or takes along what it owns.
pub(super) fn terminating(
    kind: &Arc<Kind>,
    object: &Value,
    dependents: &[Dependent],
) -> Vec<Action> {
    let has = |name: &str| object.finalizers().any(|one| one == name);
    let without = |name: &str| {
        let rest: Vec<&str> = object.finalizers().filter(|one| *one != name).collect();
        Action::finalizers(kind, object, &rest)
    };
    if has(ORPHAN) {
        let mut actions: Vec<Action> = dependents
            .iter()
            .map(|one| {
                let value = one.object.value();
                Action::references(one.object.kind(), value, owner::without(value, object.uid()))
            })
            .collect();
        actions.push(without(ORPHAN));
        return actions;
    }
    if !has(FOREGROUND) {
        return Vec::new();
    }
    let mut actions = Vec::new();
    let mut blocked = false;
    for one in dependents {
        let value = one.object.value();
        if one.solid {
            let rest = owner::without(value, object.uid());
            actions.push(Action::references(one.object.kind(), value, rest));
            continue;
        }
        blocked |= blocks(value, object.uid());
        if !value.is_terminating() {
            let mut delete = Action::delete(one.object.kind(), value);
            if let Action::Delete { propagation, .. } = &mut delete {
                *propagation = Some(Propagation::Foreground);
            }
            actions.push(delete);
        }
    }
    // What goes at once is gone by the next look, which its going brings about.
    if !blocked {
        actions.push(without(FOREGROUND));
    }
    actions
}

fn blocks(dependent: &Value, owner: &str) -> bool {
    let references = dependent.list("metadata/ownerReferences").iter();
    references.filter(|one| one.text("uid") == owner).any(|one| one.flag("blockOwnerDeletion"))
}
