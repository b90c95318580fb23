//! HorizontalPodAutoscalers: as many replicas as the load asks for, within limits, and not too fast.
//!
//! The rules are those of kube-controller-manager 1.34, `pkg/controller/podautoscaler`.

mod limits;
mod metric;
mod plan;
mod target;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Key, Meta, Status};
use object_store::{Change, ChangeType};

use crate::action::Plan;
use crate::controller::Controller;
use crate::execute::Identity;
use crate::metrics::Metrics;
use crate::resource::{AUTOSCALERS, Item, PODS, Resource};
use crate::view::View;
use limits::Memory;

/// How often each autoscaler looks (kube-controller-manager's default).
const PERIOD: Duration = Duration::from_secs(15);

/// The controller of HorizontalPodAutoscalers.
pub(crate) struct Autoscalers {
    metrics: Arc<dyn Metrics>,
    /// What each has recommended and done lately; forgotten with it.
    memories: HashMap<Key, (i64, Memory)>,
}

impl Autoscalers {
    pub(crate) fn new(metrics: Arc<dyn Metrics>) -> Self {
        Self { metrics, memories: HashMap::new() }
    }
}

impl Controller for Autoscalers {
    fn identity(&self) -> Identity {
        Identity { source: "horizontal-pod-autoscaler", manager: "kube-controller-manager" }
    }

    fn interests(&self) -> Vec<Resource> {
        vec![AUTOSCALERS]
    }

    fn route(&mut self, _view: &View, change: &Change) -> Vec<Item> {
        let object = change.object.value();
        let key = Key::of(object);
        if change.change == ChangeType::Deleted {
            self.memories.remove(&key);
            return Vec::new();
        }
        // Its own status is no news: it looks again in time.
        let known = self.memories.get(&key).map(|(generation, _)| *generation);
        if known == Some(object.generation()) {
            Vec::new()
        } else {
            vec![Item::new(AUTOSCALERS, key)]
        }
    }

    fn reconcile(&mut self, view: &View, item: &Item) -> Result<Plan, Status> {
        let Some(autoscaler) = view.get(AUTOSCALERS, &item.key) else {
            self.memories.remove(&item.key);
            return Ok(Plan::default());
        };
        let autoscaler = autoscaler.value();
        let (generation, memory) = self.memories.entry(item.key.clone()).or_default();
        *generation = autoscaler.generation();
        let target = target::find(view, autoscaler);
        let pods = view.within(PODS, &item.key.namespace);
        let pods: Vec<_> = match &target {
            Ok(target) => pods
                .iter()
                .map(|one| one.value())
                .filter(|one| target.selector.matches(one))
                .collect(),
            Err(_) => Vec::new(),
        };
        let input = plan::Input {
            autoscaler,
            target: target.as_ref(),
            pods: &pods,
            metrics: &*self.metrics,
            now: view.now(),
        };
        let actions = plan::plan(&input, memory);
        Ok(Plan { actions, again: Some(PERIOD) })
    }
}
