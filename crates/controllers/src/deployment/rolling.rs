//! A new template replaces an old one, step by step: up as far as the surge allows, down as far as availability allows.

use serde_json::Value;

use super::plan::Rollout;
use super::sets::{by_age, size, sum, total};
use crate::fields::Fields;

impl Rollout<'_> {
    /// One step of a rolling update. Whether a size changed.
    pub(super) fn roll(&mut self) -> bool {
        self.grow_new() || self.shrink_old()
    }

    /// The size that the new set may have now: what is asked for, within the surge.
    pub(super) fn new_size(&self, current: i64) -> i64 {
        if !self.wanted.rolling {
            return self.wanted.replicas;
        }
        let room = self.wanted.most() - total(self.all());
        current + room.min(self.wanted.replicas - current).max(0)
    }

    fn grow_new(&mut self) -> bool {
        let Some(current) = self.new.as_ref().map(size) else { return false };
        let wanted = self.wanted.replicas;
        let next = if current > wanted { wanted } else { self.new_size(current) };
        self.resize(None, next)
    }

    fn shrink_old(&mut self) -> bool {
        if total(&self.old) == 0 {
            return false;
        }
        let minimum = self.wanted.replicas - self.wanted.max_unavailable;
        let new_unavailable =
            self.new.as_ref().map_or(0, |new| size(new) - new.count("status/availableReplicas"));
        let may_go = total(self.all()) - minimum - new_unavailable;
        if may_go <= 0 {
            return false;
        }
        self.old.sort_by(by_age);
        let swept = self.sweep_unavailable(may_go);
        self.shrink_available(minimum) || swept
    }

    /// Old pods that serve nobody go first: they cost nothing.
    fn sweep_unavailable(&mut self, may_go: i64) -> bool {
        let mut left = may_go;
        for index in 0..self.old.len() {
            let set = &self.old[index];
            let idle = (size(set) - set.count("status/availableReplicas")).clamp(0, left.max(0));
            let next = size(set) - idle;
            if idle > 0 {
                left -= idle;
                self.resize(Some(index), next);
            }
        }
        left < may_go
    }

    fn shrink_available(&mut self, minimum: i64) -> bool {
        // A set that was told to shrink may still count pods that are to go, and would pay for them twice. Kubernetes takes the status as it
        // is: there a rollout can fall below its minimum for a moment.
        let stay = |set: &Value| set.count("status/availableReplicas").min(size(set));
        let available: i64 = self.all().map(stay).sum();
        let mut left = available - minimum;
        let before = left;
        for index in 0..self.old.len() {
            let go = size(&self.old[index]).min(left.max(0));
            if go > 0 {
                left -= go;
                let next = size(&self.old[index]) - go;
                self.resize(Some(index), next);
            }
        }
        left < before
    }

    /// `Recreate`: first everything old goes, then everything new comes. `running`: old pods are still there.
    pub(super) fn recreate(&mut self, running: bool) {
        let mut shrunk = false;
        for index in 0..self.old.len() {
            shrunk |= self.resize(Some(index), 0);
        }
        if shrunk || running || sum(&self.old, "status/replicas") > 0 {
            return;
        }
        self.ensure_new();
        self.resize(None, self.wanted.replicas);
    }

    /// All sets, the new one last.
    pub(super) fn all(&self) -> impl Iterator<Item = &Value> {
        self.old.iter().chain(&self.new)
    }
}
