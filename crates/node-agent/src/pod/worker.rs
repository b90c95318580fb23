//! A pod's own task: hears what changes, does what the plan says, writes the status.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Key, Meta};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use nix::sys::signal::Signal;
use object_store::{DeleteOptions, ObjectRef, Part, Preconditions, WriteOptions};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::container::{Container, State, Stopping, Terminated, idle};
use super::fields::Place;
use super::plan::{self, Policy, Role};
use super::probe::{Outcome, ProbeKind};
use super::status::{self, Frame};
use super::{hooks, volumes};
use crate::agent::Shared;
use crate::events::{About, Level, seconds};
use crate::net::{Exposed, PodAddress};
use crate::sandbox::Sandbox;
use crate::supervisor::order::{Ending, Report, TaskId};

/// Messages on their way to one pod.
pub(crate) const MESSAGES: usize = 256;
/// How long a pod that waits for a volume or a variable waits until it looks again by itself.
const RETRY: Duration = Duration::from_secs(2);
/// What a container is given to end after its hook has used up the grace period (kubelet: 2 s).
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// What a pod is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Its object has changed.
    Changed(ObjectRef),
    /// Its object is gone: end at once.
    Gone,
    /// Its node has died: end at once, and say nothing.
    NodeDied,
    /// A ConfigMap or Secret that it may use has changed.
    Refresh,
    /// A probe has something to say about a run.
    Probed { task: TaskId, kind: ProbeKind, outcome: Outcome },
    /// The `postStart` hook of a run is through.
    PostStart { task: TaskId, result: Result<(), String> },
    /// The `preStop` hook of a run is through.
    PreStop { task: TaskId, result: Result<(), String> },
    /// Kill one container, or all, and let the restart policy decide.
    Kill { container: Option<String>, done: oneshot::Sender<usize> },
    /// Stop every process, or let them go on.
    Freeze { frozen: bool, done: oneshot::Sender<()> },
    /// A container uses more memory than it may.
    OutOfMemory { container: String },
}

/// What others may know about a pod at any time.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// The supervisor and the containers that run.
    pub(crate) sandbox: Option<Sandbox>,
    /// By name.
    pub(crate) containers: BTreeMap<String, ContainerView>,
    /// Where its programs listen.
    pub(crate) address: Option<PodAddress>,
}

/// What others may know about a container.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerView {
    /// Its main process while it runs.
    pub(crate) pid: Option<u32>,
    /// The restart count of its newest run; none if it has not run.
    pub(crate) run: Option<i32>,
    /// Why it waits, if it does.
    pub(crate) waiting: Option<String>,
    /// Its variables.
    pub(crate) env: Arc<Vec<(String, String)>>,
    /// Its working directory.
    pub(crate) dir: PathBuf,
}

/// A pod on a node of ours.
pub(crate) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) node: String,
    pub(super) key: Key,
    pub(super) uid: String,
    pub(super) object: ObjectRef,
    pub(super) pod: Arc<Pod>,
    pub(super) about: About,
    pub(super) place: Place,
    pub(super) policy: Policy,
    pub(super) containers: Vec<Container>,
    pub(super) sandbox: Option<Sandbox>,
    reports_in: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    pub(super) inbox_in: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
    pub(super) view: watch::Sender<View>,
    pub(super) address: Option<PodAddress>,
    pub(super) exposed: Option<Exposed>,
    pub(super) volumes: Option<volumes::Volumes>,
    start_time: Timestamp,
    /// Why it failed as a whole.
    failed: Option<(&'static str, String)>,
    /// When everything is killed, once it is to end.
    grace_end: Option<Instant>,
    initialized: bool,
    pub(super) wake: Option<Instant>,
    gone: bool,
    silent: bool,
}

/// Starts a pod's task.
pub(crate) fn start(
    shared: Arc<Shared>,
    object: ObjectRef,
    pod: Arc<Pod>,
) -> (mpsc::Sender<Message>, watch::Receiver<View>, tokio::task::JoinHandle<()>) {
    let (inbox_in, inbox) = mpsc::channel(MESSAGES);
    let (reports_in, reports) = mpsc::channel(MESSAGES);
    let (view, seen) = watch::channel(View::default());
    let spec = pod.spec.as_ref();
    let node = spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let worker = Worker {
        about: About::object(object.value(), &node),
        place: shared.place(&node),
        policy: Policy::parse(spec.and_then(|spec| spec.restart_policy.as_deref())),
        containers: containers(&pod, object.value()),
        key: object.key(),
        uid: object.value().uid().to_owned(),
        start_time: start_time(object.value()).unwrap_or_else(|| shared.store.now()),
        shared,
        node,
        object,
        pod,
        sandbox: None,
        reports_in,
        reports,
        inbox_in: inbox_in.clone(),
        inbox,
        view,
        address: None,
        exposed: None,
        volumes: None,
        failed: None,
        grace_end: None,
        initialized: false,
        wake: None,
        gone: false,
        silent: false,
    };
    let task = tokio::spawn(worker.run());
    (inbox_in, seen, task)
}

/// The containers of a pod as they stand before anything runs. What ran in an earlier life of the cluster has ended with it.
fn containers(pod: &Pod, object: &Value) -> Vec<Container> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let idle = idle(spec.init_containers.as_ref().is_some_and(|all| !all.is_empty()));
    let one = |spec: &Spec, role| {
        let mut container = Container::new(Arc::new(spec.clone()), role, idle);
        let list = if role == Role::Main { "containerStatuses" } else { "initContainerStatuses" };
        let all = object["status"][list].as_array().into_iter().flatten();
        if let Some(before) = all.into_iter().find(|one| one["name"] == spec.name.as_str()) {
            recall(&mut container, before);
        }
        container
    };
    let init = spec.init_containers.iter().flatten().map(|spec| {
        let is_sidecar = spec.restart_policy.as_deref() == Some("Always");
        one(spec, if is_sidecar { Role::Sidecar } else { Role::Init })
    });
    init.chain(spec.containers.iter().map(|spec| one(spec, Role::Main))).collect()
}

/// Takes over what an earlier agent wrote about a container.
fn recall(container: &mut Container, before: &Value) {
    container.restarts =
        before["restartCount"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
    let time = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    let ran = &before["state"]["running"];
    let ended = &before["state"]["terminated"];
    let how = if ran.is_object() {
        // Exit status and reason of the kubelet for a container that vanished with its node.
        let (code, reason) = (137, "ContainerStatusUnknown".to_owned());
        let message = "The container could not be located when the pod was terminated".to_owned();
        let started = time(&ran["startedAt"]);
        let id = before["containerID"].as_str().unwrap_or("").to_owned();
        let finished = Timestamp::now();
        Terminated { code, signal: None, reason, message, started, finished, id }
    } else if ended.is_object() {
        Terminated {
            code: ended["exitCode"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(255),
            signal: None,
            reason: ended["reason"].as_str().unwrap_or("Error").to_owned(),
            message: ended["message"].as_str().unwrap_or("").to_owned(),
            started: time(&ended["startedAt"]),
            finished: time(&ended["finishedAt"]).unwrap_or(Timestamp::UNIX_EPOCH),
            id: ended["containerID"].as_str().unwrap_or("").to_owned(),
        }
    } else {
        return;
    };
    container.begun = true;
    container.id.clone_from(&how.id);
    container.state = State::Terminated(how);
}

fn start_time(object: &Value) -> Option<Timestamp> {
    object["status"]["startTime"].as_str()?.parse().ok()
}

impl Worker {
    async fn run(mut self) {
        let phase = self.object.value()["status"]["phase"].as_str().unwrap_or("");
        if matches!(phase, "Succeeded" | "Failed") {
            self.await_gone().await;
            return;
        }
        while !self.gone {
            self.step().await;
            if self.gone || self.is_finished() {
                break;
            }
            self.hear().await;
        }
        self.end().await;
    }

    /// Waits for one thing to happen, takes it in and what has happened with it.
    async fn hear(&mut self) {
        let wake = self.wake.take();
        let sleep = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(message) = self.inbox.recv() => self.take_message(message).await,
            Some(report) = self.reports.recv() => self.take_report(report).await,
            () = sleep => {}
        }
        while let Ok(message) = self.inbox.try_recv() {
            self.take_message(message).await;
        }
        while let Ok(report) = self.reports.try_recv() {
            self.take_report(report).await;
        }
    }

    /// The next thing that time alone brings about is at this time at the latest.
    pub(super) fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Does what is to be done now, and says so.
    async fn step(&mut self) {
        let now = Instant::now();
        self.check_deadline();
        let facts: Vec<_> = self.containers.iter().map(Container::facts).collect();
        if self.is_ending() {
            for index in plan::stop(&facts) {
                self.stop(index).await;
            }
        } else {
            let plan = plan::plan(&facts, self.policy);
            self.initialized = plan.initialized;
            for index in plan.stop {
                self.stop(index).await;
            }
            let prepared = plan.start.is_empty() || self.prepare().await;
            for index in plan.start {
                match self.containers[index].not_before().filter(|until| *until > now) {
                    Some(until) => {
                        self.hold_back(index);
                        self.wake_at(until);
                    }
                    None if prepared => self.launch(index).await,
                    None => {}
                }
            }
        }
        self.enforce_stops(now).await;
        self.publish();
    }

    /// Whether the pod as a whole is to end.
    fn is_ending(&self) -> bool {
        self.failed.is_some() || self.object.value().is_terminating()
    }

    /// Addresses, supervisor and volumes. `false`: something is missing, and has been said.
    async fn prepare(&mut self) -> bool {
        if self.sandbox.is_none() {
            match self.make_sandbox() {
                Ok(sandbox) => self.sandbox = Some(sandbox),
                Err(error) => {
                    let message = format!("Failed to create pod sandbox: {error}");
                    self.say("", Level::Warning, "FailedCreatePodSandBox", &message);
                    self.wake_at(Instant::now() + RETRY);
                    return false;
                }
            }
        }
        if self.volumes.is_some() {
            return true;
        }
        match volumes::set_up(self).await {
            Ok(volumes) => {
                self.volumes = Some(volumes);
                true
            }
            Err(message) => {
                self.say("", Level::Warning, "FailedMount", &message);
                self.wake_at(Instant::now() + RETRY);
                false
            }
        }
    }

    fn make_sandbox(&mut self) -> std::io::Result<Sandbox> {
        if self.address.is_none() {
            let host_network = self.object.value()["spec"]["hostNetwork"] == true;
            let address = self.shared.net.allocate(host_network, &self.place.host_ip)?;
            self.place.bind = address.bind.to_string();
            self.address = Some(address);
        }
        std::fs::create_dir_all(self.root())?;
        std::fs::create_dir_all(self.log_dir())?;
        let sandbox =
            Sandbox::start(self.shared.config.supervisor.as_deref(), self.reports_in.clone())?;
        if let Some(address) = &self.address {
            self.exposed = Some(self.shared.net.expose(&self.object, address, &self.pod));
        }
        Ok(sandbox)
    }

    /// Everything of the pod that is not kept.
    pub(super) fn dir(&self) -> PathBuf {
        self.shared.config.state_dir.join("pods").join(&self.uid)
    }

    /// The working directory of its programs, unless they name one.
    pub(super) fn root(&self) -> PathBuf {
        self.dir().join("root")
    }

    pub(super) fn log_dir(&self) -> PathBuf {
        self.shared.log_dir(&self.key, &self.uid)
    }

    /// A container that ended waits for its next start.
    fn hold_back(&mut self, index: usize) {
        let container = &mut self.containers[index];
        let State::Terminated(how) = &container.state else { return };
        let how = how.clone();
        let name = container.spec.name.clone();
        let pod = format!("{}_{}({})", self.key.name, self.key.namespace, self.uid);
        let pause = container.pause.current;
        let message = format!("back-off {pause:?} restarting failed container={name} pod={pod}");
        container.last = Some(how);
        container.state = State::Waiting { reason: "CrashLoopBackOff".to_owned(), message };
        let path = container.path();
        let message = format!("Back-off restarting failed container {name} in pod {pod}");
        self.say(&path, Level::Warning, "BackOff", &message);
    }

    pub(super) fn say(&self, path: &str, level: Level, reason: &str, message: &str) {
        self.shared.events.say(&self.about, path, level, reason, message);
    }

    fn grace(&self) -> Duration {
        let metadata = &self.object.value()["metadata"]["deletionGracePeriodSeconds"];
        let spec = &self.object.value()["spec"]["terminationGracePeriodSeconds"];
        let seconds = metadata.as_u64().or_else(|| spec.as_u64()).unwrap_or(30);
        Duration::from_secs(seconds)
    }

    /// Begins to end a container: its hook first, then SIGTERM, after the grace period SIGKILL.
    async fn stop(&mut self, index: usize) {
        if self.containers[index].stopping.is_some() || !self.containers[index].is_running() {
            return;
        }
        let grace = self.grace();
        let ends = *self.grace_end.get_or_insert_with(|| Instant::now() + grace);
        let grace = if self.is_ending() { ends - Instant::now() } else { grace };
        let message = format!("Stopping container {}", self.containers[index].spec.name);
        self.stop_within(index, grace, &message).await;
    }

    /// Ends one container, of which a new run may follow.
    pub(super) async fn stop_one(&mut self, index: usize, message: &str) {
        self.stop_for(index, None, message).await;
    }

    /// The same, within so many seconds instead of the pod's own.
    pub(super) async fn stop_for(&mut self, index: usize, seconds: Option<i64>, message: &str) {
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let grace = seconds.map_or_else(|| self.grace(), Duration::from_secs);
        if self.containers[index].stopping.is_none() && self.containers[index].is_running() {
            self.stop_within(index, grace, message).await;
        }
    }

    async fn stop_within(&mut self, index: usize, grace: Duration, message: &str) {
        let path = self.containers[index].path();
        self.say(&path, Level::Normal, "Killing", message);
        let deadline = Instant::now() + grace;
        let container = &mut self.containers[index];
        container.stopping = Some(Stopping { deadline, asked: false, killed: false });
        let lifecycle = container.spec.lifecycle.as_ref();
        let hook = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.clone());
        let task = container.task;
        match (hook, task) {
            (Some(hook), Some(task)) if !grace.is_zero() => {
                let call = self.hook_call(index);
                let sender = self.inbox_in.clone();
                let run = tokio::spawn(async move {
                    let run = tokio::time::timeout(grace, hooks::run(&hook, &call)).await;
                    let result = run.unwrap_or_else(|_| Err("it took too long".to_owned()));
                    let _pod_is_gone = sender.send(Message::PreStop { task, result }).await;
                });
                self.containers[index].helpers.push(run.abort_handle());
            }
            _ => self.ask_to_end(index).await,
        }
    }

    async fn ask_to_end(&mut self, index: usize) {
        let container = &mut self.containers[index];
        let Some(stopping) = &mut container.stopping else { return };
        if stopping.asked {
            return;
        }
        stopping.asked = true;
        if let (Some(task), Some(sandbox)) = (container.task, &self.sandbox) {
            sandbox.signal(task, Signal::SIGTERM, false).await;
        }
    }

    /// Kills what had its time.
    async fn enforce_stops(&mut self, now: Instant) {
        // A shorter grace period may have been asked for since.
        let ends = self.grace_end;
        let mut next: Option<Instant> = None;
        for container in &mut self.containers {
            let Some(stopping) = &mut container.stopping else { continue };
            let deadline = ends.map_or(stopping.deadline, |ends| ends.min(stopping.deadline));
            if stopping.killed {
                continue;
            }
            if deadline > now {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
                continue;
            }
            if let (Some(task), Some(sandbox)) = (container.task, &self.sandbox) {
                sandbox.signal(task, Signal::SIGKILL, true).await;
                stopping.killed = true;
            }
        }
        if let Some(next) = next {
            self.wake_at(next);
        }
    }

    async fn take_message(&mut self, message: Message) {
        match message {
            Message::Changed(object) => self.change(object).await,
            Message::Gone => self.gone = true,
            Message::NodeDied => (self.gone, self.silent) = (true, true),
            Message::Refresh => volumes::refresh(self).await,
            Message::Probed { task, kind, outcome } => self.take_probe(task, kind, outcome).await,
            Message::PostStart { task, result } => self.take_post_start(task, result).await,
            Message::PreStop { task, result } => {
                let Some(index) = self.index_of(task) else { return };
                if let Err(error) = result {
                    let path = self.containers[index].path();
                    self.say(
                        &path,
                        Level::Warning,
                        "FailedPreStopHook",
                        &format!("PreStopHook failed: {error}"),
                    );
                }
                if let Some(stopping) = &mut self.containers[index].stopping {
                    stopping.deadline = stopping.deadline.max(Instant::now() + LEAST_GRACE);
                    let deadline = stopping.deadline;
                    self.grace_end = self.grace_end.map(|end| end.max(deadline));
                }
                self.ask_to_end(index).await;
            }
            Message::Kill { container, done } => {
                let killed = self.kill(container.as_deref()).await;
                let _nobody_waits = done.send(killed);
            }
            Message::Freeze { frozen, done } => {
                if let Some(sandbox) = &self.sandbox {
                    sandbox.freeze(frozen).await;
                }
                let _nobody_waits = done.send(());
            }
            Message::OutOfMemory { container } => {
                let index = self.containers.iter().position(|one| one.spec.name == container);
                let Some(index) = index.filter(|index| self.containers[*index].is_up()) else {
                    return;
                };
                self.containers[index].verdict = Some("OOMKilled");
                self.kill(Some(&container)).await;
            }
        }
    }

    async fn kill(&self, name: Option<&str>) -> usize {
        let Some(sandbox) = &self.sandbox else { return 0 };
        let mut killed = 0;
        for container in &self.containers {
            if let Some(task) = container.task
                && name.is_none_or(|name| name == container.spec.name)
            {
                sandbox.signal(task, Signal::SIGKILL, true).await;
                killed += 1;
            }
        }
        killed
    }

    async fn change(&mut self, object: ObjectRef) {
        let was_ending = self.is_ending();
        self.object = object;
        if let Ok(pod) = self.object.typed::<Pod>() {
            self.pod = pod;
        }
        self.about = About::object(self.object.value(), &self.node);
        if self.is_ending() && was_ending && self.object.value().is_terminating() {
            // Deleted again, with less time.
            let sooner = Instant::now() + self.grace();
            if self.grace_end.is_some_and(|end| sooner < end) {
                self.grace_end = Some(sooner);
            }
        }
        volumes::refresh(self).await;
    }

    fn check_deadline(&mut self) {
        let Some(seconds) = self.pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds)
        else {
            return;
        };
        if self.is_ending() {
            return;
        }
        let age = self.shared.store.now().duration_since(self.start_time);
        let left = jiff::SignedDuration::from_secs(seconds) - age;
        match Duration::try_from(left).ok().filter(|left| !left.is_zero()) {
            Some(left) => self.wake_at(Instant::now() + left),
            None => {
                let message = "Pod was active on the node longer than the specified deadline";
                self.say("", Level::Normal, "DeadlineExceeded", message);
                self.failed = Some(("DeadlineExceeded", message.to_owned()));
            }
        }
    }

    pub(super) fn index_of(&self, task: TaskId) -> Option<usize> {
        self.containers.iter().position(|one| one.task == Some(task))
    }

    async fn take_report(&mut self, report: Report) {
        match report {
            Report::Started { id, pid } => self.begin(id, pid).await,
            Report::NotStarted { id, reason } => {
                let Some(index) = self.index_of(id) else { return };
                let path = self.containers[index].path();
                self.say(&path, Level::Warning, "Failed", &format!("Error: {reason}"));
                // As containerd reports it.
                let code = 128;
                self.ended(index, Ending { code, signal: None }, "StartError", &reason);
            }
            Report::Ended { id, ending } => {
                let Some(index) = self.index_of(id) else { return };
                let reason = if ending.code == 0 { "Completed" } else { "Error" };
                let reason = self.containers[index].verdict.unwrap_or(reason);
                self.ended(index, ending, reason, "");
            }
            Report::Gone => {
                // Somebody killed the supervisor; the kernel killed the rest.
                self.sandbox = None;
                self.exposed = None;
                if !self.gone {
                    let message = "Pod sandbox changed, it will be killed and re-created.";
                    self.say("", Level::Normal, "SandboxChanged", message);
                }
                for index in 0..self.containers.len() {
                    if self.containers[index].is_running() {
                        let ending = Ending { code: 137, signal: Some(9) };
                        self.ended(index, ending, "Error", "the pod's supervisor was killed");
                    }
                }
            }
        }
    }

    fn ended(&mut self, index: usize, ending: Ending, reason: &str, message: &str) {
        let finished = self.shared.store.now();
        let message = if message.is_empty() { self.last_words(index) } else { message.to_owned() };
        let container = &mut self.containers[index];
        let started = match container.state {
            State::Running { since, .. } => since,
            _ => None,
        };
        let how = Terminated {
            code: ending.code,
            signal: ending.signal,
            reason: reason.to_owned(),
            message,
            started,
            finished,
            id: container.id.clone(),
        };
        container.end(how, &self.shared.config.timing);
    }

    fn is_finished(&self) -> bool {
        if self.containers.iter().any(Container::is_running) {
            return false;
        }
        let facts: Vec<_> = self.containers.iter().map(Container::facts).collect();
        self.is_ending() || plan::plan(&facts, self.policy).over
    }

    /// Writes the status if it says something new, and shows others how things stand.
    pub(super) fn publish(&mut self) {
        self.show();
        if self.silent || self.gone {
            return;
        }
        let address = self.address.as_ref().map(|one| one.advertised.to_string());
        let frame = Frame {
            generation: self.object.value().generation(),
            host_ip: &self.place.host_ip,
            pod_ip: address.as_deref().unwrap_or(""),
            start_time: seconds(self.start_time),
            failed: self.failed.as_ref().map(|(reason, message)| (*reason, message.as_str())),
            initialized: self.initialized,
            prepared: self.sandbox.is_some() && self.volumes.is_some(),
            now: seconds(self.shared.store.now()),
        };
        let uid = self.uid.clone();
        let (containers, policy) = (&self.containers, self.policy);
        let patch = &mut |old: &Value| {
            let mut new = old.clone();
            if old.uid() == uid {
                new["status"] = status::status(old, containers, policy, &frame);
            }
            Ok(new)
        };
        let options = WriteOptions::by("kubelet").of(Part::Status);
        match self.shared.store.update(&self.shared.pods, &self.key, &options, patch) {
            Ok(object) => self.object = object,
            Err(refused) if refused.code == 404 => self.gone = true,
            Err(refused) => tracing::warn!(pod = %self.key.name, %refused, "status was refused"),
        }
    }

    /// Ends everything, and the object if it waits for that.
    async fn end(&mut self) {
        for container in &mut self.containers {
            container.stop_helpers();
        }
        self.exposed = None;
        if let Some(sandbox) = self.sandbox.take() {
            // Logs of what has run stay until the object goes.
            self.view.send_modify(|view| {
                view.sandbox = None;
                view.address = None;
                view.containers.values_mut().for_each(|container| container.pid = None);
            });
            sandbox.close();
            // The supervisor kills everything below it, and is buried.
            while let Some(report) = self.reports.recv().await {
                if matches!(report, Report::Gone) {
                    break;
                }
            }
        }
        self.address = None;
        self.publish();
        self.await_gone().await;
    }

    /// Nothing runs any more: what is left is an object that somebody will delete.
    async fn await_gone(&mut self) {
        while !self.gone {
            if self.object.value().is_terminating() {
                let options = DeleteOptions {
                    grace_period_seconds: Some(0),
                    preconditions: Preconditions {
                        uid: Some(self.uid.clone()),
                        resource_version: None,
                    },
                    ..DeleteOptions::default()
                };
                if let Err(refused) =
                    self.shared.store.delete(&self.shared.pods, &self.key, &options)
                    && refused.code != 404
                    && refused.code != 409
                {
                    tracing::warn!(pod = %self.key.name, %refused, "the deletion was refused");
                }
            }
            match self.inbox.recv().await {
                Some(Message::Gone | Message::NodeDied) | None => break,
                Some(Message::Changed(object)) => self.object = object,
                Some(Message::Kill { done, .. }) => _ = done.send(0),
                Some(_) => {}
            }
        }
        self.clear();
    }

    /// Removes what was kept for the pod alone.
    fn clear(&self) {
        let _nothing_was_kept = std::fs::remove_dir_all(self.dir());
        let _nothing_was_printed = std::fs::remove_dir_all(self.log_dir());
    }
}
