//! Who depends on whom, kept from the changes that pass by. It holds what is owned, and nothing else.

use std::collections::{BTreeSet, HashMap};

use apimachinery::Meta;
use serde_json::Value;

use crate::fields::Fields;
use crate::resource::Item;

/// Owners by uid with those who name them.
#[derive(Debug, Default)]
pub(super) struct Graph {
    dependents: HashMap<String, BTreeSet<Item>>,
    owners: HashMap<Item, Vec<String>>,
}

impl Graph {
    /// Takes in an object as it is now.
    pub(super) fn note(&mut self, item: &Item, object: &Value) {
        self.forget(item);
        let owners: Vec<String> = object
            .list("metadata/ownerReferences")
            .iter()
            .map(|one| one.text("uid").to_owned())
            .collect();
        if owners.is_empty() {
            return;
        }
        for owner in &owners {
            self.dependents.entry(owner.clone()).or_default().insert(item.clone());
        }
        self.owners.insert(item.clone(), owners);
    }

    /// An object is gone.
    pub(super) fn forget(&mut self, item: &Item) {
        for owner in self.owners.remove(item).into_iter().flatten() {
            if let Some(dependents) = self.dependents.get_mut(&owner) {
                dependents.remove(item);
                if dependents.is_empty() {
                    self.dependents.remove(&owner);
                }
            }
        }
    }

    /// Everything of one resource is gone, or was missed.
    pub(super) fn forget_all(&mut self, group: &str, plural: &str) {
        let of = |item: &&Item| item.group == group && item.plural == plural;
        let items: Vec<Item> = self.owners.keys().filter(of).cloned().collect();
        items.iter().for_each(|item| self.forget(item));
    }

    /// Those who name an owner.
    pub(super) fn dependents(&self, owner: &Value) -> Vec<Item> {
        self.dependents.get(owner.uid()).into_iter().flatten().cloned().collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.owners.len() + self.dependents.len()
    }
}
