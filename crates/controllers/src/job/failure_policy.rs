//! What a failed pod means for its job, by rules on exit codes and conditions.

use apimachinery::Meta;
use serde_json::Value;

use crate::fields::Fields;

/// What a failed pod means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts towards the limit.
    Count,
    /// It does not count.
    Ignore,
    /// The job fails, with this message.
    FailJob(String),
}

/// The first rule that matches says what a failed pod means.
pub(super) fn judge(job: &Value, pod: &Value) -> Verdict {
    for (number, rule) in job.list("spec/podFailurePolicy/rules").iter().enumerate() {
        let action = rule.text("action");
        let Some(what) = matches(rule, pod) else { continue };
        return match action {
            "Ignore" => Verdict::Ignore,
            "FailJob" => {
                Verdict::FailJob(format!("{what} matching {action} rule at index {number}"))
            }
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// What of a pod a rule matches, in words.
fn matches(rule: &Value, pod: &Value) -> Option<String> {
    let name = format!("{}/{}", pod.namespace(), pod.name());
    let codes = rule.at("onExitCodes");
    if codes.is_object() {
        let only = codes.text("containerName");
        let all = pod
            .list("status/containerStatuses")
            .iter()
            .chain(pod.list("status/initContainerStatuses"));
        let mut ended =
            all.filter(|one| only.is_empty() || one.text("name") == only).filter_map(|one| {
                let code = one.int("state/terminated/exitCode").filter(|code| *code != 0)?;
                let listed = codes.list("values").iter().any(|value| value.as_i64() == Some(code));
                (listed == (codes.text("operator") == "In")).then(|| (one.text("name"), code))
            });
        let (container, code) = ended.next()?;
        return Some(format!("Container {container} for pod {name} failed with exit code {code}"));
    }
    let mut wanted = rule.list("onPodConditions").iter();
    let found = wanted.find(|pattern| {
        let status = pattern.text("status");
        let status = if status.is_empty() { "True" } else { status };
        crate::pod::condition(pod, pattern.text("type"))
            .is_some_and(|one| one.text("status") == status)
    })?;
    Some(format!("Pod {name} has condition {}", found.text("type")))
}
