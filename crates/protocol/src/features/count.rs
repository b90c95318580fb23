//! Goes through one value of a body, and counts what a model will read.
//!
//! Builds no tree: what does not matter is skipped without being looked at. Nesting is limited by
//! [`MAX_NESTING`](crate::openai::MAX_NESTING), which is `serde_json`'s own limit.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What one field adds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) text_bytes: u64,
    pub(super) token_ids: u64,
    pub(super) images: u32,
    pub(super) audios: u32,
    pub(super) videos: u32,
    pub(super) tools: u32,
    pub(super) run_by_server: bool,
}

/// Goes through a value, and through nothing behind it.
pub(super) fn walk(value: &[u8], node: Node<'_>) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_slice(value);
    Walk(node).deserialize(&mut json)?;
    json.end()
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

/// Where in the body something is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
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
pub(super) enum Node<'f> {
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
