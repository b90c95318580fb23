//! How to generate: the fields that completions and chats share.

use serde_json::Value;

use super::RequestError;
use super::fields::{self, Fields};

/// Choices that one request may ask for: prompts times `n`.
pub const MAX_CHOICES: usize = 256;

/// Stop strings and stop tokens that one request may name.
const MAX_STOPS: usize = 64;

/// Below this a temperature means greedy, as in vLLM's `_SAMPLING_EPS`.
const GREEDY_BELOW: f64 = 1e-5;

/// The fields as they were sent: of the right type, of any value.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct SamplingFields {
    pub n: i64,
    pub max_tokens: Option<i64>,
    pub min_tokens: i64,
    pub temperature: f64,
    pub top_p: f64,
    pub top_k: i64,
    pub seed: Option<i64>,
    pub stop: Vec<String>,
    pub stop_token_ids: Vec<i64>,
    pub include_stop_str_in_output: bool,
    pub ignore_eos: bool,
    pub skip_special_tokens: bool,
}

/// How to generate, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Choices for each prompt; at least 1.
    pub n: usize,
    /// The most tokens to generate; `None` where the endpoint's default holds.
    pub max_tokens: Option<usize>,
    /// Stop strings and stop tokens count only after this many tokens.
    pub min_tokens: usize,
    /// 0 for greedy.
    pub temperature: f32,
    /// In (0, 1].
    pub top_p: f32,
    /// `None` for all tokens.
    pub top_k: Option<usize>,
    /// `None` for a fresh one.
    pub seed: Option<u64>,
    /// None of them empty.
    pub stop: Vec<String>,
    /// Tokens that end the answer.
    pub stop_token_ids: Vec<u32>,
    /// Whether the stop string that ended the answer is part of it.
    pub include_stop_str_in_output: bool,
    /// Whether to go on after an end-of-text token.
    pub ignore_eos: bool,
    /// Whether special tokens are left out of the text.
    pub skip_special_tokens: bool,
}

/// What a stream carries besides text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// A last chunk with the whole request's usage.
    pub include_usage: bool,
    /// Every chunk with its choice's usage so far.
    pub continuous_usage_stats: bool,
}

impl StreamOptions {
    /// `Some` for a request that asks for a stream.
    pub(super) fn parse(body: &Fields<'_>) -> Result<Option<Self>, RequestError> {
        let options = match body.object("stream_options")? {
            Some(given) => Some(Self {
                include_usage: given.boolean("include_usage", true)?,
                continuous_usage_stats: given.boolean("continuous_usage_stats", false)?,
            }),
            None => None,
        };
        if body.boolean("stream", false)? {
            return Ok(Some(options.unwrap_or_default()));
        }
        match options {
            None => Ok(None),
            Some(_) => Err(RequestError::invalid(
                Some("stream_options"),
                "Stream options can only be defined when `stream=True`.",
            )),
        }
    }
}

impl SamplingFields {
    pub(super) fn parse(body: &Fields<'_>) -> Result<Self, RequestError> {
        Ok(Self {
            n: body.integer("n")?.unwrap_or(1),
            max_tokens: body.integer("max_tokens")?,
            min_tokens: body.integer("min_tokens")?.unwrap_or(0),
            temperature: body.float("temperature")?.unwrap_or(1.0),
            top_p: body.float("top_p")?.unwrap_or(1.0),
            top_k: body.integer("top_k")?.unwrap_or(0),
            seed: body.integer("seed")?,
            stop: stop(body)?,
            stop_token_ids: match body.get("stop_token_ids") {
                Some(ids) => fields::list(ids, body.location("stop_token_ids"))?
                    .map(|(id, location)| fields::integer(id, location))
                    .collect::<Result<_, _>>()?,
                None => Vec::new(),
            },
            include_stop_str_in_output: body.boolean("include_stop_str_in_output", false)?,
            ignore_eos: body.boolean("ignore_eos", false)?,
            skip_special_tokens: body.boolean("skip_special_tokens", true)?,
        })
    }

    /// Checks values, in the order of vLLM's `SamplingParams._verify_args`.
    ///
    /// # Errors
    /// [`RequestError`] names the first field that is wrong.
    pub fn check(&self) -> Result<Sampling, RequestError> {
        let n = self.checked_n()?;
        self.check_distribution()?;
        let max_tokens = self.max_tokens.map(|max| at_least_1("max_tokens", max)).transpose()?;
        let min_tokens = self.checked_min_tokens(max_tokens)?;
        if self.stop.iter().any(String::is_empty) {
            let reason = "stop cannot contain an empty string.";
            return Err(RequestError::invalid(Some("stop"), reason));
        }
        if self.stop.len().max(self.stop_token_ids.len()) > MAX_STOPS {
            let reason = format!("at most {MAX_STOPS} stop strings and {MAX_STOPS} stop tokens.");
            return Err(RequestError::invalid(Some("stop"), reason));
        }
        let greedy = self.temperature < GREEDY_BELOW;
        if greedy && n > 1 {
            let reason = format!("n must be 1 when using greedy sampling, got {n}.");
            return Err(RequestError::invalid(None, reason));
        }
        Ok(Sampling {
            n,
            max_tokens,
            min_tokens,
            temperature: if greedy { 0.0 } else { self.temperature as f32 },
            // A tiny positive double may round to 0 as a single.
            top_p: (self.top_p as f32).max(f32::MIN_POSITIVE),
            top_k: usize::try_from(self.top_k).ok().filter(|&k| k > 0),
            // vLLM: -1 asks for a fresh seed. Any other number is one, its sign included.
            seed: self.seed.filter(|&seed| seed != -1).map(i64::cast_unsigned),
            stop: self.stop.clone(),
            stop_token_ids: token_ids("stop_token_ids", &self.stop_token_ids)?,
            include_stop_str_in_output: self.include_stop_str_in_output,
            ignore_eos: self.ignore_eos,
            skip_special_tokens: self.skip_special_tokens,
        })
    }

    fn checked_n(&self) -> Result<usize, RequestError> {
        match usize::try_from(self.n) {
            Ok(n @ 1..=MAX_CHOICES) => Ok(n),
            Ok(1..) => Err(out_of_range("n", format!("n must be at most {MAX_CHOICES}"), self.n)),
            _ => Err(out_of_range("n", "n must be at least 1".to_owned(), self.n)),
        }
    }

    fn check_distribution(&self) -> Result<(), RequestError> {
        if self.temperature < 0.0 || self.temperature > f64::from(f32::MAX) {
            let reason = format!("temperature must be non-negative, got {:?}.", self.temperature);
            return Err(float_range("temperature", reason, self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            let reason = format!("top_p must be in (0, 1], got {:?}.", self.top_p);
            return Err(float_range("top_p", reason, self.top_p));
        }
        if self.top_k < -1 {
            let reason = "top_k must be 0 (disable), or at least 1".to_owned();
            return Err(out_of_range("top_k", reason, self.top_k));
        }
        Ok(())
    }

    fn checked_min_tokens(&self, max_tokens: Option<usize>) -> Result<usize, RequestError> {
        let Ok(min) = usize::try_from(self.min_tokens) else {
            let reason = "min_tokens must be greater than or equal to 0".to_owned();
            return Err(out_of_range("min_tokens", reason, self.min_tokens));
        };
        if let Some(max) = max_tokens.filter(|&max| min > max) {
            let reason = format!("min_tokens must be less than or equal to max_tokens={max}");
            return Err(out_of_range("min_tokens", reason, self.min_tokens));
        }
        if min > 0 && !(self.ignore_eos && self.stop_token_ids.is_empty()) {
            // It would need a sampler that never draws a token that ends the text.
            return Err(RequestError::Unsupported {
                param: "min_tokens without ignore_eos".to_owned(),
            });
        }
        Ok(min)
    }
}

fn stop(body: &Fields<'_>) -> Result<Vec<String>, RequestError> {
    match body.get("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(many) => fields::list(many, body.location("stop"))?
            .map(|(one, location)| fields::string(one, location))
            .collect(),
    }
}

/// A count that must be positive.
fn at_least_1(param: &'static str, value: i64) -> Result<usize, RequestError> {
    usize::try_from(value)
        .ok()
        .filter(|&value| value > 0)
        .ok_or_else(|| out_of_range(param, format!("{param} must be at least 1"), value))
}

/// Numbers that may be token ids.
pub(super) fn token_ids(param: &'static str, ids: &[i64]) -> Result<Vec<u32>, RequestError> {
    let id = |&id: &i64| {
        u32::try_from(id).map_err(|_| {
            RequestError::invalid(Some(param), format!("Token id {id} is out of vocabulary"))
        })
    };
    ids.iter().map(id).collect()
}

fn out_of_range(param: &'static str, rule: String, value: i64) -> RequestError {
    let reason = format!("{rule}, got {value}.");
    RequestError::OutOfRange { param, reason, value: value.to_string() }
}

fn float_range(param: &'static str, reason: String, value: f64) -> RequestError {
    RequestError::OutOfRange { param, reason, value: format!("{value:?}") }
}
