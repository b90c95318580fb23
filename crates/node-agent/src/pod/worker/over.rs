//! How a pod is over: everything ends, its object goes, and what was kept for it alone.

use apimachinery::Meta;
use object_store::{DeleteOptions, Preconditions};

use super::Worker;
use super::said::Message;
use crate::supervisor::order::Report;

impl Worker {
    /// Ends everything, and the object if it waits for that.
    pub(super) async fn end(&mut self) {
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
    pub(super) async fn await_gone(&mut self) {
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
