//! What goes wrong, and the one place that gives it an HTTP status.

use std::net::SocketAddr;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::openai::{ErrorBody, ErrorDetail, RequestError};
use serving::TextError;

use crate::LoadError;

/// A server that could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}; `--port 0` takes any free port")]
    Bind {
        /// Where it tried to listen.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The model cannot be had.
    #[error("the model did not load: {0}")]
    Load(#[source] LoadError),
    /// The system refused a thread, a signal handler or the listener.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Logs cannot be set up as asked.
    #[error("--log-level: {0}")]
    LogLevel(String),
}

/// A request that gets an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// For what it says.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// For text that the tokenizer or the template refuses.
    #[error(transparent)]
    Text(#[from] TextError),
    /// For how many wait already.
    #[error("The server is busy: {limit} requests wait already. Try again later.")]
    QueueFull { limit: usize },
    /// For the time it came.
    #[error("The server is shutting down and takes no new requests.")]
    Draining,
    /// The model is not there yet.
    #[error("The model is still loading.")]
    Loading,
    /// The drain took too long.
    #[error("The server shut down before the request was finished.")]
    CutOff,
    /// The engine is no more.
    #[error("The engine has failed: {0}")]
    EngineDead(String),
    /// The engine gave up on this request.
    #[error("The engine failed while it worked on this request.")]
    EngineFailed,
    /// The recorder panicked.
    #[error("The metrics recorder has failed: {0}")]
    RecorderBroken(String),
    /// A bug.
    #[error("Internal server error.")]
    Internal,
}

impl ApiError {
    /// The only mapping from errors to HTTP statuses.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Request(RequestError::UnknownModel { .. }) => StatusCode::NOT_FOUND,
            Self::Request(RequestError::BodyTooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Request(_) | Self::Text(_) => StatusCode::BAD_REQUEST,
            Self::QueueFull { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Draining | Self::Loading | Self::CutOff | Self::EngineDead(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::EngineFailed | Self::RecorderBroken(_) | Self::Internal => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// The error body's `type`.
    fn kind(&self) -> &'static str {
        match self {
            Self::Request(error) => error.kind(),
            Self::Text(_) => "BadRequestError",
            Self::QueueFull { .. } => "RateLimitError",
            Self::Draining | Self::Loading | Self::CutOff | Self::EngineDead(_) => {
                "ServiceUnavailableError"
            }
            Self::EngineFailed | Self::RecorderBroken(_) | Self::Internal => "InternalServerError",
        }
    }

    /// Seconds after which another try may succeed.
    fn retry_after_s(&self) -> Option<u16> {
        match self {
            Self::QueueFull { .. } | Self::Loading => Some(1),
            Self::Draining | Self::CutOff => Some(5),
            _ => None,
        }
    }

    /// Says when to come back, where that may help.
    pub(crate) fn add_retry_after(&self, response: &mut Response) {
        if let Some(seconds) = self.retry_after_s() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }

    pub(crate) fn body(&self) -> ErrorBody {
        let param = match self {
            Self::Request(error) => error.param(),
            _ => None,
        };
        ErrorBody {
            error: ErrorDetail {
                message: self.to_string(),
                kind: self.kind().to_owned(),
                param,
                code: self.status().as_u16(),
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        tracing::debug!(%status, kind = self.kind(), "refused");
        let mut response = (status, Json(self.body())).into_response();
        self.add_retry_after(&mut response);
        response
    }
}
