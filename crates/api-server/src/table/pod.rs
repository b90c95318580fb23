//! A pod's row: how many of its containers are ready, and in one word what it is doing.

use apimachinery::Meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::age;
use super::cells::{list, text, text_or};

/// The cells of a pod.
pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let state = State::of(pod);
    let total = list(&pod["spec"]["containers"]).count() + sidecars(pod);
    let restarts = match &state.last_restart {
        Some(time) if state.restarts > 0 => {
            format!("{} ({} ago)", state.restarts, age::since(&json!(time), now))
        }
        _ => state.restarts.to_string(),
    };
    let nominated = text_or(&pod["status"]["nominatedNodeName"], "<none>");
    vec![
        json!(pod.name()),
        json!(format!("{}/{total}", state.ready)),
        json!(state.word),
        json!(restarts),
        json!(age::since(&pod["metadata"]["creationTimestamp"], now)),
        json!(text_or(&pod["status"]["podIP"], "<none>")),
        json!(text_or(&pod["spec"]["nodeName"], "<none>")),
        json!(nominated),
        json!(gates(pod)),
    ]
}

/// What is read from the containers.
struct State {
    ready: usize,
    restarts: i64,
    last_restart: Option<String>,
    word: String,
}

/// Init containers that go on running.
fn sidecars(pod: &Value) -> usize {
    list(&pod["spec"]["initContainers"]).filter(|one| is_sidecar(one)).count()
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

impl State {
    fn of(pod: &Value) -> Self {
        let status = &pod["status"];
        let mut state = Self {
            ready: 0,
            restarts: 0,
            last_restart: None,
            word: text_or(&status["reason"], text(&status["phase"])).to_owned(),
        };
        let gated = list(&status["conditions"])
            .any(|one| one["type"] == "PodScheduled" && one["reason"] == "SchedulingGated");
        if gated {
            state.word = "SchedulingGated".to_owned();
        }
        let initializing = state.init(pod);
        if !initializing || is_initialized(pod) {
            state.main(pod);
        }
        if pod.is_terminating() {
            let lost = status["reason"] == "NodeLost";
            let over = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
            if lost {
                state.word = "Unknown".to_owned();
            } else if !over {
                state.word = "Terminating".to_owned();
            }
        }
        state
    }

    /// Reads the init containers; true while one of them keeps the others waiting.
    fn init(&mut self, pod: &Value) -> bool {
        let specs: Vec<&Value> = list(&pod["spec"]["initContainers"]).collect();
        for (index, one) in list(&pod["status"]["initContainerStatuses"]).enumerate() {
            self.count(one);
            let sidecar = specs.iter().any(|spec| spec["name"] == one["name"] && is_sidecar(spec));
            let terminated = &one["state"]["terminated"];
            if terminated["exitCode"] == 0 {
                continue;
            }
            if sidecar && one["started"] == true {
                if one["ready"] == true {
                    self.ready += 1;
                }
                continue;
            }
            let waiting = text(&one["state"]["waiting"]["reason"]);
            self.word = if terminated.is_object() {
                format!("Init:{}", ended(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", specs.len())
            };
            return true;
        }
        false
    }

    /// Reads the containers, the first one last.
    fn main(&mut self, pod: &Value) {
        let all: Vec<&Value> = list(&pod["status"]["containerStatuses"]).collect();
        let mut running = false;
        for one in all.into_iter().rev() {
            self.count(one);
            let (waiting, terminated) =
                (text(&one["state"]["waiting"]["reason"]), &one["state"]["terminated"]);
            if !waiting.is_empty() {
                self.word = waiting.to_owned();
            } else if terminated.is_object() {
                self.word = ended(terminated);
            } else if one["ready"] == true && one["state"]["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        if self.word == "Completed" && running {
            let ready = list(&pod["status"]["conditions"])
                .any(|one| one["type"] == "Ready" && one["status"] == "True");
            self.word = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn count(&mut self, container: &Value) {
        self.restarts += container["restartCount"].as_i64().unwrap_or(0);
        let ended = container["lastState"]["terminated"]["finishedAt"].as_str().unwrap_or("");
        if self.last_restart.as_deref().unwrap_or("") < ended {
            self.last_restart = Some(ended.to_owned());
        }
    }
}

fn is_initialized(pod: &Value) -> bool {
    list(&pod["status"]["conditions"])
        .any(|one| one["type"] == "Initialized" && one["status"] == "True")
}

/// Why a container ended.
fn ended(terminated: &Value) -> String {
    let reason = text(&terminated["reason"]);
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match terminated["signal"].as_i64() {
        Some(signal) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
    }
}

fn gates(pod: &Value) -> String {
    let gates: Vec<&Value> = list(&pod["spec"]["readinessGates"]).collect();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| {
        list(&pod["status"]["conditions"])
            .any(|one| one["type"] == gate["conditionType"] && one["status"] == "True")
    });
    format!("{}/{}", open.count(), gates.len())
}
