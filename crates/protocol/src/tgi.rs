//! The API of Hugging Face's text-generation-inference: `/generate`, `/generate_stream`, `/info`, and metric names.
//!
//! Source: its OpenAPI description, <https://huggingface.github.io/text-generation-inference/>, version 3.

use serde::{Deserialize, Serialize};

use crate::exposition::MetricKind;
use crate::vllm::Metric;

/// The most tokens where a request says nothing.
pub const DEFAULT_MAX_NEW_TOKENS: u32 = 100;

/// TGI's default for `--max-stop-sequences`.
pub const MAX_STOP_SEQUENCES: usize = 4;

/// TGI's default for `--max-top-n-tokens`.
pub const MAX_TOP_N_TOKENS: u32 = 5;

/// What to continue, and how.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct GenerateRequest {
    /// The prompt.
    pub inputs: String,
    /// How to go on.
    #[serde(default)]
    pub parameters: Parameters,
}

/// How to generate. Fields that change nothing here are left out: unknown fields are ignored.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct Parameters {
    pub best_of: Option<u32>,
    pub temperature: Option<f64>,
    pub repetition_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub top_k: Option<i64>,
    pub top_p: Option<f64>,
    pub typical_p: Option<f64>,
    pub do_sample: bool,
    pub max_new_tokens: Option<u32>,
    pub return_full_text: Option<bool>,
    pub stop: Vec<String>,
    pub truncate: Option<usize>,
    pub watermark: bool,
    pub details: bool,
    pub decoder_input_details: bool,
    pub seed: Option<u64>,
    pub top_n_tokens: Option<u32>,
    pub grammar: Option<serde_json::Value>,
    pub adapter_id: Option<String>,
}

/// A request that TGI would not take, or this server cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TgiError {
    /// The body is no request.
    #[error("Failed to deserialize the JSON body into the target type: {0}")]
    Body(String),
    /// A value is out of its range.
    #[error("Input validation error: {0}")]
    Validation(String),
}

/// What an error's body says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// For people.
    pub error: String,
    /// For programs: `validation`, `overloaded`, `generation`, `incomplete_generation`.
    pub error_type: String,
}

impl GenerateRequest {
    /// Reads a body. Never panics, whatever it holds.
    ///
    /// # Errors
    /// [`TgiError`] for anything but a request with values in range.
    pub fn parse(body: &[u8]) -> Result<Self, TgiError> {
        let request: Self =
            serde_json::from_slice(body).map_err(|error| TgiError::Body(error.to_string()))?;
        request.parameters.check()?;
        if request.inputs.is_empty() {
            return Err(TgiError::Validation("`inputs` cannot be empty".to_owned()));
        }
        Ok(request)
    }
}

impl Parameters {
    /// Whether tokens are drawn instead of taken by likelihood.
    #[must_use]
    pub fn samples(&self) -> bool {
        let given = [self.temperature, self.top_p, self.typical_p];
        self.do_sample || self.top_k.is_some() || given.iter().any(Option::is_some)
    }

    /// The most tokens of an answer.
    #[must_use]
    pub fn max_new_tokens(&self) -> u32 {
        self.max_new_tokens.unwrap_or(DEFAULT_MAX_NEW_TOKENS)
    }

    fn check(&self) -> Result<(), TgiError> {
        let wrong = |reason: &str| Err(TgiError::Validation(reason.to_owned()));
        // Written so that what is no number is out of range.
        let positive = |value: Option<f64>| value.is_none_or(|value| value > 0.0);
        let share = |value: Option<f64>| value.is_none_or(|value| value > 0.0 && value < 1.0);
        if self.best_of.is_some_and(|best_of| best_of != 1) {
            return wrong("`best_of` other than 1 is not supported by this server");
        }
        if !positive(self.temperature) {
            return wrong("`temperature` must be strictly positive");
        }
        if !positive(self.repetition_penalty) {
            return wrong("`repetition_penalty` must be strictly positive");
        }
        if self.frequency_penalty.is_some_and(|value| !(-2.0..=2.0).contains(&value)) {
            return wrong("`frequency_penalty` must be >= -2.0 and <= 2.0");
        }
        if !share(self.top_p) {
            return wrong("`top_p` must be > 0.0 and < 1.0");
        }
        if !share(self.typical_p) {
            return wrong("`typical_p` must be > 0.0 and < 1.0");
        }
        if self.top_k.is_some_and(|k| k <= 0) {
            return wrong("`top_k` must be strictly positive");
        }
        if self.max_new_tokens == Some(0) {
            return wrong("`max_new_tokens` must be strictly positive");
        }
        if self.stop.len() > MAX_STOP_SEQUENCES {
            return wrong("`stop` supports up to 4 stop sequences");
        }
        if self.stop.iter().any(String::is_empty) {
            return wrong("`stop` cannot hold an empty sequence");
        }
        if self.top_n_tokens.is_some_and(|n| n > MAX_TOP_N_TOKENS) {
            return wrong("`top_n_tokens` must be <= 5");
        }
        let unsupported = [
            ("typical_p", self.typical_p.is_some()),
            ("watermark", self.watermark),
            ("grammar", self.grammar.is_some()),
            ("adapter_id", self.adapter_id.is_some()),
        ];
        match unsupported.iter().find(|(_, used)| *used) {
            Some((name, _)) => wrong(&format!("`{name}` is not supported by this server")),
            None => Ok(()),
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GenerateResponse {
    /// The text.
    pub generated_text: String,
    /// More about it, where asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// More about an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct Details {
    pub finish_reason: &'static str,
    pub generated_tokens: usize,
    pub seed: Option<u64>,
    pub prefill: Vec<PrefillToken>,
    pub tokens: Vec<Token>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top_tokens: Vec<Vec<Token>>,
}

/// A token of the prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct PrefillToken {
    pub id: u32,
    pub text: String,
    /// `None` for the first.
    pub logprob: Option<f64>,
}

/// A token of the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct Token {
    pub id: u32,
    pub text: String,
    pub logprob: f64,
    pub special: bool,
}

/// One event of a stream: one token.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct StreamResponse {
    pub index: usize,
    pub token: Token,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top_tokens: Vec<Token>,
    /// The whole text, in the last event.
    pub generated_text: Option<String>,
    /// In the last event.
    pub details: Option<StreamDetails>,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct StreamDetails {
    pub finish_reason: &'static str,
    pub generated_tokens: usize,
    pub seed: Option<u64>,
    pub input_length: usize,
}

/// `GET /info`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct Info {
    pub model_id: String,
    pub model_sha: Option<String>,
    pub model_pipeline_tag: Option<String>,
    pub max_concurrent_requests: usize,
    pub max_best_of: usize,
    pub max_stop_sequences: usize,
    pub max_input_tokens: usize,
    pub max_total_tokens: usize,
    pub validation_workers: usize,
    pub max_client_batch_size: usize,
    pub router: &'static str,
    pub version: &'static str,
    pub sha: Option<&'static str>,
    pub docker_label: Option<&'static str>,
}

/// Bounds of TGI's duration histograms: 0.1 ms, each 1.5 times the one before.
pub const DURATION_BUCKETS: &[f64] = &[
    0.0001,
    0.00015,
    0.000225,
    0.0003375,
    0.00050625,
    0.000759375,
    0.0011390625,
    0.00170859375,
    0.002562890625,
    0.0038443359375,
    0.00576650390625,
    0.008649755859375,
    0.0129746337890625,
    0.01946195068359375,
    0.029192926025390625,
    0.04378938903808594,
    0.06568408355712891,
    0.09852612533569336,
    0.14778918800354004,
    0.22168378200531006,
    0.3325256730079651,
    0.49878850951194763,
    0.7481827642679214,
    1.1222741464018822,
    1.6834112196028233,
    2.525116829404235,
    3.7876752441063525,
    5.681512866159529,
    8.522269299239293,
    12.78340394885894,
    19.17510592328841,
    28.762658884932616,
    43.14398832739892,
    64.71598249109839,
    97.07397373664758,
];

/// Bounds of TGI's length histograms, here with fewer of them.
pub const LENGTH_BUCKETS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0];

const fn metric(
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    buckets: &'static [f64],
) -> Metric {
    Metric { name, help, kind, buckets }
}

/// Requests that came.
pub const REQUEST_COUNT: Metric =
    metric("tgi_request_count", "Total number of requests", MetricKind::Counter, &[]);
/// Requests that ended as asked.
pub const REQUEST_SUCCESS: Metric =
    metric("tgi_request_success", "Number of successful requests", MetricKind::Counter, &[]);
/// Requests that did not, by `err`.
pub const REQUEST_FAILURE: Metric =
    metric("tgi_request_failure", "Number of failed requests", MetricKind::Counter, &[]);
/// Requests that wait.
pub const QUEUE_SIZE: Metric =
    metric("tgi_queue_size", "Current number of requests in the queue", MetricKind::Gauge, &[]);
/// Requests that run.
pub const BATCH_CURRENT_SIZE: Metric =
    metric("tgi_batch_current_size", "Current batch size", MetricKind::Gauge, &[]);
/// From arrival to the end.
pub const REQUEST_DURATION: Metric = metric(
    "tgi_request_duration",
    "End to end request duration, in seconds",
    MetricKind::Histogram,
    DURATION_BUCKETS,
);
/// From arrival to the queue.
pub const REQUEST_VALIDATION_DURATION: Metric = metric(
    "tgi_request_validation_duration",
    "Time to validate a request, in seconds",
    MetricKind::Histogram,
    DURATION_BUCKETS,
);
/// In the queue.
pub const REQUEST_QUEUE_DURATION: Metric = metric(
    "tgi_request_queue_duration",
    "Time spent in the queue, in seconds",
    MetricKind::Histogram,
    DURATION_BUCKETS,
);
/// In the batch.
pub const REQUEST_INFERENCE_DURATION: Metric = metric(
    "tgi_request_inference_duration",
    "Time to infer, in seconds",
    MetricKind::Histogram,
    DURATION_BUCKETS,
);
/// In the batch, by token.
pub const REQUEST_MEAN_TIME_PER_TOKEN: Metric = metric(
    "tgi_request_mean_time_per_token_duration",
    "Mean time per token of a request, in seconds",
    MetricKind::Histogram,
    DURATION_BUCKETS,
);
/// Tokens of the answer.
pub const REQUEST_GENERATED_TOKENS: Metric = metric(
    "tgi_request_generated_tokens",
    "Generated tokens per request",
    MetricKind::Histogram,
    LENGTH_BUCKETS,
);
/// Tokens of the prompt.
pub const REQUEST_INPUT_LENGTH: Metric = metric(
    "tgi_request_input_length",
    "Input token length per request",
    MetricKind::Histogram,
    LENGTH_BUCKETS,
);
/// The most tokens asked for.
pub const REQUEST_MAX_NEW_TOKENS: Metric = metric(
    "tgi_request_max_new_tokens",
    "Maximum new tokens per request",
    MetricKind::Histogram,
    LENGTH_BUCKETS,
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(body: &str) -> String {
        GenerateRequest::parse(body.as_bytes())
            .map_or_else(|error| error.to_string(), |_| "ok".into())
    }

    #[test]
    fn what_tgi_refuses_is_refused() {
        assert_eq!(told(r#"{"inputs":"a"}"#), "ok");
        assert_eq!(told(r#"{"inputs":"a","parameters":{"max_new_tokens":null,"never":1}}"#), "ok");
        assert_eq!(told(r#"{"inputs":""}"#), "Input validation error: `inputs` cannot be empty");
        for parameters in [
            r#"{"temperature":0}"#,
            r#"{"top_p":1.0}"#,
            r#"{"top_k":0}"#,
            r#"{"max_new_tokens":0}"#,
            r#"{"repetition_penalty":0}"#,
            r#"{"frequency_penalty":3}"#,
            r#"{"best_of":2}"#,
            r#"{"stop":["a","b","c","d","e"]}"#,
            r#"{"top_n_tokens":6}"#,
            r#"{"grammar":{}}"#,
        ] {
            let body = format!(r#"{{"inputs":"a","parameters":{parameters}}}"#);
            assert!(
                told(&body).starts_with("Input validation error: `"),
                "{body}: {}",
                told(&body)
            );
        }
        assert!(told(r#"{"parameters":{}}"#).contains("missing field `inputs`"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error(body in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = GenerateRequest::parse(&body);
        }

        #[test]
        fn a_changed_request_is_a_request_or_an_error(
            at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let body = r#"{"inputs":"a","parameters":{"temperature":0.5,"stop":["x"],"seed":1}}"#;
            let mut body = body.as_bytes().to_vec();
            let at = at.index(body.len());
            body[at] = byte;
            let _ = GenerateRequest::parse(&body);
        }
    }
}
