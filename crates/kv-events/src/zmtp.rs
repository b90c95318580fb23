//! `ZeroMQ`'s wire protocol, ZMTP 3.1 (RFC 37), as far as a subscriber speaks it: greeting, commands, frames. Pure.
//!
//! No security but the mechanism NULL, which is what vLLM's publisher offers. Frames, messages and commands are bounded here: nothing
//! is kept of one that is too large.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of one message, all its parts together.
pub const MAX_MESSAGE: usize = 8 << 20;
/// Parts of one message.
pub const MAX_PARTS: usize = 8;
/// Bytes of one command.
pub const MAX_COMMAND: usize = 8 << 10;

/// Bytes of a greeting.
pub(crate) const GREETING: usize = 64;
/// Where versions and the mechanism are in it.
const MAJOR: usize = 10;
const MINOR: usize = 11;
const MECHANISM: std::ops::Range<usize> = 12..32;
const NULL: &[u8; 4] = b"NULL";

/// Flags of a frame.
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// Why a peer is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It speaks something else.
    #[error("does not greet as ZeroMQ does: is this the port of `--kv-events-config`?")]
    NotZmtp,
    /// An older ZeroMQ.
    #[error("speaks version {0} of ZMTP, and 3 is needed: libzmq has it since 4.0")]
    Version(u8),
    /// It wants to know who we are.
    #[error("asks for another mechanism than NULL: KV events are heard without credentials only")]
    Mechanism,
    /// It is no publisher.
    #[error("is a socket of type {0:?} and no publisher: is this its replay endpoint?")]
    SocketType(String),
    /// It says no.
    #[error("refuses: {0:?}")]
    Refused(String),
    /// It breaks the protocol.
    #[error("breaks ZMTP: {0}")]
    Broken(&'static str),
    /// It sends more than is read.
    #[error("sends {size} bytes as one {what}, and at most {limit} are read")]
    TooLarge {
        /// A message or a command.
        what: &'static str,
        /// How much.
        size: u64,
        /// How much is read.
        limit: usize,
    },
    /// It sends more than is read.
    #[error("sends more than {MAX_PARTS} parts in a message")]
    TooManyParts,
}

/// What we say first.
pub(crate) fn greeting() -> [u8; GREETING] {
    let mut greeting = [0; GREETING];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[MAJOR] = 3;
    greeting[MINOR] = 1;
    greeting[MECHANISM][..NULL.len()].copy_from_slice(NULL);
    greeting
}

/// What a peer says of itself first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Greeted {
    /// Whether it knows 3.1: subscriptions as commands, and PING.
    pub(crate) has_commands: bool,
}

/// Takes a peer's greeting off the front. `None`: it is not complete yet; a peer that is wrong is so as soon as that shows.
pub(crate) fn greeted(input: &mut BytesMut) -> Result<Option<Greeted>, Error> {
    let is = |at: usize, byte: u8| input.get(at).is_none_or(|said| *said == byte);
    if !is(0, 0xff) || !is(9, 0x7f) {
        return Err(Error::NotZmtp);
    }
    match input.get(MAJOR) {
        Some(major) if *major < 3 => return Err(Error::Version(*major)),
        _ => {}
    }
    if input.len() < GREETING {
        return Ok(None);
    }
    let said = input.split_to(GREETING);
    let (name, padding) = said[MECHANISM].split_at(NULL.len());
    if name != NULL || padding.iter().any(|byte| *byte != 0) {
        return Err(Error::Mechanism);
    }
    Ok(Some(Greeted { has_commands: said[MAJOR] > 3 || said[MINOR] >= 1 }))
}

/// A frame of at most 255 bytes, or of more.
fn frame(flags: u8, body: &[&[u8]]) -> Vec<u8> {
    let size: usize = body.iter().map(|part| part.len()).sum();
    let mut frame = match u8::try_from(size) {
        Ok(size) => vec![flags, size],
        Err(_long) => {
            let mut frame = vec![flags | LONG];
            frame.extend((size as u64).to_be_bytes());
            frame
        }
    };
    body.iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

/// The handshake of the mechanism NULL.
pub(crate) fn ready() -> Vec<u8> {
    frame(COMMAND, &[b"\x05READY", b"\x0bSocket-Type", &3u32.to_be_bytes(), b"SUB"])
}

/// Asks for messages that begin with `topic`; empty: for all.
pub(crate) fn subscribe(topic: &[u8], has_commands: bool) -> Vec<u8> {
    if has_commands { frame(COMMAND, &[b"\x09SUBSCRIBE", topic]) } else { frame(0, &[&[1], topic]) }
}

/// Asks whether somebody is there. We do not ask to be hung up on.
pub(crate) fn ping() -> Vec<u8> {
    frame(COMMAND, &[b"\x04PING", &[0, 0]])
}

/// Says that we are.
pub(crate) fn pong(context: &[u8]) -> Vec<u8> {
    frame(COMMAND, &[b"\x04PONG", context])
}

/// What a peer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Received {
    Command(Command),
    Message(Vec<Bytes>),
}

/// A command that a subscriber must understand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// The handshake is over.
    Ready,
    /// To be answered with this.
    Ping(Bytes),
    /// PONG, and whatever else we need not know.
    Other,
}

impl Command {
    fn read(mut body: Bytes) -> Result<Self, Error> {
        let name = sized(&mut body, 1).ok_or(Error::Broken("a command without a name"))?;
        match &*name {
            b"READY" => is_publisher(body).map(|()| Self::Ready),
            b"ERROR" => {
                let reason = sized(&mut body, 1).unwrap_or_default();
                Err(Error::Refused(String::from_utf8_lossy(&reason).into_owned()))
            }
            b"PING" if body.len() < 2 => Err(Error::Broken("a PING without a time")),
            b"PING" if body.len() > 18 => Err(Error::Broken("a PING of more than 16 bytes")),
            b"PING" => Ok(Self::Ping(body.split_off(2))),
            _ => Ok(Self::Other),
        }
    }
}

/// What stands behind its size.
fn sized(from: &mut Bytes, size: usize) -> Option<Bytes> {
    let len = from.get(..size)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    from.advance(size);
    (len <= from.len()).then(|| from.split_to(len))
}

/// Who does not say what it is may be one.
fn is_publisher(mut properties: Bytes) -> Result<(), Error> {
    let broken = || Error::Broken("properties of READY that are cut off");
    while !properties.is_empty() {
        let name = sized(&mut properties, 1).ok_or_else(broken)?;
        let value = sized(&mut properties, 4).ok_or_else(broken)?;
        if name.eq_ignore_ascii_case(b"socket-type") && !matches!(&*value, b"PUB" | b"XPUB") {
            return Err(Error::SocketType(String::from_utf8_lossy(&value).into_owned()));
        }
    }
    Ok(())
}

/// Puts messages together.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Of a message that is not complete.
    parts: Vec<Bytes>,
    /// Bytes of those.
    size: usize,
}

// === impl Frames ===

impl Frames {
    /// Takes the next command or message off the front, if it is complete.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Received>, Error> {
        loop {
            let Some((flags, size, header)) = header(input)? else { return Ok(None) };
            let size = self.checked(flags, size)?;
            if input.len() < header + size {
                input.reserve(header + size - input.len());
                return Ok(None);
            }
            input.advance(header);
            let body = input.split_to(size).freeze();
            if flags & COMMAND != 0 {
                return Command::read(body).map(|command| Some(Received::Command(command)));
            }
            self.parts.push(body);
            self.size += size;
            if flags & MORE == 0 {
                self.size = 0;
                return Ok(Some(Received::Message(std::mem::take(&mut self.parts))));
            }
        }
    }

    /// The size of the next frame, if there is room for it.
    fn checked(&self, flags: u8, size: u64) -> Result<usize, Error> {
        let (what, limit, taken) = match flags & COMMAND {
            0 => ("message", MAX_MESSAGE, self.size),
            _ => ("command", MAX_COMMAND, 0),
        };
        let fits = usize::try_from(size).ok().filter(|size| *size <= limit - taken);
        let all = size.saturating_add(taken as u64);
        let size = fits.ok_or(Error::TooLarge { what, size: all, limit })?;
        let is_part = flags & COMMAND == 0;
        if is_part && self.parts.len() == MAX_PARTS { Err(Error::TooManyParts) } else { Ok(size) }
    }
}

/// Flags, the size of the body, and the size of this, once it is complete.
fn header(input: &[u8]) -> Result<Option<(u8, u64, usize)>, Error> {
    let Some((flags, rest)) = input.split_first() else { return Ok(None) };
    if flags & !(MORE | LONG | COMMAND) != 0 {
        return Err(Error::Broken("unknown flags of a frame"));
    }
    if flags & COMMAND != 0 && flags & MORE != 0 {
        return Err(Error::Broken("a command in more than one frame"));
    }
    Ok(if flags & LONG == 0 {
        rest.first().map(|size| (*flags, u64::from(*size), 2))
    } else {
        rest.first_chunk().map(|size| (*flags, u64::from_be_bytes(*size), 9))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of bytes that arrive in pieces of `piece`.
    fn received(bytes: &[u8], piece: usize) -> Result<Vec<Received>, Error> {
        let (mut input, mut frames, mut all) = (BytesMut::new(), Frames::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            input.extend_from_slice(piece);
            while let Some(received) = frames.next(&mut input)? {
                all.push(received);
            }
        }
        Ok(all)
    }

    fn message(parts: &[&[u8]]) -> Received {
        Received::Message(parts.iter().map(|part| Bytes::copy_from_slice(part)).collect())
    }

    #[test]
    fn the_greeting_is_that_of_the_rfc() {
        let mut expected = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\x01NULL".to_vec();
        expected.resize(64, 0);
        assert_eq!(greeting().as_slice(), expected);
        let mut own = BytesMut::from(&greeting()[..]);
        assert_eq!(greeted(&mut own), Ok(Some(Greeted { has_commands: true })));
        assert!(own.is_empty());
    }

    #[test]
    fn a_peer_is_known_by_its_greeting() {
        let with = |at: usize, bytes: &[u8]| {
            let mut said = greeting();
            said[at..at + bytes.len()].copy_from_slice(bytes);
            greeted(&mut BytesMut::from(&said[..]))
        };
        assert_eq!(with(MINOR, &[0]), Ok(Some(Greeted { has_commands: false })));
        assert_eq!(with(MAJOR, &[4, 0]), Ok(Some(Greeted { has_commands: true })));
        assert_eq!(with(1, &[7; 8]), Ok(Some(Greeted { has_commands: true })), "padding");
        assert_eq!(with(12, b"CURVE"), Err(Error::Mechanism));
        assert_eq!(with(12, b"NULLS"), Err(Error::Mechanism));
        assert_eq!(greeted(&mut BytesMut::from("HTTP/1.1 400")), Err(Error::NotZmtp));
        // ZMTP 2 waits for our side after its first bytes.
        assert_eq!(
            greeted(&mut BytesMut::from(&b"\xff\0\0\0\0\0\0\0\x01\x7f\x01"[..])),
            Err(Error::Version(1))
        );
        assert_eq!(greeted(&mut BytesMut::from(&greeting()[..63])), Ok(None));
    }

    #[test]
    fn what_we_say_is_that_of_the_rfc() {
        assert_eq!(ready(), b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB");
        assert_eq!(subscribe(b"kv", true), b"\x04\x0c\x09SUBSCRIBEkv");
        assert_eq!(subscribe(b"kv", false), b"\0\x03\x01kv");
        assert_eq!(ping(), b"\x04\x07\x04PING\0\0");
        assert_eq!(pong(b"ctx"), b"\x04\x08\x04PONGctx");
        let long = subscribe(&[b'x'; 300], true);
        assert_eq!(&long[..9], b"\x06\0\0\0\0\0\0\x01\x36");
    }

    #[test]
    fn messages_and_commands_are_told_apart_however_they_arrive() {
        let mut bytes = b"\x01\x02kv\x03\0\0\0\0\0\0\0\x01x".to_vec();
        // A command may stand between the parts of a message.
        bytes.extend(b"\x04\x09\x04PING\0\0ab\x00\x00\x00\x01y");
        let ping = Received::Command(Command::Ping(Bytes::from_static(b"ab")));
        let expected = [ping, message(&[b"kv", b"x", b""]), message(&[b"y"])];
        for piece in 1..=bytes.len() {
            assert_eq!(received(&bytes, piece).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn ready_says_who_is_there() {
        let ready = |kind: &[u8]| {
            let size = u32::try_from(kind.len()).unwrap().to_be_bytes();
            let properties: [&[u8]; 5] =
                [b"\x05READY", b"\x01x\0\0\0\0", b"\x0bsocket-type", &size, kind];
            received(&frame(COMMAND, &properties), 1)
        };
        assert_eq!(ready(b"PUB"), Ok(vec![Received::Command(Command::Ready)]));
        assert_eq!(ready(b"XPUB"), Ok(vec![Received::Command(Command::Ready)]));
        assert_eq!(ready(b"ROUTER"), Err(Error::SocketType("ROUTER".to_owned())));
        let cut = frame(COMMAND, &[b"\x05READY", b"\x0bSocket-Type\0\0\0\x09PUB"]);
        assert!(matches!(received(&cut, 1), Err(Error::Broken(_))));
        let refused = frame(COMMAND, &[b"\x05ERROR", b"\x02no"]);
        assert_eq!(received(&refused, 1), Err(Error::Refused("no".to_owned())));
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_comes() {
        let claim = |flags: u8, size: usize| {
            let mut bytes = vec![flags | LONG];
            bytes.extend((size as u64).to_be_bytes());
            received(&bytes, 9)
        };
        assert_eq!(claim(0, MAX_MESSAGE), Ok(vec![]));
        assert!(matches!(claim(0, MAX_MESSAGE + 1), Err(Error::TooLarge { what: "message", .. })));
        assert!(matches!(claim(0, usize::MAX), Err(Error::TooLarge { .. })));
        assert!(matches!(
            claim(COMMAND, MAX_COMMAND + 1),
            Err(Error::TooLarge { what: "command", .. })
        ));
        assert!(matches!(received(&[8], 1), Err(Error::Broken(_))));
        assert!(matches!(received(&[COMMAND | MORE], 1), Err(Error::Broken(_))));
        assert_eq!(received(&[MORE, 0].repeat(MAX_PARTS + 1), 2), Err(Error::TooManyParts));
        let mut two = frame(MORE, &[&[0; 1000]]);
        two.push(LONG);
        two.extend((MAX_MESSAGE as u64).to_be_bytes());
        assert!(matches!(received(&two, two.len()), Err(Error::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn random_bytes_do_no_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            piece in 1usize..50,
        ) {
            let whole = received(&bytes, 300);
            prop_assert_eq!(received(&bytes, piece), whole, "pieces change nothing");
            let _greeted = greeted(&mut BytesMut::from(&bytes[..]));
        }

        #[test]
        fn a_message_comes_as_it_was_sent(
            parts in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..400), 1..MAX_PARTS),
            piece in 1usize..500,
        ) {
            let last = parts.len() - 1;
            let frames = parts.iter().enumerate();
            let bytes: Vec<u8> =
                frames.flat_map(|(at, part)| frame(u8::from(at < last), &[part])).collect();
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(received(&bytes, piece).unwrap(), [message(&slices)]);
        }
    }
}
