//! How to generate: the fields that completions and chats share, and the ranges of their values.
//!
//! Values are checked later than types, in vLLM's order: once the prompt's length is known, because the answer
//! shrinks to what the context leaves.

use serde_json::Value;

use super::RequestError;
use super::fields::{Fields, float};

/// Choices that one request may ask for: prompts times `n`. vLLM's own limit is 16384.
pub const MAX_CHOICES: usize = 256;

/// The most alternatives that log probabilities name: vLLM's `--max-logprobs`.
pub const MAX_LOGPROBS: usize = 20;

/// Below this a temperature means greedy, as in vLLM's `_SAMPLING_EPS`.
const GREEDY_BELOW: f64 = 1e-5;

/// The lowest temperature that is not greedy: vLLM raises smaller ones to it.
const MIN_TEMPERATURE: f64 = 0.01;

/// A bias beyond this is cut to it.
const MAX_BIAS: f64 = 100.0;

/// The fields as they were sent: of the right type, of any value.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields carry the API's own names")]
pub struct SamplingFields {
    pub n: i64,
    pub max_tokens: Option<i64>,
    /// The name under which `max_tokens` was sent.
    pub max_tokens_param: &'static str,
    pub min_tokens: i64,
    pub temperature: f64,
    pub top_p: f64,
    pub top_k: i64,
    pub min_p: f64,
    pub presence_penalty: f64,
    pub frequency_penalty: f64,
    pub repetition_penalty: f64,
    pub seed: Option<i64>,
    pub stop: Vec<String>,
    pub stop_token_ids: Vec<i64>,
    pub logit_bias: Vec<(String, f64)>,
    pub allowed_token_ids: Option<Vec<i64>>,
    pub include_stop_str_in_output: bool,
    pub ignore_eos: bool,
    pub skip_special_tokens: bool,
    pub logprobs: Option<i64>,
    pub prompt_logprobs: Option<i64>,
    pub truncate_prompt_tokens: Option<i64>,
    /// Whether truncation keeps the last tokens instead of the first.
    pub truncate_left: bool,
}

/// How to generate, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Choices for each prompt; at least 1.
    pub n: usize,
    /// The most tokens to generate; at least 1.
    pub max_tokens: usize,
    /// Stop strings and stop tokens count only after this many tokens.
    pub min_tokens: usize,
    /// 0 for greedy.
    pub temperature: f32,
    /// In (0, 1].
    pub top_p: f32,
    /// `None` for all tokens.
    pub top_k: Option<usize>,
    /// In [0, 1].
    pub min_p: f32,
    /// In [-2, 2].
    pub presence_penalty: f32,
    /// In [-2, 2].
    pub frequency_penalty: f32,
    /// Above 0; 1 for none.
    pub repetition_penalty: f32,
    /// `None` for a fresh one.
    pub seed: Option<u64>,
    /// None of them empty.
    pub stop: Vec<String>,
    /// Tokens that end the answer.
    pub stop_token_ids: Vec<u32>,
    /// In [-100, 100], of tokens of the vocabulary.
    pub logit_bias: Vec<(u32, f32)>,
    /// `None` for all; not empty.
    pub allowed_token_ids: Option<Vec<u32>>,
    /// Whether the stop string that ended the answer is part of it.
    pub include_stop_str_in_output: bool,
    /// Whether to go on after an end-of-text token.
    pub ignore_eos: bool,
    /// Whether special tokens are left out of the text.
    pub skip_special_tokens: bool,
    /// How many of the likeliest tokens to name beside each sampled one; `None` for no log probabilities.
    pub logprobs: Option<usize>,
    /// The same for the prompt's tokens.
    pub prompt_logprobs: Option<usize>,
}

/// What a stream carries besides text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// A last chunk with the whole request's usage.
    pub include_usage: bool,
    /// Every chunk with its choice's usage so far; only with the above.
    pub continuous_usage_stats: bool,
}

impl StreamOptions {
    /// `Some` for a request that asks for a stream.
    pub(super) fn parse(body: &Fields<'_>) -> Result<Option<Self>, RequestError> {
        if !body.boolean("stream", false)? {
            return Ok(None);
        }
        let Some(given) = body.object("stream_options")? else { return Ok(Some(Self::default())) };
        let include_usage = given.boolean("include_usage", false)?;
        let continuous = given.boolean("continuous_usage_stats", false)?;
        Ok(Some(Self { include_usage, continuous_usage_stats: include_usage && continuous }))
    }
}

impl SamplingFields {
    /// All but `max_tokens` and `logprobs`, which the two APIs spell differently.
    pub(super) fn parse(body: &Fields<'_>) -> Result<Self, RequestError> {
        let bias = match body.object("logit_bias")? {
            None => Vec::new(),
            Some(bias) => bias
                .iter()
                .map(|(token, value)| Ok((token.clone(), float(value, bias.location(token))?)))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            n: body.integer("n")?.unwrap_or(1),
            max_tokens: None,
            max_tokens_param: "max_tokens",
            min_tokens: body.integer("min_tokens")?.unwrap_or(0),
            temperature: body.float("temperature")?.unwrap_or(1.0),
            top_p: body.float("top_p")?.unwrap_or(1.0),
            top_k: body.integer("top_k")?.unwrap_or(0),
            min_p: body.float("min_p")?.unwrap_or(0.0),
            presence_penalty: body.float("presence_penalty")?.unwrap_or(0.0),
            frequency_penalty: body.float("frequency_penalty")?.unwrap_or(0.0),
            repetition_penalty: body.float("repetition_penalty")?.unwrap_or(1.0),
            seed: body.integer("seed")?,
            stop: stop(body),
            stop_token_ids: body.integers("stop_token_ids")?.unwrap_or_default(),
            logit_bias: bias,
            allowed_token_ids: body.integers("allowed_token_ids")?,
            include_stop_str_in_output: body.boolean("include_stop_str_in_output", false)?,
            ignore_eos: body.boolean("ignore_eos", false)?,
            skip_special_tokens: body.boolean("skip_special_tokens", true)?,
            logprobs: None,
            prompt_logprobs: body.integer("prompt_logprobs")?,
            truncate_prompt_tokens: body.integer("truncate_prompt_tokens")?,
            truncate_left: body.get("truncation_side").is_some_and(|side| side == "left"),
        })
    }

    /// What can be said before the prompt is tokenized: vLLM's `TokenizeParams`.
    ///
    /// # Errors
    /// [`RequestError`] where more tokens are asked for than the context holds.
    pub fn check_context(&self, max_model_len: usize) -> Result<(), RequestError> {
        let too_many = |value: Option<i64>| {
            value.filter(|&value| usize::try_from(value).is_ok_and(|value| value > max_model_len))
        };
        let rule = |param: &'static str, value: i64| RequestError::OutOfRange {
            param,
            reason: format!(
                "{param}={value} cannot be greater than max_model_len={max_model_len}. Please \
                 request fewer tokens."
            ),
            value: value.to_string(),
        };
        if let Some(value) = too_many(self.max_tokens) {
            return Err(rule(self.max_tokens_param, value));
        }
        match too_many(self.truncate_prompt_tokens) {
            Some(value) => Err(rule("truncate_prompt_tokens", value)),
            None => Ok(()),
        }
    }

    /// Cuts a prompt to `truncate_prompt_tokens`; -1 leaves room for one token of an answer.
    pub fn truncate(&self, prompt: &mut Vec<u32>, max_model_len: usize) {
        let Some(keep) = self.truncate_prompt_tokens else { return };
        let keep = usize::try_from(keep).unwrap_or(max_model_len.saturating_sub(1));
        let too_long = prompt.len().saturating_sub(keep);
        if self.truncate_left {
            prompt.drain(..too_long);
        } else {
            prompt.truncate(keep);
        }
    }

    /// Checks values for a prompt that leaves `room` tokens of the context, in the order of vLLM's
    /// `SamplingParams._verify_args` and `verify`. `echo_only` generates one token that nobody sees.
    ///
    /// # Errors
    /// [`RequestError`] names the first field that is wrong.
    pub fn check(
        &self,
        room: usize,
        vocab_size: usize,
        echo_only: bool,
    ) -> Result<Sampling, RequestError> {
        let room = i64::try_from(room).unwrap_or(i64::MAX);
        let max_tokens =
            if echo_only { 1 } else { self.max_tokens.map_or(room, |max| max.min(room)) };
        let bias = self.bias_by_token()?;
        let n = self.checked_n()?;
        self.check_penalties()?;
        self.check_distribution()?;
        let max_tokens = match usize::try_from(max_tokens) {
            Ok(max_tokens @ 1..) => max_tokens,
            _ => {
                let reason = format!("max_tokens must be at least 1, got {max_tokens}.");
                return Err(out_of_range("max_tokens", reason, max_tokens));
            }
        };
        let min_tokens = self.checked_min_tokens(max_tokens)?;
        if self.stop.iter().any(String::is_empty) {
            return Err(RequestError::invalid(None, "stop cannot contain an empty string."));
        }
        let greedy = self.temperature < GREEDY_BELOW;
        if greedy && n > 1 {
            let reason = format!("n must be 1 when using greedy sampling, got {n}.");
            return Err(RequestError::invalid(None, reason));
        }
        let logprobs = checked_logprobs("logprobs", self.logprobs, vocab_size)?;
        let prompt_logprobs =
            checked_logprobs("prompt_logprobs", self.prompt_logprobs, vocab_size)?;
        let (ids, biases): (Vec<i64>, Vec<f32>) = bias.into_iter().unzip();
        let biased = in_vocabulary("logit_bias", &ids, vocab_size)?;
        let stop_token_ids = in_vocabulary("stop_token_ids", &self.stop_token_ids, vocab_size)?;
        let allowed_token_ids = match &self.allowed_token_ids {
            Some(ids) if ids.is_empty() => {
                let reason = "allowed_token_ids is not None and empty!";
                return Err(RequestError::invalid(Some("allowed_token_ids"), reason));
            }
            Some(ids) => Some(in_vocabulary("allowed_token_ids", ids, vocab_size)?),
            None => None,
        };
        let temperature = if greedy { 0.0 } else { self.temperature.max(MIN_TEMPERATURE) as f32 };
        Ok(Sampling {
            n,
            max_tokens,
            min_tokens,
            temperature,
            // A tiny positive double may round to 0 as a single.
            top_p: (self.top_p as f32).max(f32::MIN_POSITIVE),
            top_k: usize::try_from(self.top_k).ok().filter(|&k| k > 0),
            min_p: self.min_p as f32,
            presence_penalty: self.presence_penalty as f32,
            frequency_penalty: self.frequency_penalty as f32,
            repetition_penalty: (self.repetition_penalty as f32).clamp(f32::MIN_POSITIVE, f32::MAX),
            // vLLM: -1 asks for a fresh seed. Any other number is one, its sign included.
            seed: self.seed.filter(|&seed| seed != -1).map(i64::cast_unsigned),
            stop: self.stop.clone(),
            stop_token_ids,
            logit_bias: biased.into_iter().zip(biases).collect(),
            allowed_token_ids,
            include_stop_str_in_output: self.include_stop_str_in_output,
            ignore_eos: self.ignore_eos,
            skip_special_tokens: self.skip_special_tokens,
            logprobs,
            prompt_logprobs,
        })
    }

    fn bias_by_token(&self) -> Result<Vec<(i64, f32)>, RequestError> {
        let bias = |(token, bias): &(String, f64)| match token.trim().parse() {
            Ok(token) => Ok((token, bias.clamp(-MAX_BIAS, MAX_BIAS) as f32)),
            Err(_) => {
                let token: String = token.chars().take(40).collect();
                let reason =
                    format!("logit_bias contains the key {token:?}, which is no token id.");
                Err(RequestError::invalid(Some("logit_bias"), reason))
            }
        };
        self.logit_bias.iter().map(bias).collect()
    }

    fn checked_n(&self) -> Result<usize, RequestError> {
        let wrong =
            |rule: String| Err(RequestError::invalid(None, format!("{rule}, got {}.", self.n)));
        match usize::try_from(self.n) {
            Ok(n @ 1..=MAX_CHOICES) => Ok(n),
            Ok(1..) => wrong(format!("n must be at most {MAX_CHOICES}")),
            _ => wrong("n must be at least 1".to_owned()),
        }
    }

    fn check_penalties(&self) -> Result<(), RequestError> {
        let penalties = [
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
        ];
        for (name, value) in penalties {
            if !(-2.0..=2.0).contains(&value) {
                let reason = format!("{name} must be in [-2, 2], got {value:?}.");
                return Err(RequestError::invalid(None, reason));
            }
        }
        let repetition = self.repetition_penalty;
        if !repetition.is_finite() || repetition <= 0.0 {
            let reason =
                format!("repetition_penalty must be greater than zero, got {repetition:?}.");
            return Err(RequestError::invalid(None, reason));
        }
        Ok(())
    }

    fn check_distribution(&self) -> Result<(), RequestError> {
        let (temperature, top_p, min_p) = (self.temperature, self.top_p, self.min_p);
        if !(0.0..=2.0).contains(&temperature) {
            let reason = if temperature < 0.0 {
                format!("temperature must be non-negative, got {temperature:?}.")
            } else {
                format!("temperature must be in [0, 2], got {temperature:?}.")
            };
            let value = format!("{temperature:?}");
            return Err(RequestError::OutOfRange { param: "temperature", reason, value });
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            let reason = format!("top_p must be in (0, 1], got {top_p:?}.");
            let value = format!("{top_p:?}");
            return Err(RequestError::OutOfRange { param: "top_p", reason, value });
        }
        if self.top_k < -1 {
            let reason = format!("top_k must be 0 (disable), or at least 1, got {}.", self.top_k);
            return Err(RequestError::invalid(None, reason));
        }
        if !(0.0..=1.0).contains(&min_p) {
            let reason = format!("min_p must be in [0, 1], got {min_p:?}.");
            return Err(RequestError::invalid(None, reason));
        }
        Ok(())
    }

    fn checked_min_tokens(&self, max_tokens: usize) -> Result<usize, RequestError> {
        let min = self.min_tokens;
        match usize::try_from(min) {
            Ok(min) if min <= max_tokens => Ok(min),
            Ok(_) => {
                let rule = format!("less than or equal to max_tokens={max_tokens}");
                Err(RequestError::invalid(None, format!("min_tokens must be {rule}, got {min}.")))
            }
            Err(_) => {
                let reason = format!("min_tokens must be greater than or equal to 0, got {min}.");
                Err(RequestError::invalid(None, reason))
            }
        }
    }
}

/// Reads what the schema let through.
fn stop(body: &Fields<'_>) -> Vec<String> {
    match body.get("stop") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => {
            many.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// -1 asks for the whole vocabulary.
fn checked_logprobs(
    param: &'static str,
    wanted: Option<i64>,
    vocab_size: usize,
) -> Result<Option<usize>, RequestError> {
    let Some(wanted) = wanted else { return Ok(None) };
    let count = usize::try_from(wanted).unwrap_or(vocab_size);
    if count > MAX_LOGPROBS {
        let reason = format!(
            "Requested {param} of {count}, which is greater than max allowed: {MAX_LOGPROBS}"
        );
        return Err(RequestError::OutOfRange { param, reason, value: count.to_string() });
    }
    Ok(Some(count))
}

/// Numbers that may be token ids.
fn in_vocabulary(
    param: &'static str,
    ids: &[i64],
    vocab_size: usize,
) -> Result<Vec<u32>, RequestError> {
    let id = |&id: &i64| {
        u32::try_from(id).ok().filter(|&id| (id as usize) < vocab_size).ok_or_else(|| {
            let reason = format!(
                "token_id(s) [{id}] in {param} contain out-of-vocab token ids. Vocabulary size: \
                 {vocab_size}"
            );
            RequestError::OutOfRange { param, reason, value: format!("[{id}]") }
        })
    };
    ids.iter().map(id).collect()
}

fn out_of_range(param: &'static str, reason: String, value: i64) -> RequestError {
    RequestError::OutOfRange { param, reason, value: value.to_string() }
}
