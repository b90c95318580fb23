//! A message as it is written.

/// The wire type of numbers.
const VARINT: u32 = 0;
/// The wire type of text, bytes and messages.
const LENGTH: u32 = 2;

/// A message as it is written.
#[derive(Debug, Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// The message's bytes.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A field of text.
    pub(crate) fn text(&mut self, tag: u32, text: &str) {
        self.field(tag, text.as_bytes());
    }

    /// A field that is a message.
    pub(crate) fn message(&mut self, tag: u32, message: Self) {
        self.field(tag, &message.bytes);
    }

    /// A field that is true or false; absent when false.
    pub(crate) fn boolean(&mut self, tag: u32, value: bool) {
        if value {
            self.varint(u64::from(tag << 3 | VARINT));
            self.varint(1);
        }
    }

    fn field(&mut self, tag: u32, bytes: &[u8]) {
        self.varint(u64::from(tag << 3 | LENGTH));
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}
