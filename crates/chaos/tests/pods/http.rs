//! HTTPChaos: requests and answers that are cut, late or changed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::place::{PORT, Place, ask, get};

/// A stub, and a fault of its exchanges.
fn broken(place: &Place, target: &str, mut spec: Value, look: impl FnOnce(&str)) {
    spec["target"] = target.into();
    spec["port"] = PORT.into();
    let [pod] = place.pods().try_into().unwrap();
    let url = place.url(&pod);
    let fault = place.inject("HTTPChaos", spec);
    look(&url);
    fault.clear();
    let healthy = get(&url);
    assert_eq!((healthy.status, healthy.body.trim()), (Some(200), pod.name.as_str()), "undone");
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn an_aborted_exchange_has_no_answer_and_others_have() {
    let place = Place::of(1);
    let spec = json!({ "abort": true, "path": "/bytes/*", "method": "GET" });
    broken(&place, "Request", spec, |url| {
        assert_eq!(get(&format!("{url}/bytes/3")).status, None);
        assert_eq!(get(&format!("{url}/readyz")).status, Some(200), "another path");
        assert_eq!(
            ask("POST", &format!("{url}/bytes/3"), &[], "").status,
            Some(404),
            "another method"
        );
    });
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn a_late_answer_comes_no_earlier_than_it_should() {
    let place = Place::of(1);
    let late = Duration::from_millis(1000);
    let spec = json!({ "delay": "1s", "request_headers": { "X-Late": "yes" } });
    broken(&place, "Response", spec, |url| {
        let late_with =
            |headers: &[(&str, &str)]| (0..4).all(|_| ask("GET", url, headers, "").took >= late);
        assert!(late_with(&[("X-Late", "yes")]));
        assert!(!late_with(&[]), "a request without the header");
    });
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn parts_of_a_request_are_replaced_before_the_pod_sees_them() {
    let place = Place::of(1);
    let replace = json!({
        "method": "PUT", "path": "/echo/there", "queries": { "a": "2" },
        "headers": { "X-Who": "fault" }, "body": "Zm9v",
    });
    broken(&place, "Request", json!({ "replace": replace, "path": "/echo/*" }), |url| {
        let url = format!("{url}/echo/here?a=1&b=3");
        let seen = ask("POST", &url, &[("X-Who", "client")], "a longer body").body;
        let (first, rest) = seen.split_once('\n').unwrap();
        assert!(first.starts_with("PUT /echo/there?"), "{first}");
        assert!(
            first.contains("a=2") && first.contains("b=3") && !first.contains("a=1"),
            "{first}"
        );
        assert!(rest.contains("x-who: fault\n") && !rest.contains("client"), "{rest}");
        assert!(rest.ends_with("\n\nfoo"), "{rest}");
    });
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn parts_of_an_answer_are_replaced_and_added() {
    let place = Place::of(1);
    let replace = json!({ "code": 503, "body": "eyJhIjoxfQ==", "headers": { "X-Who": "fault" } });
    broken(&place, "Response", json!({ "replace": replace, "code": 200 }), |url| {
        let seen = get(url);
        assert_eq!((seen.status, seen.body.as_str()), (Some(503), r#"{"a":1}"#));
        assert!(seen.headers.contains(&("x-who".into(), "fault".into())), "{seen:?}");
        let missing = get(&format!("{url}/nothing"));
        assert_eq!(missing.status, Some(404), "only answers with 200 are hit");
    });
    let patch = json!({
        "headers": [["X-More", "1"]],
        "body": { "type": "JSON", "value": r#"{"b":{"c":2}}"# },
    });
    let both = json!({ "patch": patch, "replace": { "body": "eyJhIjoxfQ==" } });
    broken(&place, "Response", both, |url| {
        let seen = get(url);
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        assert_eq!(body, json!({ "a": 1, "b": { "c": 2 } }));
        assert!(seen.headers.contains(&("x-more".into(), "1".into())), "{seen:?}");
    });
    let queries = json!({ "patch": { "queries": [["more", "1"]] } });
    broken(&place, "Request", queries, |url| {
        let seen = get(&format!("{url}/echo?a=1")).body;
        assert!(seen.starts_with("GET /echo?a=1&more=1\n"), "{seen}");
    });
}

#[test]
#[ignore = "needs a cluster: cargo xtask test --only faults"]
fn what_a_relay_cannot_see_is_refused() {
    let place = Place::of(1);
    let tls = json!({
        "target": "Request", "port": PORT, "abort": true,
        "tls": { "secretName": "a", "secretNamespace": "b", "certName": "c", "keyName": "d" },
    });
    let refusal = place.refusal("HTTPChaos", tls);
    assert!(refusal.contains("not supported here: requests inside TLS"), "{refusal}");
    let answer = json!({
        "target": "Response", "port": PORT, "abort": true, "response_headers": { "a": "b" },
    });
    let refusal = place.refusal("HTTPChaos", answer);
    assert!(
        refusal.contains("not supported here: filtering by headers of the response"),
        "{refusal}"
    );
}
