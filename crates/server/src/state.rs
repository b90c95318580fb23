//! What all requests share.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use protocol::openai::RequestError;
use serving::TextCodec;
use tokio::sync::watch;

use crate::admission::{Admission, Ticket};
use crate::args::Config;
use crate::clock::Clock;
use crate::engine_thread::Command;
use crate::error::ApiError;
use crate::telemetry::Telemetry;

/// Whether there is an engine.
#[derive(Clone)]
pub(crate) enum Phase {
    Loading,
    Ready(Arc<Ready>),
    Dead(String),
}

/// What a request needs of the backend besides the engine.
pub(crate) struct Ready {
    pub(crate) codec: Arc<dyn TextCodec>,
    pub(crate) max_model_len: usize,
    /// When loading was done.
    pub(crate) at: Duration,
}

/// How far a shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// New requests are refused, running ones finish.
    Draining,
    /// Running ones are cut off.
    Aborting,
}

/// One server.
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) created: u64,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) stage: watch::Sender<Stage>,
    pub(crate) in_flight: watch::Sender<usize>,
    pub(crate) admission: Admission,
    pub(crate) inbox: SyncSender<Command>,
    pub(crate) telemetry: Arc<Telemetry>,
}

/// Counts a request as running until it is dropped.
pub(crate) struct InFlight(watch::Sender<usize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Server {
    /// Lets a request in: it may wait, and a drain waits for it.
    pub(crate) fn admit(&self) -> Result<(Ticket, InFlight), ApiError> {
        // Counted before the stage is read: a drain that starts now sees this request, or this request it.
        self.in_flight.send_modify(|count| *count += 1);
        let in_flight = InFlight(self.in_flight.clone());
        if *self.stage.borrow() != Stage::Serving {
            return Err(ApiError::Draining);
        }
        let limit = self.admission.limit();
        let ticket = self.admission.enter().ok_or_else(|| {
            self.telemetry.own.rejected();
            ApiError::QueueFull { limit }
        })?;
        Ok((ticket, in_flight))
    }

    /// The backend, as soon as it is there.
    pub(crate) async fn ready(&self) -> Result<Arc<Ready>, ApiError> {
        let mut phase = self.phase.clone();
        let mut stage = self.stage.subscribe();
        let known = tokio::select! {
            known = phase.wait_for(|phase| !matches!(phase, Phase::Loading)) => {
                known.map_err(|_| ApiError::CutOff)?.clone()
            }
            _ = stage.wait_for(|stage| *stage == Stage::Aborting) => return Err(ApiError::CutOff),
        };
        match known {
            Phase::Ready(ready) => Ok(ready),
            Phase::Dead(reason) => Err(ApiError::EngineDead(reason)),
            Phase::Loading => Err(ApiError::Loading),
        }
    }

    /// Whether new requests are served now.
    pub(crate) fn health(&self) -> Result<Arc<Ready>, ApiError> {
        if *self.stage.borrow() != Stage::Serving {
            return Err(ApiError::Draining);
        }
        match &*self.phase.borrow() {
            Phase::Ready(ready) => Ok(Arc::clone(ready)),
            Phase::Loading => Err(ApiError::Loading),
            Phase::Dead(reason) => Err(ApiError::EngineDead(reason.clone())),
        }
    }

    /// Whether a request names this server's model, or none.
    pub(crate) fn check_model(&self, asked: Option<&str>) -> Result<(), ApiError> {
        let served = &self.config.served_model_name;
        match asked {
            Some(asked) if asked != served => {
                let (asked, served) = (asked.chars().take(100).collect(), served.clone());
                Err(RequestError::UnknownModel { asked, served }.into())
            }
            _ => Ok(()),
        }
    }
}
