//! How an endpoint's answer becomes the client's: framed anew, and streams cut only between two events.
//!
//! A stream's event is passed on as soon as it is complete; what came of the next one is held back. So the client never
//! sees half an event, whenever the endpoint dies, and the event that tells of it is one of its own.

use std::io;
use std::task::Context;

use routing::Reason;

use crate::answer::last_events;
use crate::client::Client;
use crate::limits::MAX_HELD_EVENT;
use crate::request::{Head, push_field};
use crate::response::{Body, ResponseHead, end_of_events};

/// Room before the data for the size of a chunk: 16 digits and a line break.
const BEFORE: usize = 18;
/// Room behind it for the end of the chunk and of the body.
const BEHIND: usize = 2 + LAST_CHUNK.len();
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// An answer under way to the client.
pub(crate) struct Relay {
    framing: Framing,
    is_stream: bool,
    keep_alive: bool,
    /// What there is of an event that is not complete.
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// By its length, or there is no body.
    Length,
    Chunked,
    /// By the end of the connection: for clients of HTTP/1.0.
    Close,
}

impl Relay {
    /// The part of the scratch space that data is read to.
    pub(crate) fn space(scratch: &mut [u8]) -> &mut [u8] {
        let end = scratch.len() - BEHIND;
        &mut scratch[BEFORE..end]
    }

    /// Writes the head, and the data that was `held` back; `done` if that is all.
    pub(crate) fn begin(
        client: &mut Client,
        request: &Head,
        head: &ResponseHead,
        held: Vec<u8>,
        done: bool,
        keep_alive: bool,
    ) -> Self {
        let bodiless = request.is_head || matches!(head.status, 204 | 304);
        let (framing, length) = match head.body {
            _ if bodiless => (Framing::Length, None),
            Body::Length(left) => (Framing::Length, Some(left + held.len() as u64)),
            Body::Chunked(_) | Body::Close if request.is_1_1 => (Framing::Chunked, None),
            Body::Chunked(_) | Body::Close => (Framing::Close, None),
        };
        let keep_alive = keep_alive && framing != Framing::Close;
        let out = client.out();
        out.extend_from_slice(&head.forwarded);
        if let Some(length) = length {
            push_field(out, "content-length", length.to_string().as_bytes());
        }
        if framing == Framing::Chunked {
            push_field(out, "transfer-encoding", b"chunked");
        }
        if !keep_alive {
            push_field(out, "connection", b"close");
        } else if !request.is_1_1 {
            push_field(out, "connection", b"keep-alive");
        }
        out.extend_from_slice(b"\r\n");
        let is_stream = head.is_stream && framing != Framing::Length;
        let mut relay = Self { framing, is_stream, keep_alive, held: Vec::new() };
        relay.push(client, &held, done);
        relay
    }

    pub(crate) fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// Sends `count` bytes of data that stand at the beginning of the [space](Self::space).
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        scratch: &mut [u8],
        count: usize,
        done: bool,
    ) -> io::Result<()> {
        let whole = self.held.is_empty()
            && (!self.is_stream || end_of_events(&scratch[BEFORE..BEFORE + count]) == count);
        if !whole {
            let data = &scratch[BEFORE..BEFORE + count];
            self.push(client, data, done);
            return Ok(());
        }
        let (mut start, mut end) = (BEFORE, BEFORE + count);
        if self.framing == Framing::Chunked {
            if count > 0 {
                start = size_line(scratch, count);
                scratch[end..end + 2].copy_from_slice(b"\r\n");
                end += 2;
            }
            if done {
                scratch[end..end + LAST_CHUNK.len()].copy_from_slice(LAST_CHUNK);
                end += LAST_CHUNK.len();
            }
        }
        if start < end { client.send(cx, &scratch[start..end]) } else { Ok(()) }
    }

    /// The same by way of what is to be sent: at the beginning, and where an event came in pieces.
    fn push(&mut self, client: &mut Client, data: &[u8], done: bool) {
        let out = client.out();
        if !self.is_stream {
            self.frame(out, data);
        } else {
            self.held.extend_from_slice(data);
            let end = match end_of_events(&self.held) {
                _ if done || self.held.len() > MAX_HELD_EVENT => self.held.len(),
                end => end,
            };
            let rest = self.held.split_off(end);
            let events = std::mem::replace(&mut self.held, rest);
            self.frame(out, &events);
        }
        if done && self.framing == Framing::Chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
    }

    fn frame(&self, out: &mut Vec<u8>, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if self.framing == Framing::Chunked {
            out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        }
        out.extend_from_slice(data);
        if self.framing == Framing::Chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Ends a stream by an event that says why. `false` where there is no way but to hang up.
    pub(crate) fn cut_off(&mut self, client: &mut Client, reason: Reason) -> bool {
        if !self.is_stream {
            return false;
        }
        self.held.clear();
        let out = client.out();
        self.frame(out, last_events(reason).as_bytes());
        if self.framing == Framing::Chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
        true
    }
}

/// Writes the size of a chunk so that it ends where the data begins; returns where it starts.
fn size_line(scratch: &mut [u8], mut count: usize) -> usize {
    let mut at = BEFORE - 2;
    scratch[at..BEFORE].copy_from_slice(b"\r\n");
    while count > 0 {
        at -= 1;
        scratch[at] = b"0123456789abcdef"[count % 16];
        count /= 16;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_chunk_stands_right_before_its_data() {
        let mut scratch = [0; 64];
        for count in [1, 15, 16, 255, 65_000, usize::MAX] {
            let start = size_line(&mut scratch, count);
            assert_eq!(scratch[start..BEFORE], *format!("{count:x}\r\n").as_bytes());
        }
    }
}
