//! Rows of what makes pods, and of what scales it.

use apimachinery::Meta;
use apimachinery::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::age;
use super::cells::{list, text, text_or};

/// Targets of an autoscaler that are shown.
const TARGETS: usize = 2;

/// Names and images of a template's containers.
fn containers(object: &Value) -> [Value; 2] {
    let all = || list(&object["spec"]["template"]["spec"]["containers"]);
    let join = |field: &str| all().map(|one| text(&one[field])).collect::<Vec<_>>().join(",");
    [json!(join("name")), json!(join("image"))]
}

fn selector(object: &Value) -> Value {
    match &object["spec"]["selector"] {
        Value::Null => json!("<none>"),
        selector => match LabelSelector::from_json(selector).to_string() {
            empty if empty.is_empty() => json!("<none>"),
            text => json!(text),
        },
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

pub(super) fn deployment(object: &Value, created: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
    let [names, images] = containers(object);
    vec![
        json!(object.name()),
        json!(ready),
        json!(number(&status["updatedReplicas"])),
        json!(number(&status["availableReplicas"])),
        created,
        names,
        images,
        selector(object),
    ]
}

pub(super) fn replica_set(object: &Value, created: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = containers(object);
    vec![
        json!(object.name()),
        json!(number(&spec["replicas"])),
        json!(number(&status["replicas"])),
        json!(number(&status["readyReplicas"])),
        created,
        names,
        images,
        selector(object),
    ]
}

pub(super) fn stateful_set(object: &Value, created: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
    let [names, images] = containers(object);
    vec![json!(object.name()), json!(ready), created, names, images]
}

pub(super) fn daemon_set(object: &Value, created: Value) -> Vec<Value> {
    let status = &object["status"];
    let count = |field: &str| json!(number(&status[field]));
    let nodes = &object["spec"]["template"]["spec"]["nodeSelector"];
    let [names, images] = containers(object);
    vec![
        json!(object.name()),
        count("desiredNumberScheduled"),
        count("currentNumberScheduled"),
        count("numberReady"),
        count("updatedNumberScheduled"),
        count("numberAvailable"),
        json!(super::cells::labels(nodes)),
        created,
        names,
        images,
        selector(object),
    ]
}

pub(super) fn job(object: &Value, created: Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let succeeded = number(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), spec["parallelism"].as_i64()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, Some(parallel)) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let seconds = |value: &Value| {
        value.as_str().and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_second)
    };
    let duration = seconds(&status["startTime"]).map_or_else(String::new, |start| {
        let end = seconds(&status["completionTime"]).unwrap_or(now.as_second());
        age::span(end - start)
    });
    let has = |name: &str| {
        list(&status["conditions"]).any(|one| one["type"] == name && one["status"] == "True")
    };
    let word = if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if object.is_terminating() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let [names, images] = containers(object);
    vec![
        json!(object.name()),
        json!(word),
        json!(completions),
        json!(duration),
        created,
        names,
        images,
        selector(object),
    ]
}

pub(super) fn autoscaler(object: &Value, created: Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let minimum =
        spec["minReplicas"].as_i64().map_or("<unset>".to_owned(), |least| least.to_string());
    vec![
        json!(object.name()),
        json!(format!("{}/{}", text(&target["kind"]), text(&target["name"]))),
        json!(targets(spec, status)),
        json!(minimum),
        json!(number(&spec["maxReplicas"])),
        json!(number(&status["currentReplicas"])),
        created,
    ]
}

/// What an autoscaler aims at, and where it is.
fn targets(spec: &Value, status: &Value) -> String {
    let metrics: Vec<&Value> = list(&spec["metrics"]).collect();
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let current: Vec<&Value> = list(&status["currentMetrics"]).collect();
    let each: Vec<String> = metrics
        .iter()
        .enumerate()
        .take(TARGETS)
        .map(|(index, metric)| target(metric, current.get(index).copied().unwrap_or(&Value::Null)))
        .collect();
    let mut text = each.join(", ");
    if metrics.len() > TARGETS {
        text.push_str(&format!(" + {} more...", metrics.len() - TARGETS));
    }
    text
}

fn target(metric: &Value, current: &Value) -> String {
    let (field, kind) = match text(&metric["type"]) {
        "Resource" => ("resource", 0),
        "ContainerResource" => ("containerResource", 0),
        "Pods" => ("pods", 1),
        "Object" => ("object", 2),
        "External" => ("external", 2),
        _ => return "<unknown type>".to_owned(),
    };
    let (wanted, is) = (&metric[field]["target"], &current[field]["current"]);
    let known = |value: &Value, unit: &str| match value {
        Value::Null => "<unknown>".to_owned(),
        Value::String(text) => format!("{text}{unit}"),
        other => format!("{other}{unit}"),
    };
    if kind == 0 {
        let name = text(&metric[field]["name"]);
        if !wanted["averageValue"].is_null() {
            let wanted = known(&wanted["averageValue"], "");
            return format!("{name}: {}/{wanted}", known(&is["averageValue"], ""));
        }
        let (wanted, is) = (&wanted["averageUtilization"], &is["averageUtilization"]);
        let wanted = if wanted.is_null() { "<auto>".to_owned() } else { known(wanted, "%") };
        return format!("{name}: {}/{wanted}", known(is, "%"));
    }
    if kind == 1 {
        return format!(
            "{}/{}",
            known(&is["averageValue"], ""),
            known(&wanted["averageValue"], "")
        );
    }
    if wanted["averageValue"].is_null() {
        return format!("{}/{}", known(&is["value"], ""), known(&wanted["value"], ""));
    }
    format!("{}/{} (avg)", known(&is["averageValue"], ""), known(&wanted["averageValue"], ""))
}

pub(super) fn budget(object: &Value, created: Value) -> Vec<Value> {
    let known = |value: &Value| match value {
        Value::Null => "N/A".to_owned(),
        Value::String(text) => text_or(&json!(text), "N/A").to_owned(),
        other => other.to_string(),
    };
    let spec = &object["spec"];
    vec![
        json!(object.name()),
        json!(known(&spec["minAvailable"])),
        json!(known(&spec["maxUnavailable"])),
        json!(number(&object["status"]["disruptionsAllowed"])),
        created,
    ]
}
