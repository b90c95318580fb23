//! Frames: what goes over the connection.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a frame's content: what the protocol can say.
const MOST_BYTES: usize = 0xff_ffff;
/// Bytes of a frame that are read at most: clients send data in pieces of 32 KiB, and headers are shorter.
const LARGEST: usize = 1024 * 1024;
/// Bytes before a frame's content.
const HEAD: usize = 8;
/// The protocol's version.
const VERSION: u16 = 3;
/// The last frame of a stream's direction.
pub(crate) const FIN: u8 = 1;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Bytes of a stream.
    Data { stream: u32, fin: bool, bytes: Bytes },
    /// A new stream, with its header block.
    Syn { stream: u32, fin: bool, block: Bytes },
    /// The answer to a new stream.
    Reply { stream: u32, block: Bytes },
    /// A stream ends at once.
    Reset { stream: u32, status: u32 },
    /// A sign of life.
    Ping { id: u32 },
    /// No more streams.
    GoAway,
    /// More headers of a stream.
    Headers { stream: u32, block: Bytes },
    /// What we need not know: settings, windows.
    Other,
}

/// Why there are no more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SPDY frame is too large, or of another version")]
pub(crate) struct WrongFrame;

impl Frame {
    /// Takes the next frame from what has come; none if it has not come as a whole.
    pub(crate) fn take(from: &mut BytesMut) -> Result<Option<Self>, WrongFrame> {
        let Some(head) = from.first_chunk::<HEAD>() else { return Ok(None) };
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if length > LARGEST {
            return Err(WrongFrame);
        }
        if from.len() < HEAD + length {
            return Ok(None);
        }
        from.advance(HEAD);
        let content = from.split_to(length).freeze();
        let fin = flags & FIN != 0;
        if first >> 31 == 0 {
            return Ok(Some(Self::Data { stream: first, fin, bytes: content }));
        }
        let (version, kind) = ((first >> 16) as u16 & 0x7fff, first as u16);
        if version != VERSION {
            return Err(WrongFrame);
        }
        Self::control(kind, fin, content).map(Some)
    }

    fn control(kind: u16, fin: bool, mut content: Bytes) -> Result<Self, WrongFrame> {
        let mut number = || content.try_get_u32().map_err(|_| WrongFrame);
        Ok(match kind {
            1 => {
                let stream = number()? & 0x7fff_ffff;
                // The stream it belongs to, its priority and its slot: nobody uses them.
                number()?;
                content.try_get_u16().map_err(|_| WrongFrame)?;
                Self::Syn { stream, fin, block: content }
            }
            2 => Self::Reply { stream: number()? & 0x7fff_ffff, block: content },
            3 => Self::Reset { stream: number()? & 0x7fff_ffff, status: number()? },
            6 => Self::Ping { id: number()? },
            7 => Self::GoAway,
            8 => Self::Headers { stream: number()? & 0x7fff_ffff, block: content },
            _ => Self::Other,
        })
    }

    /// Writes a frame that we send.
    pub(crate) fn put(&self, to: &mut BytesMut) {
        match self {
            Self::Data { stream, fin, bytes } => {
                let mut rest = bytes.as_ref();
                loop {
                    let (now, after) = rest.split_at(rest.len().min(MOST_BYTES));
                    rest = after;
                    to.put_u32(*stream);
                    length(to, if *fin && rest.is_empty() { FIN } else { 0 }, now.len());
                    to.put_slice(now);
                    if rest.is_empty() {
                        break;
                    }
                }
            }
            Self::Syn { stream, fin, block } => {
                head(to, 1, if *fin { FIN } else { 0 }, block.len() + 10);
                to.put_u32(*stream);
                to.put_u32(0);
                to.put_u16(0);
                to.put_slice(block);
            }
            Self::Reply { stream, block } => {
                head(to, 2, 0, block.len() + 4);
                to.put_u32(*stream);
                to.put_slice(block);
            }
            Self::Reset { stream, status } => {
                head(to, 3, 0, 8);
                to.put_u32(*stream);
                to.put_u32(*status);
            }
            Self::Ping { id } => {
                head(to, 6, 0, 4);
                to.put_u32(*id);
            }
            Self::GoAway => {
                head(to, 7, 0, 8);
                to.put_u64(0);
            }
            Self::Headers { stream, block } => {
                head(to, 8, 0, block.len() + 4);
                to.put_u32(*stream);
                to.put_slice(block);
            }
            Self::Other => {}
        }
    }
}

fn head(to: &mut BytesMut, kind: u16, flags: u8, content: usize) {
    to.put_u16(0x8000 | VERSION);
    to.put_u16(kind);
    length(to, flags, content);
}

fn length(to: &mut BytesMut, flags: u8, content: usize) {
    let content = u32::try_from(content.min(MOST_BYTES)).unwrap_or(0);
    to.put_u32(u32::from(flags) << 24 | content);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> impl Strategy<Value = Frame> {
        let bytes = prop::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
        let stream = 1..0x7fff_ffffu32;
        prop_oneof![
            (stream.clone(), any::<bool>(), bytes.clone())
                .prop_map(|(stream, fin, bytes)| Frame::Data { stream, fin, bytes }),
            (stream.clone(), any::<bool>(), bytes.clone())
                .prop_map(|(stream, fin, block)| Frame::Syn { stream, fin, block }),
            (stream.clone(), bytes.clone())
                .prop_map(|(stream, block)| Frame::Reply { stream, block }),
            (stream.clone(), any::<u32>())
                .prop_map(|(stream, status)| Frame::Reset { stream, status }),
            any::<u32>().prop_map(|id| Frame::Ping { id }),
            (stream, bytes).prop_map(|(stream, block)| Frame::Headers { stream, block }),
            Just(Frame::GoAway),
        ]
    }

    proptest! {
        #[test]
        fn frames_that_are_written_are_read(frames in prop::collection::vec(frame(), 0..8)) {
            let mut wire = BytesMut::new();
            frames.iter().for_each(|frame| frame.put(&mut wire));
            for expected in frames {
                prop_assert_eq!(Frame::take(&mut wire), Ok(Some(expected)));
            }
            prop_assert_eq!(Frame::take(&mut wire), Ok(None));
        }

        #[test]
        fn any_bytes_are_frames_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut wire = BytesMut::from(bytes.as_slice());
            while let Ok(Some(_)) = Frame::take(&mut wire) {}
        }
    }
}
