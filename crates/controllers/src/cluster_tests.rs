//! Whole clusters, step by step, under chance: what must hold at every step, and that all comes to rest.
//!
//! No runtime: the manager is turned by hand, and an agent of a few lines runs the pods.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use apimachinery::{Key, Meta};
use jiff::Timestamp;
use object_store::{
    Clock, DeleteOptions, ObjectRef, Part, Propagation, Selection, Store, WriteOptions,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fields::Fields;
use crate::manager::Manager;
use crate::{Config, pod};

/// Milliseconds that a step takes.
const STEP_MS: i64 = 500;

#[derive(Clone)]
struct Hand(Arc<AtomicI64>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(1_767_225_600_000 + self.0.load(Ordering::Relaxed)).unwrap()
    }
}

struct World {
    store: Store,
    manager: Manager,
    hand: Hand,
}

impl World {
    fn new(nodes: &[(&str, i64)]) -> Self {
        let hand = Hand(Arc::new(AtomicI64::new(0)));
        let store = Store::new(hand.clone());
        let manager = Manager::new(store.clone(), crate::all(&Config::default()));
        let world = Self { store, manager, hand };
        world.create("", "namespaces", json!({"metadata": {"name": "default"}}));
        for (name, cores) in nodes {
            world.create("", "nodes", json!({"metadata": {"name": name}}));
            let room = json!({"cpu": cores.to_string(), "memory": "1Ti", "pods": "1000"});
            let status = json!({"allocatable": room, "capacity": room});
            world.change("", "nodes", name, Part::Status, &|node| node["status"] = status.clone());
        }
        world
    }

    fn create(&self, group: &str, plural: &str, object: Value) -> ObjectRef {
        self.store
            .create(&self.store.kind(group, plural), object, &WriteOptions::default())
            .unwrap()
    }

    fn change(
        &self,
        group: &str,
        plural: &str,
        name: &str,
        part: Part,
        change: &dyn Fn(&mut Value),
    ) {
        let kind = self.store.kind(group, plural);
        let key = Key::namespaced(if kind.is_namespaced() { "default" } else { "" }, name);
        let patch = &mut |old: &Value| {
            let mut new = old.clone();
            change(&mut new);
            Ok(new)
        };
        let _ = self.store.update(&kind, &key, &WriteOptions::default().of(part), patch);
    }

    fn all(&self, group: &str, plural: &str) -> Vec<ObjectRef> {
        self.store.select(&self.store.kind(group, plural), &Selection::default())
    }

    fn delete(&self, group: &str, plural: &str, name: &str, options: &DeleteOptions) {
        let key = Key::namespaced("default", name);
        let _ = self.store.delete(&self.store.kind(group, plural), &key, options);
    }

    fn heartbeat(&self) {
        for node in self.all("", "nodes") {
            let now = crate::fields::stamp(self.store.now());
            self.change("", "nodes", node.value().name(), Part::Status, &|node| {
                node["status"]["conditions"] =
                    json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": now}]);
            });
        }
    }

    fn ready(&self, name: &str, ready: bool) {
        let now = crate::fields::stamp(self.store.now());
        self.change("", "pods", name, Part::Status, &|pod| {
            let is = if ready { "True" } else { "False" };
            pod["status"]["phase"] = json!("Running");
            let mut all = pod.list("status/conditions").to_vec();
            all.retain(|one| one["type"] != "Ready");
            all.push(json!({"type": "Ready", "status": is, "lastTransitionTime": now}));
            pod["status"]["conditions"] = json!(all);
        });
    }

    /// Time passes, and everything due is done, a bounded number of items at a time.
    fn step(&mut self, mut each_write: impl FnMut(&Store)) {
        let at = self.hand.0.fetch_add(STEP_MS, Ordering::Relaxed) + STEP_MS;
        let now = Duration::from_millis(at.unsigned_abs());
        for _ in 0..64 {
            let next = self.manager.turn(now);
            each_write(&self.store);
            if next.is_none_or(|next| next > now) {
                break;
            }
        }
    }
}

/// What chance does to the pods in one step.
#[derive(Clone, Debug)]
struct Weather {
    /// Of a hundred pods that could get ready, so many do.
    start: u32,
    /// Pods that are killed, by a number that picks one.
    kills: Vec<usize>,
    /// Pods that lose their readiness.
    faults: Vec<usize>,
}

fn weather() -> impl Strategy<Value = Weather> {
    let some = |most: usize| proptest::collection::vec(any::<usize>(), 0..=most);
    (10_u32..100, some(1), some(1)).prop_map(|(start, kills, faults)| Weather {
        start,
        kills,
        faults,
    })
}

/// Runs pods for one step: some start, those that are asked to go do.
fn agent(world: &World, weather: &Weather, dice: &mut u32, calm: bool) {
    for object in world.all("", "pods") {
        let one = object.value();
        *dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let lucky = calm || (*dice >> 16) % 100 < weather.start;
        if pod::node(one).is_empty() || !lucky {
            continue;
        }
        if one.is_terminating() {
            let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
            world.delete("", "pods", one.name(), &now);
        } else if !pod::is_ready(one) {
            world.ready(one.name(), true);
        }
    }
    if calm {
        return;
    }
    let pods = world.all("", "pods");
    let pick = |numbers: &[usize]| -> Vec<String> {
        let names = numbers.iter().filter_map(|number| pods.get(number % pods.len().max(1)));
        names.map(|one| one.value().name().to_owned()).collect()
    };
    for name in pick(&weather.kills) {
        world.delete("", "pods", &name, &DeleteOptions::default());
    }
    for name in pick(&weather.faults) {
        world.ready(&name, false);
    }
}

fn deployment(replicas: i64, surge: &Value, unavailable: &Value, image: &str) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    })
}

/// Sizes of all sets, and pods that the sets say are available.
fn sums(store: &Store) -> (i64, i64) {
    let sets = store.select(&store.kind("apps", "replicasets"), &Selection::default());
    let sum = |path: &str| sets.iter().map(|set| set.value().count(path)).sum();
    (sum("spec/replicas"), sum("status/availableReplicas"))
}

fn limit() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0_i64..4).prop_map(|number| json!(number)),
        (0_i64..=10).prop_map(|ten| json!(format!("{}%", ten * 10)))
    ]
}

fn settled(world: &World, replicas: i64, image: &str) -> bool {
    let pods = world.all("", "pods");
    pods.len() as i64 == replicas
        && pods.iter().all(|one| {
            one.value()["spec"]["containers"][0]["image"] == image && pod::is_ready(one.value())
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Without faults, no step of a rolling update takes more pods away than it may, whatever the order in which pods start;
    /// with faults, it never takes a pod that serves while too few do. It always comes to rest on the new template.
    #[test]
    fn a_rolling_update_keeps_its_bounds_and_comes_to_rest(
        replicas in 1_i64..8, surge in limit(), unavailable in limit(),
        storm in proptest::collection::vec(weather(), 1..25), faulty in any::<bool>(), seed in any::<u32>(),
        second in any::<bool>(),
    ) {
        let most = crate::fields::share(&surge, replicas, true).unwrap_or(0);
        let mut fewest = crate::fields::share(&unavailable, replicas, false).unwrap_or(0);
        prop_assume!(surge != json!(0) || unavailable != json!(0));
        prop_assume!(surge != json!("0%") || unavailable != json!("0%"));
        prop_assume!(surge != json!(0) || unavailable != json!("0%"));
        prop_assume!(surge != json!("0%") || unavailable != json!(0));
        if most == 0 && fewest == 0 {
            fewest = 1;
        }
        let fewest = fewest.min(replicas);
        let mut world = World::new(&[("a", 64), ("b", 64)]);
        world.create("apps", "deployments", deployment(replicas, &surge, &unavailable, "v1"));
        let calm = Weather { start: 100, kills: vec![], faults: vec![] };
        let mut dice = seed;
        for _ in 0..20 {
            world.heartbeat();
            world.step(|_| {});
            agent(&world, &calm, &mut dice, true);
        }
        prop_assert!(settled(&world, replicas, "v1"));
        let roll = |world: &World, image: &'static str| {
            world.change("apps", "deployments", "web", Part::Main, &|object| {
                object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
            });
        };
        roll(&world, "v2");
        let mut last = "v2";
        for (step, mut weather) in storm.into_iter().enumerate() {
            if second && step == 8 {
                // Another template, before the first has gone through.
                roll(&world, "v3");
                last = "v3";
            }
            if !faulty {
                weather.kills.clear();
                weather.faults.clear();
            }
            world.heartbeat();
            let mut worst = (0, i64::MAX);
            world.step(|store| {
                let (size, available) = sums(store);
                worst = (worst.0.max(size), worst.1.min(available));
            });
            prop_assert!(worst.0 <= replicas + most, "{} pods asked for", worst.0);
            if !faulty {
                prop_assert!(worst.1 >= replicas - fewest, "{} pods available", worst.1);
            }
            agent(&world, &weather, &mut dice, false);
        }
        for _ in 0..200 {
            world.heartbeat();
            world.step(|_| {});
            agent(&world, &calm, &mut dice, true);
            if settled(&world, replicas, last) {
                break;
            }
        }
        prop_assert!(settled(&world, replicas, last), "it never came to rest: {:#?}", sums(&world.store));
        world.step(|_| {});
        let web = &world.all("apps", "deployments")[0];
        let progress = pod::condition(web.value(), "Progressing").map(|one| one.text("reason").to_owned());
        prop_assert_eq!(progress.as_deref(), Some("NewReplicaSetAvailable"));
    }

    /// Whatever is asked for and whenever pods go, no node is given more than it has.
    #[test]
    fn the_scheduler_never_overcommits_a_node(
        rooms in proptest::collection::vec(1_i64..8, 1..4),
        pods in proptest::collection::vec((1_i64..40, 0_i64..3, any::<bool>()), 1..30),
        seed in any::<u32>(),
    ) {
        let names = ["a", "b", "c", "d"];
        let nodes: Vec<(&str, i64)> = names.into_iter().zip(rooms).collect();
        let mut world = World::new(&nodes);
        let calm = Weather { start: 60, kills: vec![], faults: vec![] };
        let mut dice = seed;
        for (i, (tenths, priority, killed)) in pods.iter().enumerate() {
            let name = format!("p{i}");
            let requests = json!({"cpu": format!("{}m", tenths * 100)});
            let made = json!({
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"priority": priority, "containers": [{"name": "main", "image": "x", "resources": {"requests": requests}}]},
            });
            world.create("", "pods", made);
            if *killed {
                world.delete("", "pods", &format!("p{}", i / 2), &DeleteOptions::default());
            }
            world.heartbeat();
            world.step(|_| {});
            agent(&world, &calm, &mut dice, true);
            for (name, cores) in &nodes {
                let used: i64 = world
                    .all("", "pods")
                    .iter()
                    .filter(|one| pod::node(one.value()) == *name)
                    .map(|one| crate::scheduler::requests(one.value()).get("cpu"))
                    .sum();
                prop_assert!(used <= cores * 1000, "{name} has {cores} cores, {used}m are given away");
            }
        }
    }

    /// Whatever owns what, and whatever is deleted how: nothing goes while somebody who owns it is there.
    #[test]
    fn nothing_with_a_living_owner_is_collected(
        owners in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<bool>()), 2..20),
        deletions in proptest::collection::vec((any::<usize>(), 0_u8..3), 1..8),
    ) {
        let mut world = World::new(&[]);
        let mut made: Vec<ObjectRef> = Vec::new();
        for (i, (first, second, blocks)) in owners.into_iter().enumerate() {
            let mut references: Vec<Value> = [first, second]
                .iter()
                .filter_map(|number| made.get(number % (made.len() + 1)))
                .map(|owner| json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "name": owner.value().name(),
                    "uid": owner.value().uid(), "blockOwnerDeletion": blocks,
                }))
                .collect();
            references.dedup();
            let object = json!({"metadata": {"name": format!("o{i}"), "namespace": "default", "ownerReferences": references}});
            made.push(world.create("", "configmaps", object));
        }
        let mut asked: Vec<String> = Vec::new();
        for (number, how) in deletions {
            let name = made[number % made.len()].value().name().to_owned();
            let propagation = [Propagation::Background, Propagation::Foreground, Propagation::Orphan][usize::from(how)];
            let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
            world.delete("", "configmaps", &name, &options);
            asked.push(name);
            world.step(|_| {});
        }
        for _ in 0..20 {
            world.step(|_| {});
        }
        let left: Vec<String> = world.all("", "configmaps").iter().map(|one| one.value().name().to_owned()).collect();
        for object in &made {
            let name = object.value().name();
            if left.iter().any(|one| one == name) || asked.iter().any(|one| one == name) {
                continue;
            }
            // It was collected: all of its owners must be gone.
            for owner in object.value().list("metadata/ownerReferences") {
                let owner = owner.text("name");
                prop_assert!(!left.iter().any(|one| one == owner), "{name} went, though {owner} is there");
            }
            prop_assert!(!object.value().list("metadata/ownerReferences").is_empty(), "{name} had no owner");
        }
        for name in &asked {
            prop_assert!(!left.contains(name), "{name} was asked to go");
        }
    }
}

#[test]
fn memory_is_that_of_what_is_there() {
    let mut world = World::new(&[("a", 64)]);
    let calm = Weather { start: 100, kills: vec![], faults: vec![] };
    let mut dice = 1;
    for round in 0..20 {
        world.create("apps", "deployments", deployment(3, &json!(1), &json!(1), "v1"));
        for _ in 0..12 {
            world.heartbeat();
            world.step(|_| {});
            agent(&world, &calm, &mut dice, true);
        }
        assert_eq!(world.all("", "pods").len(), 3, "round {round}");
        world.delete("apps", "deployments", "web", &DeleteOptions::default());
        for _ in 0..12 {
            world.heartbeat();
            world.step(|_| {});
            agent(&world, &calm, &mut dice, true);
        }
        assert!(world.all("", "pods").is_empty(), "round {round}");
    }
    let waiting = world.manager.waiting();
    assert!(waiting <= 16, "{waiting} items wait in a cluster that has nothing to do");
}
