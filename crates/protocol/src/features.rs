//! What a router must know of a request's body, read in one pass over its bytes.
//!
//! Knows which fields matter, not whether they are right: that is the engine's to say, in its own words. A field of
//! the wrong type counts as absent. Of a field that comes twice the last one counts, as in the engines (Python's
//! `json`, serde's maps): a router that believed the first could be told one model and serve another.
//!
//! Copies nothing but a model's name that is written with escapes, and skips what it does not know without looking
//! at it. Nesting is limited by [`MAX_NESTING`](crate::openai::MAX_NESTING).

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Bodies of `/v1/chat/completions`, `/v1/completions` and `/v1/embeddings`, as far as a route depends on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features<'a> {
    /// `model`, as the client wrote it.
    pub model: Option<Cow<'a, str>>,
    /// `user`: who asks, where the client says so.
    pub user: Option<Cow<'a, str>>,
    /// Bytes of text that the model will read: messages, prompts, inputs, and the tools' descriptions.
    pub text_bytes: u64,
    /// Tokens that came as numbers.
    pub token_ids: u64,
    /// Pictures among the parts of messages.
    pub images: u32,
    /// Sounds among them.
    pub audios: u32,
    /// Films among them.
    pub videos: u32,
    /// `max_completion_tokens`, else `max_tokens`.
    pub max_tokens: Option<u64>,
    /// Whether `tools` has one.
    pub tools: bool,
    /// Whether the answer must follow a form: `response_format` other than text, `structured_outputs`.
    pub structured: bool,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether serving it twice does something twice: the answer is stored (`store`), or the server itself runs
    /// a tool (any but a `function`).
    pub side_effects: bool,
}

/// The body is no JSON object, or nested too deeply.
#[derive(Debug, thiserror::Error)]
#[error("the body is no JSON object: {0}")]
pub struct FeaturesError(#[from] serde_json::Error);

impl<'a> Features<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`FeaturesError`].
    pub fn read(body: &'a [u8]) -> Result<Self, FeaturesError> {
        let mut found = Found::default();
        let mut json = serde_json::Deserializer::from_slice(body);
        Object(&mut found).deserialize(&mut json)?;
        json.end()?;
        Ok(found.into_features())
    }
}

/// What was found so far. Each field is kept apart, so that a second one of its name can replace it.
#[derive(Debug, Default)]
struct Found<'a> {
    model: Option<Cow<'a, str>>,
    user: Option<Cow<'a, str>>,
    messages: Counts,
    prompt: Counts,
    input: Counts,
    tools: Counts,
    max_completion_tokens: Option<u64>,
    max_tokens: Option<u64>,
    response_format: bool,
    structured_outputs: bool,
    stream: bool,
    store: bool,
}

/// What one field adds.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    text_bytes: u64,
    token_ids: u64,
    images: u32,
    audios: u32,
    videos: u32,
    tools: u32,
    run_by_server: bool,
}

// === impl Found ===

impl<'a> Found<'a> {
    fn into_features(self) -> Features<'a> {
        let read = [self.messages, self.prompt, self.input, self.tools];
        let sum = |count: fn(&Counts) -> u64| read.iter().map(count).sum();
        let parts = self.messages;
        Features {
            text_bytes: sum(|counts| counts.text_bytes),
            token_ids: sum(|counts| counts.token_ids),
            images: parts.images,
            audios: parts.audios,
            videos: parts.videos,
            max_tokens: self.max_completion_tokens.or(self.max_tokens),
            tools: self.tools.tools > 0,
            structured: self.response_format || self.structured_outputs,
            stream: self.stream,
            side_effects: self.store || self.tools.run_by_server,
            model: self.model,
            user: self.user,
        }
    }

    /// Reads the value of a field of the body.
    fn field<A: MapAccess<'a>>(&mut self, field: Field, map: &mut A) -> Result<(), A::Error> {
        match field {
            Field::Model => self.model = map.next_value_seed(Leaf)?.text(),
            Field::User => self.user = map.next_value_seed(Leaf)?.text(),
            Field::MaxCompletionTokens => {
                self.max_completion_tokens = map.next_value_seed(Leaf)?.number();
            }
            Field::MaxTokens => self.max_tokens = map.next_value_seed(Leaf)?.number(),
            Field::Stream => self.stream = map.next_value_seed(Leaf)?.yes(),
            Field::Store => self.store = map.next_value_seed(Leaf)?.yes(),
            Field::StructuredOutputs => {
                self.structured_outputs = !matches!(map.next_value_seed(Leaf)?, Value::Null);
            }
            Field::ResponseFormat => {
                self.response_format = false;
                map.next_value_seed(Walk(Node::Format(&mut self.response_format)))?;
            }
            Field::Messages => count(Place::Messages, &mut self.messages, map)?,
            Field::Prompt => count(Place::Prompt, &mut self.prompt, map)?,
            Field::Input => count(Place::Prompt, &mut self.input, map)?,
            Field::Tools => count(Place::Tools, &mut self.tools, map)?,
            Field::Other => _ = map.next_value::<IgnoredAny>()?,
        }
        Ok(())
    }
}

fn count<'a, A: MapAccess<'a>>(
    place: Place,
    counts: &mut Counts,
    map: &mut A,
) -> Result<(), A::Error> {
    *counts = Counts::default();
    map.next_value_seed(Walk(Node::Counted(place, counts)))
}

/// The fields of a body that matter.
#[derive(Debug, Clone, Copy)]
enum Field {
    Model,
    User,
    Messages,
    Prompt,
    Input,
    Tools,
    MaxCompletionTokens,
    MaxTokens,
    ResponseFormat,
    StructuredOutputs,
    Stream,
    Store,
    Other,
}

impl Field {
    fn named(name: &str) -> Self {
        match name {
            "model" => Self::Model,
            "user" => Self::User,
            "messages" => Self::Messages,
            "prompt" => Self::Prompt,
            "input" => Self::Input,
            "tools" => Self::Tools,
            "max_completion_tokens" => Self::MaxCompletionTokens,
            "max_tokens" => Self::MaxTokens,
            "response_format" => Self::ResponseFormat,
            "structured_outputs" => Self::StructuredOutputs,
            "stream" => Self::Stream,
            "store" => Self::Store,
            _ => Self::Other,
        }
    }
}

/// A name, looked at and not kept.
struct Name<F>(F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Name<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<T, D::Error> {
        json.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Name<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<T, E> {
        Ok((self.0)(name))
    }
}

/// The body itself.
struct Object<'f, 'a>(&'f mut Found<'a>);

impl<'de> DeserializeSeed<'de> for Object<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Name(Field::named))? {
            self.0.field(field, &mut map)?;
        }
        Ok(())
    }
}

/// A value that is expected to be no list and no object.
enum Value<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Bool(bool),
    Null,
    Other,
}

impl<'a> Value<'a> {
    fn text(self) -> Option<Cow<'a, str>> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn number(self) -> Option<u64> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    fn yes(self) -> bool {
        matches!(self, Self::Bool(true))
    }
}

/// Reads a [`Value`].
struct Leaf;

impl<'de> DeserializeSeed<'de> for Leaf {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value<'de>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Leaf {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(yes))
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

/// Where in the body something is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The list of messages.
    Messages,
    Message,
    /// A text, or a list of parts.
    Content,
    Part,
    /// What kind of part it is.
    PartKind,
    /// A text, a list of texts, of token ids, or of lists of token ids.
    Prompt,
    PromptItem,
    TokenId,
    /// The list of tools.
    Tools,
    Tool,
    ToolKind,
    /// Anything that a chat template prints: names and texts count, however deep.
    Printed,
    Ignored,
}

impl Place {
    /// Where a field of an object at this place is.
    fn field(self, name: &str) -> Self {
        match (self, name) {
            (Self::Message, "content") => Self::Content,
            (Self::Message, "tool_calls") | (Self::Tool | Self::Printed, _) if name != "type" => {
                Self::Printed
            }
            (Self::Part, "text") => Self::PromptItem,
            (Self::Part, "type") => Self::PartKind,
            (Self::Tool, "type") => Self::ToolKind,
            (Self::Printed, _) => Self::Printed,
            _ => Self::Ignored,
        }
    }

    /// Where an item of a list at this place is.
    fn item(self) -> Self {
        match self {
            Self::Messages => Self::Message,
            Self::Content => Self::Part,
            Self::Prompt => Self::PromptItem,
            Self::PromptItem => Self::TokenId,
            Self::Tools => Self::Tool,
            Self::Printed => Self::Printed,
            _ => Self::Ignored,
        }
    }
}

/// What a walk is looking for.
enum Node<'f> {
    Counted(Place, &'f mut Counts),
    /// `response_format`, or its `type`: whether it asks for more than text.
    Format(&'f mut bool),
    FormatKind(&'f mut bool),
}

/// Goes through any value, and skips what does not matter.
struct Walk<'f>(Node<'f>);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.0 {
            Node::Counted(Place::Ignored, _) => json.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match self.0 {
            Node::Counted(place, counts) => counts.text(place, text),
            Node::FormatKind(structured) => *structured = text != "text",
            Node::Format(_) => {}
        }
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        if let Node::Counted(Place::PromptItem | Place::TokenId, counts) = self.0 {
            counts.token_ids += 1;
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Node::Counted(place, counts) = self.0 else {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let item = place.item();
        while list.next_element_seed(Walk(Node::Counted(item, counts)))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self.0 {
            Node::Counted(place, counts) => {
                counts.tools += u32::from(place == Place::Tool);
                while let Some((inner, bytes)) =
                    map.next_key_seed(Name(|name: &str| (place.field(name), name.len())))?
                {
                    counts.text_bytes += if inner == Place::Printed { bytes as u64 } else { 0 };
                    map.next_value_seed(Walk(Node::Counted(inner, counts)))?;
                }
            }
            Node::Format(structured) => {
                while let Some(is_kind) = map.next_key_seed(Name(|name: &str| name == "type"))? {
                    if is_kind {
                        map.next_value_seed(Walk(Node::FormatKind(structured)))?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
            Node::FormatKind(_) => while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {},
        }
        Ok(())
    }
}

// === impl Counts ===

impl Counts {
    fn text(&mut self, place: Place, text: &str) {
        match place {
            Place::Content | Place::Part | Place::Prompt | Place::PromptItem | Place::Printed => {
                self.text_bytes += text.len() as u64;
            }
            Place::PartKind => match text {
                "image_url" | "input_image" | "image_pil" | "image_embeds" => self.images += 1,
                "audio_url" | "input_audio" | "audio_embeds" => self.audios += 1,
                "video_url" => self.videos += 1,
                _ => {}
            },
            Place::ToolKind => self.run_by_server |= text != "function",
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
