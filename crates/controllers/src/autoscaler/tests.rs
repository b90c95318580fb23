use apimachinery::Key;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::limits::{Memory, Sizes};
use super::plan::{Input, plan};
use super::target::Target as Scale;
use super::usage::{Sample, Samples, Target, propose};
use crate::action::Action;
use crate::metrics::{Metrics, NoMetrics, PodMetrics};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn pod(name: &str, phase: &str, ready: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "1"}}}]},
        "status": {"phase": phase, "startTime": "2026-01-01T00:00:00Z", "conditions": [
            {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:10Z"},
        ]},
    })
}

fn samples(values: &[(&str, i64)]) -> Samples {
    let sample = |value| Sample { value, timestamp: now(), window: SignedDuration::from_secs(30) };
    values.iter().map(|(name, value)| ((*name).to_owned(), sample(*value))).collect()
}

fn replicas(pods: &[Value], used: &[(&str, i64)], target: i64) -> Result<i64, String> {
    let pods: Vec<&Value> = pods.iter().collect();
    let current = pods.len() as i64;
    propose(&pods, samples(used), &Target::Average(target), current, true, now())
        .map(|one| one.replicas)
}

#[test]
fn use_above_the_target_asks_for_more_and_near_it_for_nothing() {
    let pods = ["a", "b"].map(|name| pod(name, "Running", "True"));
    assert_eq!(replicas(&pods, &[("a", 900), ("b", 900)], 500), Ok(4));
    assert_eq!(replicas(&pods, &[("a", 540), ("b", 550)], 500), Ok(2), "within a tenth");
    assert_eq!(replicas(&pods, &[("a", 100), ("b", 100)], 500), Ok(1));
    assert!(replicas(&[], &[], 500).is_err());
}

#[test]
fn pods_that_say_nothing_or_are_not_ready_speak_against_a_change() {
    let [a, b] = ["a", "b"].map(|name| pod(name, "Running", "True"));
    let pending = pod("c", "Pending", "False");
    // Alone a asks for two; with b silent it may be that b does nothing.
    assert_eq!(replicas(&[a.clone(), b.clone()], &[("a", 1000)], 500), Ok(2));
    assert_eq!(replicas(&[a.clone(), b], &[("a", 100)], 500), Ok(2), "b may be at its target");
    assert_eq!(replicas(&[a.clone(), pending.clone()], &[("a", 900)], 500), Ok(2), "c will help");
    assert_eq!(replicas(&[a, pending], &[("a", 2000)], 500), Ok(4));
}

#[test]
fn a_lower_recommendation_waits_for_the_window_and_a_higher_one_does_not() {
    let mut memory = Memory::default();
    let mut at = |seconds: i64, current: i64, desired: i64| {
        let time = now().checked_add(SignedDuration::from_secs(seconds)).unwrap();
        memory.limit(&Value::Null, Sizes { current, desired, min: 1, max: 20 }, time)
    };
    assert_eq!(at(0, 5, 8).replicas, 8);
    let held = at(60, 8, 2);
    assert_eq!((held.replicas, held.able.0), (8, "ScaleDownStabilized"));
    assert_eq!(at(299, 8, 2).replicas, 8);
    assert_eq!(at(301, 8, 2).replicas, 2);
    let fast = at(302, 3, 15);
    assert_eq!((fast.replicas, fast.limited, fast.reason.0), (6, true, "ScaleUpLimit"));
    assert_eq!(at(303, 15, 50).reason.0, "TooManyReplicas");
}

#[test]
fn policies_bound_how_far_a_period_goes() {
    let behavior = json!({
        "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}], "stabilizationWindowSeconds": 0},
        "scaleDown": {
            "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}, {"type": "Pods", "value": 1, "periodSeconds": 60}],
            "selectPolicy": "Min", "stabilizationWindowSeconds": 0,
        },
    });
    let mut memory = Memory::default();
    let sizes = |current: i64, desired: i64| Sizes { current, desired, min: 1, max: 20 };
    assert_eq!(memory.limit(&behavior, sizes(4, 10), now()).replicas, 6);
    memory.scaled(4, 6, now());
    let soon = now().checked_add(SignedDuration::from_secs(30)).unwrap();
    assert_eq!(memory.limit(&behavior, sizes(6, 10), soon).replicas, 6, "two a minute are used up");
    let later = now().checked_add(SignedDuration::from_secs(61)).unwrap();
    assert_eq!(memory.limit(&behavior, sizes(6, 10), later).replicas, 8);
    let last = now().checked_add(SignedDuration::from_secs(200)).unwrap();
    assert_eq!(memory.limit(&behavior, sizes(8, 1), last).replicas, 7, "the smaller change");
    let never = json!({"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}});
    assert_eq!(memory.limit(&never, sizes(8, 1), last).replicas, 8);
}

struct Cpu(Vec<(String, i64)>);

impl Metrics for Cpu {
    fn pods(&self, _: &str) -> Result<Vec<PodMetrics>, String> {
        let one = |(name, cpu): &(String, i64)| PodMetrics {
            pod: Key::namespaced("default", name.clone()),
            timestamp: now(),
            window_s: 30.0,
            containers: vec![("main".to_owned(), *cpu, 0)],
        };
        Ok(self.0.iter().map(one).collect())
    }

    fn of_pods(&self, _: &str, _: &str, _: &Value) -> Result<Vec<(String, i64)>, String> {
        Err("none".to_owned())
    }

    fn of_object(&self, _: &str, _: &Value, _: &str, _: &Value) -> Result<i64, String> {
        Ok(90_000)
    }

    fn external(&self, _: &str, _: &str, _: &Value) -> Result<Vec<i64>, String> {
        Ok(vec![20_000, 10_000])
    }
}

fn autoscaler(metrics: Value) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default", "uid": "h", "generation": 1},
        "spec": {"minReplicas": 1, "maxReplicas": 10, "metrics": metrics},
    })
}

fn look(autoscaler: &Value, metrics: &dyn Metrics, current: i64) -> (Value, Vec<String>) {
    let pods: Vec<Value> = (0..current).map(|i| pod(&format!("p{i}"), "Running", "True")).collect();
    let pods: Vec<&Value> = pods.iter().collect();
    let target = Scale::of_size(current);
    let input = Input { autoscaler, target: Ok(&target), pods: &pods, metrics, now: now() };
    let actions = plan(&input, &mut Memory::default());
    let status = actions.iter().find_map(|action| match action {
        Action::Status { status, .. } => Some(status.clone()),
        _ => None,
    });
    let told = actions.iter().filter_map(|action| match action {
        Action::Tell(event) => Some(format!("{}: {}", event.reason, event.message)),
        _ => None,
    });
    (status.unwrap(), told.collect())
}

#[test]
fn utilization_is_of_what_pods_asked_for() {
    let metric = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]);
    let busy = Cpu((0..2).map(|i| (format!("p{i}"), 900)).collect());
    let (status, _) = look(&autoscaler(metric), &busy, 2);
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(2), &json!(4)));
    let current = &status["currentMetrics"][0]["resource"]["current"];
    assert_eq!(
        (&current["averageUtilization"], &current["averageValue"]),
        (&json!(90), &json!("900m"))
    );
    assert_eq!(status["conditions"][0]["reason"], "SucceededRescale");
}

#[test]
fn of_several_metrics_the_one_that_asks_for_most_wins() {
    let metrics = json!([
        {"type": "Object", "object": {"metric": {"name": "rps"}, "describedObject": {"kind": "Service", "name": "web"},
            "target": {"type": "Value", "value": "30"}}},
        {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
    ]);
    let (status, _) = look(&autoscaler(metrics), &Cpu(Vec::new()), 2);
    assert_eq!(
        status["desiredReplicas"],
        json!(4),
        "6 are asked for; at once it doubles at most, or goes to 4"
    );
    assert_eq!(
        status["conditions"][1]["message"],
        "the HPA was able to successfully calculate a replica count from Service metric rps"
    );
    assert_eq!(status["conditions"][2]["reason"], "ScaleUpLimit");
}

#[test]
fn without_metrics_it_says_why_and_leaves_things_alone() {
    let metric = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]);
    let (status, told) = look(&autoscaler(metric), &NoMetrics, 2);
    assert_eq!(status["currentReplicas"], json!(2));
    assert_eq!(status["conditions"][1]["reason"], "FailedGetResourceMetric");
    let why = "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)";
    assert_eq!(
        told,
        [
            format!("FailedGetResourceMetric: {why}"),
            format!(
                "FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {why}"
            ),
        ]
    );
}

proptest! {
    #[test]
    fn it_stays_within_its_bounds_whatever_the_load(
        loads in proptest::collection::vec(0_i64..5_000, 1..40),
        min in 1_i64..5, span in 0_i64..10, start in 1_i64..20, ruled in any::<bool>(),
    ) {
        let max = min + span;
        let behavior = json!({"scaleUp": {"policies": [{"type": "Pods", "value": 3, "periodSeconds": 30}]}});
        let behavior = if ruled { behavior } else { Value::Null };
        let mut memory = Memory::default();
        let mut current = start.clamp(min, max);
        for (step, load) in loads.into_iter().enumerate() {
            let time = now().checked_add(SignedDuration::from_secs(15 * step as i64)).unwrap();
            let desired = load / 100;
            let limited = memory.limit(&behavior, Sizes { current, desired, min, max }, time);
            prop_assert!((min..=max).contains(&limited.replicas), "{limited:?}");
            if limited.replicas != current {
                memory.scaled(current, limited.replicas, time);
            }
            current = limited.replicas;
        }
    }
}
