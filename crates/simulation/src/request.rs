//! What became of one request.

use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its answer is complete.
    Stop,
    /// Its answer was cut at `max_tokens`.
    Length,
    /// Its client went away.
    Aborted,
    /// Its replica did not take it: too long for a context, or the queue was full. Or the router did not, or not in time.
    Refused,
    /// The simulation ended first.
    Unfinished,
}

impl Outcome {
    /// The word in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
            Self::Unfinished => "unfinished",
        }
    }

    /// Whether the client got all that it asked for.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Stop | Self::Length)
    }
}

/// One request, from its arrival to its end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RequestRecord {
    /// Which replica got it; `None` where the router refused it.
    pub replica: Option<usize>,
    /// When it came, since the fleet started.
    #[serde(rename = "arrived_ms", serialize_with = "ms")]
    pub arrived: Duration,
    /// From when its engine got it until it got its first place in a step.
    #[serde(rename = "queue_ms", serialize_with = "optional_ms")]
    pub queue: Option<Duration>,
    /// From its arrival to its first token.
    #[serde(rename = "ttft_ms", serialize_with = "optional_ms")]
    pub ttft: Option<Duration>,
    /// From its first token to its last, over the gaps between; `None` with fewer than two tokens.
    #[serde(rename = "tpot_ms", serialize_with = "optional_ms")]
    pub tpot: Option<Duration>,
    /// The longest gap between two of its tokens.
    #[serde(rename = "max_itl_ms", serialize_with = "optional_ms")]
    pub max_itl: Option<Duration>,
    /// From its arrival to its end; `None` where it was refused or did not end.
    #[serde(rename = "e2e_ms", serialize_with = "optional_ms")]
    pub e2e: Option<Duration>,
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
    /// Tokens of those that came from the prefix cache.
    pub cached_tokens: usize,
    /// Tokens that it got.
    pub generated_tokens: usize,
    /// How often it was preempted.
    pub preemptions: u32,
    /// How it ended.
    pub outcome: Outcome,
}

impl RequestRecord {
    /// A request that has just come.
    pub(crate) fn new(arrived: Duration, prompt_tokens: usize) -> Self {
        Self {
            replica: None,
            arrived,
            queue: None,
            ttft: None,
            tpot: None,
            max_itl: None,
            e2e: None,
            prompt_tokens,
            cached_tokens: 0,
            generated_tokens: 0,
            preemptions: 0,
            outcome: Outcome::Unfinished,
        }
    }
}

/// What a user calls good enough. A limit that is `None` is met by all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Slo {
    /// To the first token.
    #[serde(rename = "ttft_ms", serialize_with = "optional_ms")]
    pub ttft: Option<Duration>,
    /// A token after that, on average over the request.
    #[serde(rename = "tpot_ms", serialize_with = "optional_ms")]
    pub tpot: Option<Duration>,
    /// To the last token.
    #[serde(rename = "e2e_ms", serialize_with = "optional_ms")]
    pub e2e: Option<Duration>,
}

impl Slo {
    /// Whether a request succeeded within all limits. DistServe (Zhong et al., OSDI 2024) calls the rate of these
    /// goodput.
    #[must_use]
    pub fn is_met(&self, request: &RequestRecord) -> bool {
        let within = |limit: Option<Duration>, value: Option<Duration>| match (limit, value) {
            (Some(limit), Some(value)) => value <= limit,
            // One token has no time per further token.
            _ => true,
        };
        request.outcome.is_success()
            && within(self.ttft, request.ttft)
            && within(self.tpot, request.tpot)
            && within(self.e2e, request.e2e)
    }
}

/// No objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no objective: expected ttft=500ms,tpot=50ms,e2e=5s, or some of these")]
pub struct SloError {
    /// What was written.
    pub text: String,
}

/// Written `ttft=500ms,tpot=50ms,e2e=5s`, or some of these.
impl FromStr for Slo {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        let wrong = || SloError { text: text.to_owned() };
        let mut slo = Self::default();
        for pair in text.split(',') {
            let (name, limit) = pair.split_once('=').ok_or_else(wrong)?;
            let limit = humantime::parse_duration(limit.trim()).map_err(|_| wrong())?;
            match name.trim() {
                "ttft" => slo.ttft = Some(limit),
                "tpot" => slo.tpot = Some(limit),
                "e2e" => slo.e2e = Some(limit),
                _ => return Err(wrong()),
            }
        }
        Ok(slo)
    }
}

/// A duration as milliseconds.
pub(crate) fn ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_nanos() as f64 / 1e6)
}

/// A duration as milliseconds, or null.
pub(crate) fn optional_ms<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => ms(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_and_nonsense_is_refused() {
        let slo: Slo = "ttft=500ms, e2e=1m".parse().unwrap();
        let (ttft, e2e) = (Duration::from_millis(500), Duration::from_secs(60));
        assert_eq!(slo, Slo { ttft: Some(ttft), tpot: None, e2e: Some(e2e) });
        for text in ["", "ttft", "ttft=5", "itl=5ms", "ttft=-1s"] {
            assert!(text.parse::<Slo>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_of_one_token_has_no_time_per_further_token_to_exceed() {
        let slo: Slo = "ttft=10ms,tpot=1ms".parse().unwrap();
        let mut request = RequestRecord::new(Duration::ZERO, 1);
        request.ttft = Some(Duration::from_millis(10));
        assert!(!slo.is_met(&request), "it did not end");
        request.outcome = Outcome::Stop;
        assert!(slo.is_met(&request));
        request.tpot = Some(Duration::from_millis(2));
        assert!(!slo.is_met(&request));
    }
}
