//! A deployment's size changes while its sets are what they are: each gets its share.

use serde_json::Value;

use super::plan::Rollout;
use super::sets::{DESIRED, MAX, Wanted, by_age, size, total};
use apimachinery::Meta;

impl Rollout<'_> {
    /// Some active set was sized for another number of replicas than is asked for now.
    pub(super) fn size_changed(&self) -> bool {
        let wanted = self.wanted.replicas;
        self.all().filter(|set| size(set) > 0).any(|set| {
            let desired = set.annotation(DESIRED).and_then(|text| text.parse::<i64>().ok());
            desired.is_some_and(|desired| desired != wanted)
        })
    }

    /// Brings the sets to the new size: the only active one whole, several in proportion.
    pub(super) fn scale(&mut self) {
        let wanted = self.wanted;
        if let Some(index) = self.only_active_or_latest() {
            if size(self.set(index)) != wanted.replicas {
                self.resize(index, wanted.replicas);
            }
            return;
        }
        if self.new.as_ref().is_some_and(|new| is_saturated(new, wanted)) {
            for index in 0..self.old.len() {
                self.resize(Some(index), 0);
            }
            return;
        }
        if wanted.rolling {
            self.scale_in_proportion();
        }
    }

    /// The one active set; the new or the youngest when none is; nothing when there are several.
    #[expect(
        clippy::option_option,
        reason = "which set, if any; and a set is the new one or one of the old"
    )]
    fn only_active_or_latest(&self) -> Option<Option<usize>> {
        let mut active: Vec<Option<usize>> =
            (0..self.old.len()).filter(|index| size(&self.old[*index]) > 0).map(Some).collect();
        if self.new.as_ref().is_some_and(|new| size(new) > 0) {
            active.push(None);
        }
        match active.as_slice() {
            [] if self.new.is_some() => Some(None),
            [] => {
                let youngest = |a: &usize, b: &usize| by_age(&self.old[*a], &self.old[*b]);
                (0..self.old.len()).max_by(youngest).map(Some)
            }
            [one] => Some(*one),
            _ => None,
        }
    }

    fn scale_in_proportion(&mut self) {
        let wanted = self.wanted;
        let allowed = if wanted.replicas > 0 { wanted.most() } else { 0 };
        let mut active: Vec<Option<usize>> =
            (0..self.old.len()).map(Some).chain(self.new.is_some().then_some(None)).collect();
        active.retain(|index| size(self.set(*index)) > 0);
        let to_add = allowed - total(active.iter().map(|index| self.set(*index)));
        // The largest first; among equals the youngest grows first, and the oldest shrinks first.
        active.sort_by(|a, b| {
            let (a, b) = (self.set(*a), self.set(*b));
            let age = if to_add > 0 { by_age(b, a) } else { by_age(a, b) };
            size(b).cmp(&size(a)).then(age)
        });
        let mut added = 0;
        let mut sizes: Vec<i64> = Vec::new();
        for index in &active {
            let share = proportion(self.set(*index), wanted, self.status_replicas, to_add, added);
            added += share;
            sizes.push(size(self.set(*index)) + share);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (index, size) in active.into_iter().zip(sizes) {
            self.resize_quietly(index, size);
        }
    }
}

/// The new set is as large as the deployment, was sized for it, and is all available.
fn is_saturated(new: &Value, wanted: Wanted) -> bool {
    use crate::fields::Fields;
    let desired = new.annotation(DESIRED).and_then(|text| text.parse::<i64>().ok());
    size(new) == wanted.replicas
        && desired == Some(wanted.replicas)
        && new.count("status/availableReplicas") == wanted.replicas
}

/// A set's share of what is added or taken away, in proportion to its size.
fn proportion(set: &Value, wanted: Wanted, status_replicas: i64, to_add: i64, added: i64) -> i64 {
    if size(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let left = to_add - added;
    let share = fraction(set, wanted, status_replicas);
    if to_add > 0 { share.min(left) } else { share.max(left) }
}

/// How much a set would grow if everything grew alike.
fn fraction(set: &Value, wanted: Wanted, status_replicas: i64) -> i64 {
    if wanted.replicas == 0 {
        return -size(set);
    }
    let sized_for =
        set.annotation(MAX).and_then(|text| text.parse::<i64>().ok()).unwrap_or(status_replicas);
    if sized_for == 0 {
        return 0;
    }
    // To the nearest; half goes up.
    let grown = (2 * size(set) * wanted.most() + sized_for).div_euclid(2 * sized_for);
    grown - size(set)
}
