//! The thread that sends, and the way to it.
//!
//! Requests never wait for it. What does not fit into its queue is dropped and counted; so is what a collector does not
//! take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use protocol::exposition::{MetricFamily, MetricKind};

use crate::{RandomIds, Span, body};

/// What has ended and may wait to be exported.
const QUEUE: usize = 2048;
/// Of that, in one export.
const BATCH: usize = 256;
/// How long one waits for company.
const LINGER: Duration = Duration::from_millis(500);
/// What a collector gets to answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// What the last export gets when the server ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

enum Message<T> {
    Finished(Box<T>),
    /// Export what there is, then say so.
    Flush(SyncSender<()>),
}

/// The way to the exporter.
#[derive(Debug)]
pub struct Exporter<T> {
    queue: SyncSender<Message<T>>,
    dropped: Arc<AtomicU64>,
    exported: Arc<AtomicU64>,
}

// === impl Exporter ===

impl<T: Send + 'static> Exporter<T> {
    /// Starts the exporter's thread. `endpoint` is the collector's full address, `/v1/traces` included; `spans` makes spans of what was
    /// handed over.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub fn start(
        endpoint: &str,
        service: &str,
        spans: impl Fn(&T, &mut RandomIds) -> Vec<Span> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, inbox) = sync_channel(QUEUE);
        let (dropped, exported) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let sending = Sending {
            endpoint: endpoint.to_owned(),
            service: service.to_owned(),
            inbox,
            dropped: Arc::clone(&dropped),
            exported: Arc::clone(&exported),
            ids: RandomIds::default(),
            spans,
        };
        let thread = std::thread::Builder::new().name("otlp".to_owned());
        thread.spawn(move || sending.run())?;
        Ok(Self { queue, dropped, exported })
    }

    /// Hands something over that has ended.
    pub fn finished(&self, finished: T) {
        if self.queue.try_send(Message::Finished(Box::new(finished))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all that was handed over is exported, but not for ever.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_TIMEOUT);
        }
    }

    /// What became of it, for a metrics page.
    #[must_use]
    pub fn families(&self) -> Vec<MetricFamily> {
        let counter = |name: &str, help: &str, value: &AtomicU64| {
            let (name, help, kind) = (name.to_owned(), help.to_owned(), MetricKind::Counter);
            let mut family = MetricFamily { name, help, kind, samples: Vec::new() };
            family.add(Vec::new(), value.load(Ordering::Relaxed) as f64);
            family
        };
        vec![
            counter(
                "otlp_exported_requests_total",
                "Requests whose spans a collector took.",
                &self.exported,
            ),
            counter(
                "otlp_dropped_requests_total",
                "Requests whose spans were dropped: the queue was full, or the collector refused them.",
                &self.dropped,
            ),
        ]
    }
}

struct Sending<T, F> {
    endpoint: String,
    service: String,
    inbox: Receiver<Message<T>>,
    dropped: Arc<AtomicU64>,
    exported: Arc<AtomicU64>,
    ids: RandomIds,
    spans: F,
}

impl<T, F: Fn(&T, &mut RandomIds) -> Vec<Span>> Sending<T, F> {
    /// Until nobody can hand anything over any more.
    fn run(mut self) {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(EXPORT_TIMEOUT)).build().into();
        while let Ok(first) = self.inbox.recv() {
            let (batch, flushed) = self.gather(first);
            if !batch.is_empty() {
                self.export(&agent, &batch);
            }
            if let Some(done) = flushed {
                let _ = done.try_send(());
            }
        }
    }

    /// A batch: full, lingered for long enough, or wanted now.
    fn gather(&self, first: Message<T>) -> (Vec<T>, Option<SyncSender<()>>) {
        let until = Instant::now() + LINGER;
        let (mut batch, mut next) = (Vec::new(), Ok(first));
        loop {
            match next {
                Ok(Message::Finished(finished)) => batch.push(*finished),
                Ok(Message::Flush(done)) => return (batch, Some(done)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return (batch, None);
                }
            }
            if batch.len() == BATCH {
                return (batch, None);
            }
            next = self.inbox.recv_timeout(until.saturating_duration_since(Instant::now()));
        }
    }

    fn export(&mut self, agent: &ureq::Agent, batch: &[T]) {
        let spans: Vec<Span> =
            batch.iter().flat_map(|finished| (self.spans)(finished, &mut self.ids)).collect();
        let body = body(&self.service, &spans);
        let sent = agent.post(&self.endpoint).send_json(&body);
        let count = batch.len() as u64;
        match sent {
            Ok(_) => self.exported.fetch_add(count, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(%error, endpoint = self.endpoint, count, "spans were not taken");
                self.dropped.fetch_add(count, Ordering::Relaxed)
            }
        };
    }
}
