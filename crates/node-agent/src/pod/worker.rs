//! A pod's own task: hears what changes, does what the plan says, writes the status.

mod hear;
mod over;
mod recall;
mod said;
mod stop;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::{Key, Meta};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use object_store::{ObjectRef, Part, WriteOptions};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::container::{Container, State};
use super::fields::Place;
use super::plan::{self, Policy};
use super::status::{self, Frame};
use super::volumes;
use crate::agent::Shared;
use crate::events::{About, Level, seconds};
use crate::net::{Exposed, PodAddress};
use crate::sandbox::Sandbox;
use crate::supervisor::order::{Report, TaskId};
use recall::{containers, start_time};
pub(crate) use said::{ContainerView, Message, View};

/// Messages on their way to one pod.
pub(crate) const MESSAGES: usize = 256;
/// How long a pod that waits for a volume or a variable waits until it looks again by itself.
const RETRY: Duration = Duration::from_secs(2);

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
}
