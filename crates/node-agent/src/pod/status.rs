//! A pod's `status` from its containers. Pure.

use serde_json::{Value, json};

use super::container::{Container, State};
use super::plan::{Policy, Role};

/// What else the status says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame<'a> {
    /// `metadata.generation` that has been acted upon.
    pub(crate) generation: i64,
    pub(crate) host_ip: &'a str,
    pub(crate) pod_ip: &'a str,
    /// When the node took the pod.
    pub(crate) start_time: String,
    /// Why the pod as a whole has failed.
    pub(crate) failed: Option<(&'a str, &'a str)>,
    pub(crate) initialized: bool,
    /// Volumes are there, addresses are given.
    pub(crate) prepared: bool,
    /// Now, as objects carry it.
    pub(crate) now: String,
}

/// The phase, by the kubelet's rules (`getPhase`).
pub(crate) fn phase(containers: &[Container], policy: Policy, failed: bool) -> &'static str {
    let busy = containers.iter().any(Container::is_running);
    if failed && !busy {
        return "Failed";
    }
    let ended = |one: &Container| match (&one.state, &one.last) {
        (State::Terminated(how), _) => Some(how.code),
        (_, Some(how)) if !one.is_up() => Some(how.code),
        _ => None,
    };
    for one in containers.iter().filter(|one| one.role == Role::Init) {
        if !one.is_running() && ended(one).is_some_and(|code| code != 0) && policy == Policy::Never
        {
            return if busy { "Pending" } else { "Failed" };
        }
    }
    let mains = || containers.iter().filter(|one| one.role == Role::Main);
    if mains().any(|one| !one.is_up() && ended(one).is_none()) {
        return "Pending";
    }
    let codes: Vec<i32> = mains().filter_map(ended).collect();
    let restarts = codes.iter().any(|code| policy.restarts(*code));
    if restarts || busy {
        return "Running";
    }
    if codes.iter().all(|code| *code == 0) { "Succeeded" } else { "Failed" }
}

/// The whole status over an older one: conditions keep the time of their last change, and those of others stay.
pub(crate) fn status(
    pod: &Value,
    containers: &[Container],
    policy: Policy,
    frame: &Frame<'_>,
) -> Value {
    let old = &pod["status"];
    let phase = phase(containers, policy, frame.failed.is_some());
    let of = |role_is: fn(Role) -> bool| -> Vec<Value> {
        containers.iter().filter(|one| role_is(one.role)).map(Container::status).collect()
    };
    let mut new = old.clone();
    if !new.is_object() {
        new = json!({});
    }
    new["phase"] = json!(phase);
    if frame.generation > 0 {
        new["observedGeneration"] = json!(frame.generation);
    }
    if let Some((reason, message)) = frame.failed {
        new["reason"] = json!(reason);
        new["message"] = json!(message);
    }
    new["hostIP"] = json!(frame.host_ip);
    new["hostIPs"] = json!([{"ip": frame.host_ip}]);
    if !frame.pod_ip.is_empty() {
        new["podIP"] = json!(frame.pod_ip);
        new["podIPs"] = json!([{"ip": frame.pod_ip}]);
    }
    new["startTime"] = json!(frame.start_time);
    let init = of(|role| role != Role::Main);
    if !init.is_empty() {
        new["initContainerStatuses"] = json!(init);
    }
    new["containerStatuses"] = json!(of(|role| role == Role::Main));
    for (kind, is, why) in conditions(pod, containers, phase, frame) {
        set_condition(&mut new, kind, is, why, frame);
    }
    new
}

type Why = Option<(&'static str, String)>;

fn conditions(
    pod: &Value,
    containers: &[Container],
    phase: &str,
    frame: &Frame<'_>,
) -> Vec<(&'static str, bool, Why)> {
    let over = matches!(phase, "Succeeded" | "Failed");
    let completed = || Some(("PodCompleted", String::new())).filter(|_| phase == "Succeeded");
    let names = |pick: &dyn Fn(&&Container) -> bool| -> Vec<&str> {
        containers.iter().filter(pick).map(|one| one.spec.name.as_str()).collect()
    };
    let incomplete = names(&|one| {
        let done = matches!(&one.state, State::Terminated(how) if how.code == 0);
        (one.role == Role::Init && !done) || (one.role == Role::Sidecar && !one.started)
    });
    let initialized: Why = (!frame.initialized).then(|| {
        let list = incomplete.join(" ");
        ("ContainersNotInitialized", format!("containers with incomplete status: [{list}]"))
    });
    let unready = names(&|one| one.role != Role::Init && !one.ready);
    let containers_ready: Why = match phase {
        "Succeeded" => completed(),
        "Failed" => Some(("PodFailed", String::new())),
        _ if unready.is_empty() && frame.initialized => None,
        _ => {
            let list = unready.join(" ");
            Some(("ContainersNotReady", format!("containers with unready status: [{list}]")))
        }
    };
    let gates = pod["spec"]["readinessGates"].as_array().into_iter().flatten();
    let missing = gates
        .filter_map(|gate| gate["conditionType"].as_str())
        .find(|gate| condition(&pod["status"], gate).is_none_or(|one| one["status"] != "True"));
    let ready = containers_ready.clone().or_else(|| {
        let gate = missing?;
        let message = format!(
            "corresponding condition of pod readiness gate {gate:?} does not exist or is not True."
        );
        Some(("ReadinessGatesNotReady", message))
    });
    let scheduled = ("PodScheduled", true, None);
    vec![
        ("PodReadyToStartContainers", frame.prepared && !over, None),
        ("Initialized", initialized.is_none(), initialized.or_else(completed)),
        ("Ready", ready.is_none(), ready),
        ("ContainersReady", containers_ready.is_none(), containers_ready),
        scheduled,
    ]
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|one| one["type"] == kind)
}

fn set_condition(status: &mut Value, kind: &str, is: bool, why: Why, frame: &Frame<'_>) {
    let is = if is { "True" } else { "False" };
    let old = condition(status, kind).cloned();
    let since =
        old.as_ref().filter(|old| old["status"] == is).map(|old| &old["lastTransitionTime"]);
    let mut new = json!({
        "type": kind,
        "status": is,
        "lastProbeTime": null,
        "lastTransitionTime": since.cloned().unwrap_or_else(|| json!(frame.now)),
    });
    if frame.generation > 0 {
        new["observedGeneration"] = json!(frame.generation);
    }
    if let Some((reason, message)) = why {
        new["reason"] = json!(reason);
        if !message.is_empty() {
            new["message"] = json!(message);
        }
    }
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(all) = status["conditions"].as_array_mut() else { return };
    match all.iter_mut().find(|one| one["type"] == kind) {
        Some(one) => *one = new,
        None => all.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::super::container::{Terminated, waiting};
    use super::*;

    fn container(role: Role, state: State) -> Container {
        let spec = serde_json::from_value(json!({"name": "main", "image": "x"})).unwrap();
        Container { state, ..Container::new(std::sync::Arc::new(spec), role, "ContainerCreating") }
    }

    fn running() -> State {
        let since = Some(jiff::Timestamp::UNIX_EPOCH);
        State::Running { since, began: tokio::time::Instant::now() }
    }

    fn ended(code: i32) -> State {
        State::Terminated(Terminated {
            code,
            signal: None,
            reason: "x".into(),
            message: String::new(),
            started: None,
            finished: jiff::Timestamp::UNIX_EPOCH,
            id: String::new(),
        })
    }

    #[test]
    fn phases_follow_the_kubelet() {
        let of = |states: Vec<State>, policy| {
            let all: Vec<Container> =
                states.into_iter().map(|state| container(Role::Main, state)).collect();
            phase(&all, policy, false)
        };
        let new = || waiting("ContainerCreating");
        assert_eq!(of(vec![new()], Policy::Always), "Pending");
        assert_eq!(of(vec![running(), new()], Policy::Always), "Pending");
        assert_eq!(of(vec![running(), ended(0)], Policy::Never), "Running");
        assert_eq!(of(vec![ended(0)], Policy::Always), "Running");
        assert_eq!(of(vec![ended(1)], Policy::OnFailure), "Running");
        assert_eq!(of(vec![ended(0), ended(0)], Policy::OnFailure), "Succeeded");
        assert_eq!(of(vec![ended(0), ended(1)], Policy::Never), "Failed");
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let mut pod = json!({"spec": {"containers": [{}]}});
        let mut all = vec![container(Role::Main, running())];
        let at = |now: &str| Frame {
            initialized: true,
            prepared: true,
            now: now.into(),
            ..Frame::default()
        };
        pod["status"] = status(&pod, &all, Policy::Always, &at("1"));
        let ready = |pod: &Value| {
            let one = condition(&pod["status"], "Ready").unwrap();
            (one["status"].clone(), one["lastTransitionTime"].clone())
        };
        assert_eq!(ready(&pod), (json!("False"), json!("1")));
        pod["status"] = status(&pod, &all, Policy::Always, &at("2"));
        assert_eq!(ready(&pod), (json!("False"), json!("1")));
        all[0].ready = true;
        pod["status"] = status(&pod, &all, Policy::Always, &at("3"));
        assert_eq!(ready(&pod), (json!("True"), json!("3")));
    }
}
