use proptest::prelude::*;

use super::check::PodView;
use super::*;

#[test]
fn the_courses_own_experiments_can_be_read() {
    let all = builtin().expect("all of them");
    let names: Vec<&str> = all.iter().map(|each| each.name.as_str()).collect();
    assert!(names.is_sorted(), "{names:?}");
    for each in &all {
        assert_eq!(&find(&each.name).expect("by its name"), each);
        assert!(each.title.len() < 60 && each.patience() >= Duration::from_secs(30));
    }
}

const MINIMAL: &str = "
name: x
title: t
workload: engine
fault: { chaos: { kind: PodChaos, spec: {} } }
healthy: [{ ready: { atLeast: 1 } }]
bites: [{ gone: { atLeast: 1 } }]
hold: 1s
patience: 1s
";

#[test]
fn a_mistake_in_a_file_is_named() {
    assert!(Experiment::parse("x", MINIMAL).is_ok());
    for (from, to, named) in [
        ("name: x", "name: X Y", "1 to 40"),
        ("kind: PodChaos", "kind: PodMess", "PodMess"),
        ("hold: 1s", "hold: soon", "soon"),
        ("bites: [{ gone: { atLeast: 1 } }]", "bites: []", "bites"),
        ("title: t", "titel: t", "titel"),
        ("gone: { atLeast: 1 }", "gone: { atleast: 1 }", "atleast"),
        ("gone: { atLeast: 1 }", "vanished: { atLeast: 1 }", "vanished"),
    ] {
        let error =
            Experiment::parse("file", &MINIMAL.replace(from, to)).expect_err(to).to_string();
        assert!(error.contains(named), "{to}: {error}");
    }
    assert!(matches!(find("no-such-experiment"), Err(ExperimentError::Unknown(_))));
}

fn view(pods: &[(&str, bool, i32)]) -> View {
    let pod = |(uid, ready, restarts): &(&str, bool, i32)| {
        let view = PodView { uid: (*uid).to_owned(), ready: *ready, restarts: *restarts };
        (format!("pod-{uid}"), view)
    };
    View { pods: pods.iter().map(pod).collect(), ..View::default() }
}

fn check(yaml: &str) -> Check {
    serde_saphyr::from_str(yaml).expect("a check")
}

#[test]
fn pods_are_counted_by_identity() {
    let first = view(&[("a", true, 0), ("b", true, 2)]);
    let now = view(&[("b", false, 3), ("c", true, 0)]);
    assert_eq!(check("ready: { atLeast: 1, atMost: 1 }").holds(&first, &now), Ok(()));
    assert_eq!(check("notReady: { atLeast: 1 }").holds(&first, &now), Ok(()));
    assert_eq!(check("gone: { atLeast: 1 }").holds(&first, &now), Ok(()));
    assert_eq!(check("restarts: { atLeast: 1 }").holds(&first, &now), Ok(()));
    let why = check("gone: { atLeast: 2 }").holds(&first, &now).expect_err("one is gone");
    assert_eq!(why, "pods gone: 1, expected 2 or more");
}

fn asked(path: &str, answers: &[(&str, Answer)]) -> View {
    let mut view = view(&[("a", true, 0), ("b", true, 0)]);
    let request = Request { port: 8000, path: path.to_owned(), body: None };
    let of = |(pod, answer): &(&str, Answer)| ((*pod).to_owned(), answer.clone());
    view.answers.insert(request, answers.iter().map(of).collect());
    view
}

fn came(status: u16, ms: u64) -> Answer {
    Answer::Came { status, took: Duration::from_millis(ms), body: String::new() }
}

#[test]
fn slowness_is_a_ratio_to_the_healthy_self() {
    let first = asked("/x", &[("pod-a", came(200, 10)), ("pod-b", came(200, 12))]);
    let now = asked("/x", &[("pod-a", came(200, 11)), ("pod-b", came(200, 40))]);
    let some = check("http: { request: { path: /x }, pods: some, slower: 3 }");
    let every = check("http: { request: { path: /x }, slower: 3 }");
    assert_eq!(some.holds(&first, &now), Ok(()));
    assert!(every.holds(&first, &now).expect_err("one is quick").contains("times as long"));
}

#[test]
fn a_request_may_have_to_fail() {
    let first = asked("/x", &[]);
    let failed = Answer::Failed("no answer within 10 s".to_owned());
    let now = asked("/x", &[("pod-a", came(200, 10)), ("pod-b", failed)]);
    assert_eq!(
        check("http: { request: { path: /x }, pods: some, fails: true }").holds(&first, &now),
        Ok(())
    );
    let every = check("http: { request: { path: /x }, status: 200 }").holds(&first, &now);
    assert_eq!(every, Err("/x: no answer within 10 s".to_owned()));
    let none = check("http: { request: { path: /x } }").holds(&first, &view(&[("a", false, 0)]));
    assert_eq!(none, Err("no pod is ready".to_owned()));
}

#[test]
fn a_metric_that_stays_is_told_from_one_that_moves() {
    let mut now = view(&[("a", true, 0)]);
    now.metrics.insert((8000, "m".into(), "pod-a".into()), (Some(3.0), Some(3.0)));
    assert_eq!(check("metric: { name: m, moves: false }").holds(&now, &now), Ok(()));
    let why = check("metric: { name: m, moves: true }").holds(&now, &now).expect_err("it stays");
    assert!(why.contains("stayed"), "{why}");
    assert!(check("metric: { name: m, atLeast: 4 }").holds(&now, &now).is_err());
    assert!(check("metric: { name: other }").holds(&now, &now).is_err());
}

#[test]
fn a_metric_that_is_gone_is_told_from_a_page_that_does_not_answer() {
    let gone = check("metric: { name: m, absent: true }");
    let mut now = view(&[("a", true, 0)]);
    let why = gone.holds(&now, &now).expect_err("no page");
    assert!(why.contains("did not answer"), "{why}");
    let key = (8000, "m".to_owned(), "pod-a".to_owned());
    now.metrics.insert(key.clone(), (None, None));
    assert_eq!(gone.holds(&now, &now), Ok(()));
    now.metrics.insert(key, (Some(0.0), Some(0.0)));
    assert!(gone.holds(&now, &now).is_err());
}

#[test]
fn another_deployment_can_be_asked_too() {
    let ask = check("http: { request: { path: /x }, of: router, status: 200 }");
    let mut now = asked("/x", &[("pod-a", came(500, 1)), ("pod-b", came(500, 1))]);
    assert_eq!(ask.holds(&now, &now), Err("there is no Deployment \"router\"".to_owned()));
    let router = asked("/x", &[("pod-a", came(200, 1)), ("pod-b", came(200, 1))]);
    now.others.insert("router".into(), router);
    assert_eq!(ask.holds(&now, &now), Ok(()));
}

#[test]
fn a_counter_is_judged_by_what_another_one_grew_by_meanwhile() {
    let counters = |retries: f64, requests: f64| {
        let mut view = view(&[("a", true, 0)]);
        for (name, value) in [("retries", retries), ("requests", requests)] {
            let key = (8000, name.into(), "pod-a".into());
            view.metrics.insert(key, (Some(value), Some(value)));
        }
        view
    };
    let check = check("metric: { name: retries, per: requests, atMost: 0.2 }");
    let first = counters(90.0, 100.0);
    assert_eq!(check.holds(&first, &counters(110.0, 200.0)), Ok(()));
    let why = check.holds(&first, &counters(111.0, 200.0)).expect_err("21 in 100");
    assert_eq!(why, "pod-a: retries per requests: 0.21, expected 0.2 or less");
    // The pod began again: what it counts now is what it grew by.
    assert_eq!(check.holds(&first, &counters(2.0, 50.0)), Ok(()));
    assert!(check.holds(&first, &counters(20.0, 50.0)).is_err());
    // Too few to say anything.
    assert_eq!(check.holds(&first, &counters(100.0, 119.0)), Ok(()));
}

fn snapshot() -> Snapshot {
    Snapshot {
        workload: Some("w".into()),
        replicas: 3,
        fault: Some(Some("f".into())),
        spec: "{}".into(),
        suspended: false,
        injected: true,
        faulted: 0,
    }
}

#[test]
fn every_way_to_cheat_has_a_name() {
    type Change = fn(&mut Snapshot);
    let before = snapshot();
    let cases: [(Change, &str); 8] = [
        (|now| now.workload = None, "the workload was deleted"),
        (|now| now.workload = Some("v".into()), "the workload was deleted and made again"),
        (|now| now.replicas = 0, "the workload was scaled from 3 to 0"),
        (|now| now.fault = Some(None), "the fault object was deleted"),
        (|now| now.fault = Some(Some("g".into())), "the fault object was deleted and made again"),
        (|now| now.suspended = true, "the fault object was paused or is being deleted"),
        (|now| now.spec.clear(), "the fault object's spec was changed"),
        (|now| now.injected = false, "not all of its targets"),
    ];
    for (change, named) in cases {
        let mut now = snapshot();
        change(&mut now);
        let cheat = before.cheat(&now).map(|cheat| cheat.to_string()).unwrap_or_default();
        assert!(cheat.contains(named), "{cheat:?}, expected {named:?}");
    }
    let engine = Snapshot { fault: None, faulted: 1, ..snapshot() };
    let gone = Snapshot { faulted: 0, ..engine.clone() };
    assert_eq!(engine.cheat(&gone), Some(Cheat::EngineFaultRemoved));
}

proptest! {
    #[test]
    fn more_replicas_are_no_cheat(more in 0i32..100) {
        let now = Snapshot { replicas: 3 + more, ..snapshot() };
        prop_assert_eq!(snapshot().cheat(&now), None);
    }
}
