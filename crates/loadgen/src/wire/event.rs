//! What a body or an event of an OpenAI-compatible server says about tokens, and nothing else.
//!
//! Servers differ in what they add, so that unknown fields are skipped. Parsing every event whole costs about half
//! a microsecond; searching it for a few words would be faster, and wrong as soon as a server orders or
//! spaces its JSON another way.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A completion, a chat completion, or a chunk of either.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Event {
    /// One a choice; the chunk with the usage has none.
    #[serde(default)]
    pub(crate) choices: Option<Vec<Choice>>,
    /// How many tokens there were; in a stream where it was asked for.
    #[serde(default)]
    pub(crate) usage: Option<Usage>,
    /// What went wrong after the head was sent.
    #[serde(default)]
    pub(crate) error: Option<IgnoredAny>,
}

/// One choice.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    /// Of a completion.
    #[serde(default)]
    text: HasContent,
    /// Of a chunk of a chat.
    #[serde(default)]
    delta: Option<Message>,
    /// Of a chat.
    #[serde(default)]
    message: Option<Message>,
    /// Why it ended.
    #[serde(default)]
    pub(crate) finish_reason: Option<FinishReason>,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    content: HasContent,
    /// What a model thinks before it answers, by either of its names in the field.
    #[serde(default)]
    reasoning_content: HasContent,
    #[serde(default)]
    reasoning: HasContent,
    #[serde(default)]
    tool_calls: HasContent,
}

/// Token counts of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: Option<u32>,
    #[serde(default)]
    pub(crate) completion_tokens: Option<u32>,
}

impl Event {
    /// Whether it carries something that a user sees.
    pub(crate) fn has_content(&self) -> bool {
        let message = |message: &Message| {
            message.content.0
                || message.reasoning_content.0
                || message.reasoning.0
                || message.tool_calls.0
        };
        self.choices.iter().flatten().any(|choice| {
            choice.text.0
                || choice.delta.as_ref().is_some_and(message)
                || choice.message.as_ref().is_some_and(message)
        })
    }

    /// Why it ended, where it did.
    pub(crate) fn finish_reason(&self) -> Option<FinishReason> {
        self.choices.iter().flatten().find_map(|choice| choice.finish_reason)
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it.
    Stop,
    /// It reached its greatest length.
    Length,
    /// Anything else.
    Other,
}

impl<'de> Deserialize<'de> for FinishReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reason;
        impl Visitor<'_> for Reason {
            type Value = FinishReason;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finish reason")
            }
            fn visit_str<E>(self, text: &str) -> Result<FinishReason, E> {
                Ok(match text {
                    "stop" => FinishReason::Stop,
                    "length" => FinishReason::Length,
                    _ => FinishReason::Other,
                })
            }
        }
        deserializer.deserialize_str(Reason)
    }
}

/// Whether a string or a list is there and not empty; its content is not kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct HasContent(bool);

impl<'de> Deserialize<'de> for HasContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Content;
        impl<'de> Visitor<'de> for Content {
            type Value = HasContent;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a list, an object or null")
            }
            fn visit_str<E>(self, text: &str) -> Result<HasContent, E> {
                Ok(HasContent(!text.is_empty()))
            }
            fn visit_unit<E>(self) -> Result<HasContent, E> {
                Ok(HasContent(false))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<HasContent, A::Error> {
                let mut any = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(HasContent(any))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HasContent, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(HasContent(true))
            }
        }
        deserializer.deserialize_any(Content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn content_is_seen_wherever_servers_put_it() {
        for text in [
            r#"{"choices":[{"index":0,"text":" a"}]}"#,
            r#"{"choices":[{"delta":{"content":"\u00e9"}}]}"#,
            r#"{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":"hm"}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
            r#"{"choices": [ {"message" : {"content": "a", "role": "assistant"}} ]}"#,
            r#"{"choices":[{"text":""},{"text":"b"}]}"#,
        ] {
            assert!(event(text).has_content(), "{text}");
        }
    }

    #[test]
    fn what_carries_no_content_is_told_apart() {
        for text in [
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}"#,
            r#"{"id":"x","choices":null}"#,
            r#"{"object":"\"text\":\"x\""}"#,
        ] {
            assert!(!event(text).has_content(), "{text}");
        }
    }

    #[test]
    fn usage_errors_and_reasons_are_read() {
        let last = event(r#"{"choices":[{"text":"","finish_reason":"length"}],"usage":null}"#);
        assert_eq!((last.finish_reason(), last.usage), (Some(FinishReason::Length), None));
        let usage = event(r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}"#);
        let expected = Usage { prompt_tokens: Some(5), completion_tokens: Some(7) };
        assert_eq!(usage.usage, Some(expected));
        assert!(event(r#"{"error":{"message":"out of memory","code":500}}"#).error.is_some());
        assert!(serde_json::from_str::<Event>(r#"{"choices":5}"#).is_err());
    }
}
