//! One container of a pod: where it stands, and how its status says so.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container as Spec;
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::plan::{Facts, Role, Stage};
use crate::config::Timing;
use crate::events::seconds;
use crate::supervisor::order::TaskId;

/// How a container's run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terminated {
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) started: Option<Timestamp>,
    pub(crate) finished: Timestamp,
    pub(crate) id: String,
}

/// Where a container stands.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// It does not run, for this reason.
    Waiting { reason: String, message: String },
    /// It is being started, or runs. `since`: when it began to run.
    Running { since: Option<Timestamp>, began: Instant },
    /// It ended.
    Terminated(Terminated),
}

/// Why and until when a container that is to end may go on.
#[derive(Debug)]
pub(crate) struct Stopping {
    /// When it is killed.
    pub(crate) deadline: Instant,
    /// Whether it has been asked to end.
    pub(crate) asked: bool,
    /// Whether it has been killed.
    pub(crate) killed: bool,
}

/// A growing pause between attempts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pause {
    /// The pause that was set last.
    pub(crate) current: Duration,
    /// The next pause.
    pub(crate) next: Duration,
    /// No attempt before this.
    pub(crate) until: Option<Instant>,
}

impl Pause {
    /// An attempt failed now. The first one may be repeated at once; then pauses double.
    pub(crate) fn fail(&mut self, now: Instant, timing: &Timing) {
        self.current = self.next;
        self.until = (!self.next.is_zero()).then(|| now + self.next);
        self.next = if self.next.is_zero() { timing.backoff } else { self.next * 2 };
        self.next = self.next.min(timing.max_backoff);
    }
}

/// One container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) spec: Arc<Spec>,
    pub(crate) role: Role,
    /// Why it waits when there is nothing else to say: what the kubelet calls the default state.
    pub(crate) idle: &'static str,
    pub(crate) state: State,
    pub(crate) last: Option<Terminated>,
    pub(crate) restarts: i32,
    /// The current run.
    pub(crate) task: Option<TaskId>,
    /// The main process of the current run.
    pub(crate) pid: Option<u32>,
    /// `embedded://...` of the current or last run.
    pub(crate) id: String,
    pub(crate) begun: bool,
    pub(crate) started: bool,
    pub(crate) ready: bool,
    pub(crate) pause: Pause,
    pub(crate) pull: Pause,
    pub(crate) stopping: Option<Stopping>,
    /// Why the run that is about to end will have ended, if we know better than its status.
    pub(crate) verdict: Option<&'static str>,
    /// Probes and hooks of the current run.
    pub(crate) helpers: Vec<AbortHandle>,
}

impl Container {
    /// A container before its first run. `idle`: why one waits that nothing else is known of.
    pub(crate) fn new(spec: Arc<Spec>, role: Role, idle: &'static str) -> Self {
        Self {
            spec,
            role,
            idle,
            state: waiting(idle),
            last: None,
            restarts: 0,
            task: None,
            pid: None,
            id: String::new(),
            begun: false,
            started: false,
            ready: false,
            pause: Pause::default(),
            pull: Pause::default(),
            stopping: None,
            verdict: None,
            helpers: Vec::new(),
        }
    }

    /// Its image's name.
    pub(crate) fn image(&self) -> &str {
        self.spec.image.as_deref().unwrap_or("")
    }

    /// How events name it.
    pub(crate) fn path(&self) -> String {
        let list = if self.role == Role::Main { "containers" } else { "initContainers" };
        format!("spec.{list}{{{}}}", self.spec.name)
    }

    /// What the plan needs to know.
    pub(crate) fn facts(&self) -> Facts {
        let stage = match (&self.state, &self.last) {
            (State::Running { .. }, _) => Stage::Running,
            (State::Terminated(how), _) => Stage::Ended(how.code),
            (State::Waiting { .. }, Some(how)) if self.begun => Stage::Ended(how.code),
            (State::Waiting { .. }, _) => Stage::Never,
        };
        Facts { role: self.role, stage, begun: self.begun, started: self.started }
    }

    /// Whether a process of it may be there.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// No attempt to start it before this.
    pub(crate) fn not_before(&self) -> Option<Instant> {
        self.pause.until.max(self.pull.until)
    }

    /// Whether it has begun its current run.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Running { since: Some(_), .. })
    }

    /// Stops probes and hooks.
    pub(crate) fn stop_helpers(&mut self) {
        self.helpers.drain(..).for_each(|helper| helper.abort());
    }

    /// Its run has ended.
    pub(crate) fn end(&mut self, how: Terminated, timing: &Timing) {
        self.stop_helpers();
        let now = Instant::now();
        if let State::Running { began, .. } = self.state
            && now.duration_since(began) > timing.max_backoff * 2
        {
            self.pause = Pause::default();
        }
        self.pause.fail(now, timing);
        self.task = None;
        self.pid = None;
        self.ready = false;
        self.started = false;
        self.stopping = None;
        self.verdict = None;
        self.state = State::Terminated(how);
    }

    /// A `ContainerStatus`.
    pub(crate) fn status(&self) -> Value {
        let state = match &self.state {
            State::Waiting { reason, message } if message.is_empty() => {
                json!({"waiting": {"reason": reason}})
            }
            State::Waiting { reason, message } => {
                json!({"waiting": {"reason": reason, "message": message}})
            }
            State::Running { since: Some(since), .. } => {
                json!({"running": {"startedAt": seconds(*since)}})
            }
            State::Running { since: None, .. } => json!({"waiting": {"reason": self.idle}}),
            State::Terminated(how) => terminated(how),
        };
        let last = self.last.as_ref().map_or_else(|| json!({}), terminated);
        // A completed init container counts as ready.
        let done = matches!(&self.state, State::Terminated(how) if how.code == 0);
        let ready = if self.role == Role::Init { done } else { self.ready };
        json!({
            "name": self.spec.name,
            "image": self.image(),
            "imageID": if self.begun { format!("embedded://{}", self.image()) } else { String::new() },
            "containerID": self.id,
            "restartCount": self.restarts,
            "ready": ready,
            "started": self.started,
            "state": state,
            "lastState": last,
        })
    }
}

/// Why the containers of a pod wait at first (kubelet: `convertToAPIContainerStatuses`).
pub(crate) fn idle(has_init_containers: bool) -> &'static str {
    if has_init_containers { "PodInitializing" } else { "ContainerCreating" }
}

/// A state of waiting without more to say.
pub(crate) fn waiting(reason: &str) -> State {
    State::Waiting { reason: reason.to_owned(), message: String::new() }
}

fn terminated(how: &Terminated) -> Value {
    let mut body = json!({
        "exitCode": how.code,
        "reason": how.reason,
        "startedAt": how.started.map(seconds),
        "finishedAt": seconds(how.finished),
        "containerID": how.id,
    });
    if let Some(signal) = how.signal {
        body["signal"] = json!(signal);
    }
    if !how.message.is_empty() {
        body["message"] = json!(how.message);
    }
    json!({"terminated": body})
}
