//! What a pod's task does about what it hears: messages of the agent, reports of the supervisor.

use std::time::Duration;

use apimachinery::Meta;
use k8s_openapi::api::core::v1::Pod;
use object_store::ObjectRef;
use tokio::time::Instant;

use super::Worker;
use super::said::Message;
use crate::events::{About, Level};
use crate::pod::container::{State, Terminated};
use crate::pod::volumes;
use crate::supervisor::order::{Ending, Report};

/// What a container is given to end after its hook has used up the grace period (kubelet: 2 s).
const LEAST_GRACE: Duration = Duration::from_secs(2);

impl Worker {
    pub(super) async fn take_message(&mut self, message: Message) {
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

    pub(super) async fn take_report(&mut self, report: Report) {
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
}
