//! A request as endpoints get it, and as one gets it that calls the model by another name.

use std::ops::Range;

use protocol::features::json_text;

/// The last field of a head that we write, and what ends it.
const LENGTH: &[u8] = b"\r\ncontent-length: ";
const END: &[u8] = b"\r\n\r\n";

/// A whole request.
#[derive(Debug, Clone)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
    /// Where its body begins.
    body: usize,
    /// Where in the body the value of `model` is.
    model: Option<Range<usize>>,
}

// === impl Message ===

impl<'a> Message<'a> {
    /// Of these bytes, the last of which are its body.
    pub(crate) fn new(bytes: &'a [u8], body: &[u8], model: Option<Range<usize>>) -> Self {
        Self { bytes, body: bytes.len() - body.len(), model }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The same request for another model: only the name in the body, and the length of the body, are others. `None` where the body
    /// names no model.
    pub(crate) fn for_model(&self, name: &str) -> Option<Vec<u8>> {
        let (head, body) = self.bytes.split_at_checked(self.body)?;
        let Range { start, end } = self.model.clone()?;
        let (before, after) = (body.get(..start)?, body.get(end..)?);
        let at = memchr::memmem::rfind(head, LENGTH)?;
        let name = json_text(name);
        let length = (before.len() + name.len() + after.len()).to_string();
        let (head, length) = (&head[..at], length.as_bytes());
        Some([head, LENGTH, length, END, before, name.as_bytes(), after].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_and_the_length_change() {
        let body = br#"{ "model":"chat", "prompt":"\u00e9 model" }"#;
        let head =
            b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: 000000000043\r\n\r\n";
        let bytes = [&head[..], body].concat();
        let message = Message::new(&bytes, body, Some(10..16));
        let sent = String::from_utf8(message.for_model("a \"b\"").unwrap()).unwrap();
        let expected = "POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: 46\r\n\r\n\
                        { \"model\":\"a \\\"b\\\"\", \"prompt\":\"\\u00e9 model\" }";
        assert_eq!(sent, expected);
        assert_eq!(Message::new(&bytes, body, None).for_model("x"), None);
    }
}
