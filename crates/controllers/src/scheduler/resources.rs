//! What pods ask for and what nodes have: CPU in thousandths of a core, everything else in whole units.

use apimachinery::quantity::Quantity;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::fields::Fields;

/// Amounts by resource name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resources(BTreeMap<String, i64>);

/// What a container that asks for nothing is scored as: 0.1 core and 200 MB, as in kube-scheduler.
const SCORED_CPU: i64 = 100;
const SCORED_MEMORY: i64 = 200 * 1024 * 1024;

impl Resources {
    /// From a list of quantities, as containers and nodes carry it.
    pub(crate) fn of(list: &Map<String, Value>) -> Self {
        let amount = |(name, value): (&String, &Value)| {
            let amount = Quantity::from_json(value).map(if name == "cpu" {
                Quantity::milli
            } else {
                Quantity::value
            });
            amount.map(|amount| (name.clone(), amount))
        };
        Self(list.iter().filter_map(amount).collect())
    }

    pub(crate) fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.values().all(|amount| *amount == 0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            *self.0.entry(name.clone()).or_default() += amount;
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            *self.0.entry(name.clone()).or_default() -= amount;
        }
    }

    fn set(&mut self, name: &str, amount: i64) {
        self.0.insert(name.to_owned(), amount);
    }

    /// The larger of each.
    fn at_least(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let known = self.0.entry(name.clone()).or_default();
            *known = (*known).max(*amount);
        }
    }

    /// With the amounts that a pod is scored by where it asks for no CPU or memory.
    fn scored(mut self) -> Self {
        for (name, amount) in [("cpu", SCORED_CPU), ("memory", SCORED_MEMORY)] {
            self.0.entry(name.to_owned()).or_insert(amount);
        }
        self
    }
}

/// What a pod needs on its node: its containers at once and, before them, each init container beside the sidecars that
/// started earlier; plus its overhead.
pub(crate) fn requests(pod: &Value) -> Resources {
    needs(pod, |list| list)
}

/// The same for scoring, where nobody needs nothing.
pub(crate) fn scored_requests(pod: &Value) -> Resources {
    needs(pod, Resources::scored)
}

fn needs(pod: &Value, each: impl Fn(Resources) -> Resources) -> Resources {
    let of = |container: &Value| each(Resources::of(container.map("resources/requests")));
    let mut running = Resources::default();
    for container in pod.list("spec/containers") {
        running.add(&of(container));
    }
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for container in pod.list("spec/initContainers") {
        let asked = of(container);
        if container.text("restartPolicy") == "Always" {
            sidecars.add(&asked);
            starting.at_least(&sidecars);
        } else {
            let mut together = sidecars.clone();
            together.add(&asked);
            starting.at_least(&together);
        }
    }
    running.add(&sidecars);
    running.at_least(&starting);
    for (name, amount) in Resources::of(pod.map("spec/resources/requests")).iter() {
        running.set(name, amount);
    }
    running.add(&Resources::of(pod.map("spec/overhead")));
    running
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn init_containers_run_before_and_sidecars_beside() {
        let pod = json!({"spec": {
            "containers": [
                {"resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "2"}}},
                {"resources": {"requests": {"cpu": "500m"}}},
            ],
            "initContainers": [
                {"resources": {"requests": {"cpu": "3", "memory": "1Gi"}}},
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                {"resources": {"requests": {"cpu": "1"}}},
            ],
            "overhead": {"cpu": "100m"},
        }});
        let needed = requests(&pod);
        assert_eq!(needed.get("cpu"), 3100);
        assert_eq!(needed.get("memory"), 1 << 30);
        assert_eq!(needed.get("nvidia.com/gpu"), 2);
        assert_eq!(scored_requests(&json!({"spec": {"containers": [{}]}})).get("cpu"), 100);
    }
}
