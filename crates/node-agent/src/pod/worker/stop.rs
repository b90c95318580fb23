//! How containers are ended: hook, SIGTERM, grace period, SIGKILL.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::Worker;
use super::said::Message;
use crate::events::Level;
use crate::pod::container::Stopping;
use crate::pod::hooks;

impl Worker {
    pub(super) fn grace(&self) -> Duration {
        let metadata = &self.object.value()["metadata"]["deletionGracePeriodSeconds"];
        let spec = &self.object.value()["spec"]["terminationGracePeriodSeconds"];
        let seconds = metadata.as_u64().or_else(|| spec.as_u64()).unwrap_or(30);
        Duration::from_secs(seconds)
    }

    /// Begins to end a container: its hook first, then SIGTERM, after the grace period SIGKILL.
    pub(super) async fn stop(&mut self, index: usize) {
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
    pub(in crate::pod) async fn stop_one(&mut self, index: usize, message: &str) {
        self.stop_for(index, None, message).await;
    }

    /// The same, within so many seconds instead of the pod's own.
    pub(in crate::pod) async fn stop_for(
        &mut self,
        index: usize,
        seconds: Option<i64>,
        message: &str,
    ) {
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

    pub(super) async fn ask_to_end(&mut self, index: usize) {
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
    pub(super) async fn enforce_stops(&mut self, now: Instant) {
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

    pub(super) async fn kill(&self, name: Option<&str>) -> usize {
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
}
