//! Who owns what: owner references, adoption, release.

use apimachinery::Meta;
use apimachinery::selector::LabelSelector;
use serde_json::{Value, json};

use crate::action::Action;
use crate::fields::Fields;
use crate::resource::Resource;

/// The reference of an object to the controller that manages it.
pub(crate) fn controller(object: &Value) -> Option<&Value> {
    object.list("metadata/ownerReferences").iter().find(|one| one.flag("controller"))
}

/// The controller's name, if it is of a kind.
pub(crate) fn controller_named<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    controller(object).filter(|one| one.text("kind") == kind).map(|one| one.text("name"))
}

/// Whether the controller has this uid.
pub(crate) fn is_controlled_by(object: &Value, uid: &str) -> bool {
    controller(object).is_some_and(|one| one.text("uid") == uid)
}

/// A reference to an owner that manages what it owns.
pub(crate) fn reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner.text("apiVersion"),
        "kind": owner.text("kind"),
        "name": owner.name(),
        "uid": owner.uid(),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Sorts out which of `candidates` an owner manages: those it does and that fit stay, those that fit and are nobody's are
/// adopted, those that no longer fit are released.
pub(crate) fn claim<'a>(
    owner: &Value,
    selector: &Value,
    of: Resource,
    candidates: impl IntoIterator<Item = &'a Value>,
    actions: &mut Vec<Action>,
) -> Vec<&'a Value> {
    let selector = LabelSelector::from_json(selector);
    let mut claimed = Vec::new();
    for object in candidates {
        let fits = selector.matches(object);
        match controller(object) {
            Some(other) if other.text("uid") != owner.uid() => {}
            Some(_) if fits => claimed.push(object),
            Some(_) if owner.is_terminating() => {}
            Some(_) => {
                let rest = without(object, owner.uid());
                actions.push(Action::references(of, object, rest));
            }
            None if fits && !owner.is_terminating() && !object.is_terminating() => {
                let mut all = object.list("metadata/ownerReferences").to_vec();
                all.push(reference(owner));
                actions.push(Action::references(of, object, all));
                claimed.push(object);
            }
            None => {}
        }
    }
    claimed
}

/// An object's owner references without those of one owner.
pub(crate) fn without(object: &Value, uid: &str) -> Vec<Value> {
    let all = object.list("metadata/ownerReferences").iter();
    all.filter(|one| one.text("uid") != uid).cloned().collect()
}
