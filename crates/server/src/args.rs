//! What the operator sets.

use std::net::IpAddr;
use std::time::Duration;

/// Flags of a serving program. vLLM's names where vLLM has the flag.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on; 0.0.0.0 for every interface
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 for any free one
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Name of the model in requests, responses and metrics
    #[arg(long)]
    pub served_model_name: Option<String>,
    /// Requests that may wait for a place; more get 429
    #[arg(long, default_value_t = 256, value_parser = positive)]
    pub max_queue: usize,
    /// Largest request body, in bytes; larger ones get 413
    #[arg(long, default_value_t = 1 << 20, value_parser = positive)]
    pub max_body_bytes: usize,
    /// Seconds that running requests get to finish after SIGTERM
    #[arg(long, default_value_t = 30)]
    pub drain_timeout_s: u64,
    /// Connections open at once; more wait to be accepted
    #[arg(long, default_value_t = 4096, value_parser = positive)]
    pub max_connections: usize,
    /// Seconds from a connection's first byte, or its last answer, to the end of a request's header
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub header_timeout_s: u64,
    /// Where to send OpenTelemetry traces: OTLP over HTTP as JSON, e.g. http://collector:4318/v1/traces
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_parser = endpoint)]
    pub otlp_traces_endpoint: Option<String>,
    /// Add text-generation-inference's metrics to /metrics
    #[arg(long)]
    pub tgi_metrics: bool,
    /// Serve the raw events of recent requests on GET /debug/timelines
    #[arg(long)]
    pub debug_timelines: bool,
    /// Exit when stdin closes, so that no engine outlives whoever started it
    #[arg(long)]
    pub exit_with_parent: bool,
    /// What to log on stderr: error, warn, info, debug, trace, or tracing's directives
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log_level: String,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// A collector in the cluster: plain HTTP.
fn endpoint(url: &str) -> Result<String, String> {
    match url.strip_prefix("http://") {
        Some(rest) if !rest.is_empty() => Ok(url.to_owned()),
        _ => Err("must start with http:// (TLS is not supported)".to_owned()),
    }
}

/// OpenTelemetry's variable for all signals: a base, to which the path is added.
fn endpoint_of_all_signals() -> Option<String> {
    let base = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok()?;
    match endpoint(&base) {
        Ok(base) => Some(format!("{}/v1/traces", base.trim_end_matches('/'))),
        Err(reason) => {
            tracing::warn!(reason, "OTEL_EXPORTER_OTLP_ENDPOINT is ignored");
            None
        }
    }
}

impl ServeArgs {
    /// The model's name where `--served-model-name` gives none.
    pub const DEFAULT_MODEL_NAME: &'static str = "model";

    /// The model's name in requests, responses and metrics.
    #[must_use]
    pub fn served_model_name(&self) -> &str {
        self.served_model_name.as_deref().unwrap_or(Self::DEFAULT_MODEL_NAME)
    }

    /// The part of these that [`serve`](crate::serve) needs.
    #[must_use]
    pub fn config(&self) -> Config {
        Config {
            served_model_name: self.served_model_name().to_owned(),
            max_queue: self.max_queue,
            max_body_bytes: self.max_body_bytes,
            drain_timeout: Duration::from_secs(self.drain_timeout_s),
            max_connections: self.max_connections,
            header_timeout: Duration::from_secs(self.header_timeout_s),
            otlp_traces_endpoint: self
                .otlp_traces_endpoint
                .clone()
                .or_else(endpoint_of_all_signals),
            tgi_metrics: self.tgi_metrics,
            debug_timelines: self.debug_timelines,
        }
    }
}

/// How a server behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Name of the model in requests and responses.
    pub served_model_name: String,
    /// Requests that may wait for a place, the model's loading included. At least 1.
    pub max_queue: usize,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// How long a drain waits for running requests.
    pub drain_timeout: Duration,
    /// Connections open at once; more wait to be accepted.
    pub max_connections: usize,
    /// From a connection's first byte, or its last answer, to the end of a request's header. A body gets as long again.
    pub header_timeout: Duration,
    /// Where to send OpenTelemetry traces; `None` for nowhere.
    pub otlp_traces_endpoint: Option<String>,
    /// Whether `/metrics` has text-generation-inference's metrics as well.
    pub tgi_metrics: bool,
    /// Whether to keep the events of recent requests and serve them on `GET /debug/timelines`.
    pub debug_timelines: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            served_model_name: ServeArgs::DEFAULT_MODEL_NAME.to_owned(),
            max_queue: 256,
            max_body_bytes: 1 << 20,
            drain_timeout: Duration::from_secs(30),
            max_connections: 4096,
            header_timeout: Duration::from_secs(30),
            otlp_traces_endpoint: None,
            tgi_metrics: false,
            debug_timelines: false,
        }
    }
}
