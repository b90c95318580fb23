//! The outermost fields of a body, found without parsing what is in them.
//!
//! Walks over the fields of the object and jumps over strings, so that a prompt of 32 KB costs about as much as copying it.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

use super::count::{Counts, Node, Place, walk};
use super::{Features, FeaturesError};

/// The fields of a body that matter.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Field {
    Model,
    User,
    Messages,
    Prompt,
    Inputs,
    Input,
    Tools,
    MaxCompletionTokens,
    MaxTokens,
    ResponseFormat,
    StructuredOutputs,
    Stream,
    Store,
}

const FIELDS: usize = Field::Store as usize + 1;

impl Field {
    fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"model" => Self::Model,
            b"user" => Self::User,
            b"messages" => Self::Messages,
            b"prompt" => Self::Prompt,
            b"inputs" => Self::Inputs,
            b"input" => Self::Input,
            b"tools" => Self::Tools,
            b"max_completion_tokens" => Self::MaxCompletionTokens,
            b"max_tokens" => Self::MaxTokens,
            b"response_format" => Self::ResponseFormat,
            b"structured_outputs" => Self::StructuredOutputs,
            b"stream" => Self::Stream,
            b"store" => Self::Store,
            _ if memchr(b'\\', name).is_some() => return Self::escaped(name),
            _ => return None,
        })
    }

    /// A name that is written with escapes, which the engine will read all the same.
    #[cold]
    fn escaped(name: &[u8]) -> Option<Self> {
        let quoted = [b"\"", name, b"\""].concat();
        let name: String = serde_json::from_slice(&quoted).ok()?;
        if name.contains('\\') { None } else { Self::named(name.as_bytes()) }
    }
}

/// Where the fields of a body are. Of equal ones the last.
#[derive(Debug, Clone, Copy)]
pub struct Outline<'a> {
    body: &'a [u8],
    /// Values as they were sent; empty for a field that is not there.
    values: [&'a [u8]; FIELDS],
    /// How far the body could be read.
    read: usize,
    /// Whether it is an object to its end.
    whole: bool,
}

// === impl Outline ===

impl<'a> Outline<'a> {
    /// Finds them. A body that is no JSON object has none, or those before its first mistake: whether it is right is for the
    /// endpoint to say.
    #[must_use]
    pub fn of(body: &'a [u8]) -> Self {
        let mut outline = Self { body, values: [&[]; FIELDS], read: 0, whole: false };
        let mut walk = Walk { body, at: 0 };
        outline.whole = walk.fields(&mut outline.values).is_some();
        outline.read = walk.at.min(body.len());
        outline
    }

    fn raw(&self, field: Field) -> &'a [u8] {
        self.values[field as usize]
    }

    fn is_true(&self, field: Field) -> bool {
        self.raw(field) == b"true"
    }

    fn number(&self, field: Field) -> Option<u64> {
        std::str::from_utf8(self.raw(field)).ok()?.parse().ok()
    }

    /// `model`, where it is a text.
    #[must_use]
    pub fn model(&self) -> Option<Cow<'a, str>> {
        text(self.raw(Field::Model))
    }

    /// Where in the body the value of `model` is, quotes included.
    #[must_use]
    pub fn model_at(&self) -> Option<Range<usize>> {
        let value = self.raw(Field::Model);
        let start = (value.as_ptr() as usize).checked_sub(self.body.as_ptr() as usize)?;
        let at = start..start + value.len();
        (!value.is_empty() && self.body.get(at.clone()) == Some(value)).then_some(at)
    }

    /// `max_completion_tokens`, else `max_tokens`.
    #[must_use]
    pub fn max_tokens(&self) -> Option<u64> {
        self.number(Field::MaxCompletionTokens).or_else(|| self.number(Field::MaxTokens))
    }

    /// What the model reads first, as it was sent, escapes included: what is equal stays equal. The value of `messages`, or else of
    /// `prompt`, `inputs` or `input`.
    #[must_use]
    pub fn prompt(&self) -> &'a [u8] {
        let any = [Field::Messages, Field::Prompt, Field::Inputs, Field::Input];
        any.map(|field| self.raw(field)).into_iter().find(|raw| !raw.is_empty()).unwrap_or_default()
    }

    /// Whether serving it twice may do something twice; so also where that cannot be read. Looks into `tools`, where there are some.
    #[must_use]
    pub fn may_have_side_effects(&self) -> bool {
        !self.whole
            || self.is_true(Field::Store)
            || self.counts(Field::Tools, "tools", Place::Tools).map_or(true, |it| it.run_by_server)
    }

    /// Counts what is in the fields.
    ///
    /// # Errors
    /// [`FeaturesError`].
    pub fn features(&self) -> Result<Features<'a>, FeaturesError> {
        if !self.whole {
            return Err(FeaturesError::NoObject { at: self.read });
        }
        let messages = self.counts(Field::Messages, "messages", Place::Messages)?;
        let tools = self.counts(Field::Tools, "tools", Place::Tools)?;
        let prompt = self.counts(Field::Prompt, "prompt", Place::Prompt)?;
        let input = self.counts(Field::Input, "input", Place::Prompt)?;
        let read = [messages, tools, prompt, input];
        let mut format = false;
        let value = self.raw(Field::ResponseFormat);
        if !value.is_empty() {
            walk(value, Node::Format(&mut format))
                .map_err(|cause| FeaturesError::Field { field: "response_format", cause })?;
        }
        let outputs = self.raw(Field::StructuredOutputs);
        Ok(Features {
            model: self.model(),
            user: text(self.raw(Field::User)),
            text_bytes: read.iter().map(|counts| counts.text_bytes).sum(),
            token_ids: read.iter().map(|counts| counts.token_ids).sum(),
            images: messages.images,
            audios: messages.audios,
            videos: messages.videos,
            max_tokens: self.max_tokens(),
            tools: tools.tools > 0,
            structured: format || !matches!(outputs, b"" | b"null"),
            stream: self.is_true(Field::Stream),
            side_effects: self.is_true(Field::Store) || tools.run_by_server,
        })
    }

    fn counts(
        &self,
        field: Field,
        name: &'static str,
        place: Place,
    ) -> Result<Counts, FeaturesError> {
        let mut counts = Counts::default();
        let value = self.raw(field);
        if !value.is_empty() {
            walk(value, Node::Counted(place, &mut counts))
                .map_err(|cause| FeaturesError::Field { field: name, cause })?;
        }
        Ok(counts)
    }
}

/// What a JSON string means; copied only where it has escapes.
fn text(value: &[u8]) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice(value).ok().map(Cow::Owned)
}

/// A text as a JSON string.
#[must_use]
pub fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct Walk<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn fields(&mut self, values: &mut [&'a [u8]; FIELDS]) -> Option<()> {
        self.expect(b'{')?;
        self.blanks();
        if self.peek()? == b'}' {
            return self.end();
        }
        loop {
            self.blanks();
            let key = self.string()?;
            let key = key.get(1..key.len() - 1)?;
            self.expect(b':')?;
            self.blanks();
            let value = self.value()?;
            if let Some(field) = Field::named(key) {
                values[field as usize] = value;
            }
            self.blanks();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => return self.end(),
                _ => return None,
            }
        }
    }

    /// The object's last byte, and nothing behind it.
    fn end(&mut self) -> Option<()> {
        self.at += 1;
        self.blanks();
        (self.at == self.body.len()).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.blanks();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        loop {
            self.at += memchr(b'"', self.body.get(self.at..)?)? + 1;
            // It ends the string unless it is escaped: by a backslash that is not escaped itself.
            let before = &self.body[start + 1..self.at - 1];
            let slashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
            if slashes % 2 == 0 {
                return self.body.get(start..self.at);
            }
        }
    }

    fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        match self.peek()? {
            b'"' => return self.string(),
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    match self.peek()? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth = depth.checked_sub(1)?,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => {
                while !matches!(self.peek()?, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
                    self.at += 1;
                }
            }
        }
        self.body.get(start..self.at).filter(|value| !value.is_empty())
    }
}
