//! Jobs.

use apimachinery::Meta;
use serde_json::{Value, json};

/// Gives a new job a selector that meets its own pods only, unless it brings its own.
pub(super) fn create(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let (name, uid) = (job.name().to_owned(), job.uid().to_owned());
    let labels = [
        ("job-name", &name),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("batch.kubernetes.io/controller-uid", &uid),
    ];
    // The job's own labels are its template's, unless it brings some.
    let own = &job["metadata"]["labels"];
    let shared = own.as_object().is_none_or(|labels| labels.is_empty())
        || *own == job["spec"]["template"]["metadata"]["labels"];
    let template = &mut job["spec"]["template"]["metadata"]["labels"];
    if !template.is_object() {
        *template = json!({});
    }
    for (key, value) in labels {
        if template.get(key).is_none() {
            template[key] = json!(value);
        }
    }
    let all = template.clone();
    let selector = &mut job["spec"]["selector"];
    if selector["matchLabels"].get("batch.kubernetes.io/controller-uid").is_none() {
        selector["matchLabels"]["batch.kubernetes.io/controller-uid"] = json!(uid);
    }
    if shared {
        job["metadata"]["labels"] = all;
    }
}
