//! Log probabilities as the two APIs print them.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// What stands for minus infinity, which JSON has no number for.
const LEAST: f64 = -9999.0;

/// A logarithm that JSON can hold.
#[must_use]
pub fn printable(logprob: f32) -> f64 {
    let logprob = f64::from(logprob);
    if logprob.is_nan() { LEAST } else { logprob.max(LEAST) }
}

/// Names and values in their order. Of equal names the last value counts, in the first one's place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Named<V>(Vec<(String, V)>);

impl<V> FromIterator<(String, V)> for Named<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(pairs: I) -> Self {
        let mut named: Vec<(String, V)> = Vec::new();
        for (name, value) in pairs {
            match named.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => named.push((name, value)),
            }
        }
        Self(named)
    }
}

impl<V: Serialize> Serialize for Named<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Of a completion: one entry a token in each list.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CompletionLogprobs {
    /// Where each token's text begins, in characters after the first one's.
    pub text_offset: Vec<usize>,
    /// `None` for a prompt's first token.
    pub token_logprobs: Vec<Option<f64>>,
    /// Each token's text.
    pub tokens: Vec<String>,
    /// The token itself and the likeliest ones.
    pub top_logprobs: Vec<Option<Named<f64>>>,
}

/// Of a chat.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ChatLogprobs {
    /// One entry a token.
    pub content: Vec<ChatLogprob>,
}

/// One token of a chat.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatLogprob {
    /// Its text.
    pub token: String,
    /// The logarithm of its probability.
    pub logprob: f64,
    /// Its text's bytes: a token may be half a character.
    pub bytes: Vec<u8>,
    /// The likeliest tokens.
    pub top_logprobs: Vec<ChatTopLogprob>,
}

/// A token that might have been.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "as in `ChatLogprob`")]
pub struct ChatTopLogprob {
    pub token: String,
    pub logprob: f64,
    pub bytes: Vec<u8>,
}

/// A token of a prompt, or one that might have been in its place. vLLM's own addition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PromptLogprob {
    /// The logarithm of its probability.
    pub logprob: f64,
    /// 1 for the likeliest.
    pub rank: usize,
    /// Its text.
    pub decoded_token: String,
}

/// One entry a token of the prompt, by token id; `None` for the first.
pub type PromptLogprobs = Vec<Option<Named<PromptLogprob>>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_order_and_the_last_of_equal_ones_counts() {
        let named: Named<f64> = [("b", 1.0), ("a", 2.0), ("b", 3.0)]
            .map(|(n, v)| (n.to_owned(), v))
            .into_iter()
            .collect();
        assert_eq!(serde_json::to_string(&named).unwrap(), r#"{"b":3.0,"a":2.0}"#);
    }

    #[test]
    fn what_json_cannot_hold_is_the_least_that_openai_prints() {
        assert_eq!(printable(f32::NEG_INFINITY), -9999.0);
        assert_eq!(printable(f32::NAN), -9999.0);
        assert_eq!(printable(-1.906_170_1), -1.906_170_129_776_001);
    }
}
