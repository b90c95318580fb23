//! The chunked transfer coding, read strictly: whatever two readers could read in two ways is refused.
//!
//! Source: RFC 9112, section 7.1.

/// Digits of a chunk's size: up to 2^60, more than anybody sends.
const MAX_SIZE_DIGITS: usize = 15;
/// Bytes of a chunk's extension, which are read over.
const MAX_EXTENSION: usize = 256;
/// Bytes of all trailers, which are read over.
const MAX_TRAILERS: usize = 8 << 10;

/// Not a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not framed as chunks")]
pub(crate) struct BadChunk;

/// Where in the coding the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Chunks {
    place: Place,
    /// What the size line says, or what is left of the data.
    left: u64,
    /// Digits, bytes of an extension, or bytes of trailers so far.
    count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

impl Chunks {
    /// Whether the last chunk and the trailers were read.
    pub(crate) fn is_done(self) -> bool {
        self.place == Place::Done
    }

    /// Reads `bytes`, and moves the data among them to their front. Returns how many bytes of data there are, and how many
    /// were read: all, unless the body ends before.
    pub(crate) fn decode(&mut self, bytes: &mut [u8]) -> Result<(usize, usize), BadChunk> {
        let (mut read, mut data) = (0, 0);
        while read < bytes.len() && self.place != Place::Done {
            if self.place == Place::Data {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let count = left.min(bytes.len() - read);
                bytes.copy_within(read..read + count, data);
                (read, data) = (read + count, data + count);
                self.left -= count as u64;
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
            } else {
                self.frame(bytes[read])?;
                read += 1;
            }
        }
        Ok((data, read))
    }

    /// Reads one byte that is not data.
    fn frame(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.place = match (self.place, byte) {
            (Place::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.left = self.left << 4 | u64::from(digit);
                self.counted(MAX_SIZE_DIGITS)?;
                Place::Size
            }
            (Place::Size, b'\r') if self.count > 0 => Place::SizeLf,
            (Place::Size, b';' | b' ' | b'\t') if self.count > 0 => {
                self.count = 0;
                Place::Extension
            }
            (Place::Extension, b'\r') => Place::SizeLf,
            (Place::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.counted(MAX_EXTENSION)?;
                Place::Extension
            }
            (Place::SizeLf, b'\n') => {
                self.count = 0;
                if self.left == 0 { Place::TrailerStart } else { Place::Data }
            }
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size,
            (Place::TrailerStart, b'\r') => Place::EndLf,
            (Place::TrailerStart | Place::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.counted(MAX_TRAILERS)?;
                Place::Trailer
            }
            (Place::Trailer, b'\r') => Place::TrailerLf,
            (Place::TrailerLf, b'\n') => Place::TrailerStart,
            (Place::EndLf, b'\n') => Place::Done,
            _ => return Err(BadChunk),
        };
        Ok(())
    }

    fn counted(&mut self, limit: usize) -> Result<(), BadChunk> {
        self.count += 1;
        if self.count > limit { Err(BadChunk) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(text: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), BadChunk> {
        let mut chunks = Chunks::default();
        let (mut out, mut total) = (Vec::new(), 0);
        for part in text.chunks(piece) {
            let mut part = part.to_vec();
            let (data, read) = chunks.decode(&mut part)?;
            out.extend_from_slice(&part[..data]);
            total += read;
        }
        Ok((out, total, chunks.is_done()))
    }

    #[test]
    fn what_follows_the_body_is_left_alone() {
        let text = b"4;ext=1\r\nWiki\r\n05\r\npedia\r\n0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1";
        let (data, read, done) = decode(text, 1000).unwrap();
        assert_eq!((data.as_slice(), done), (&b"Wikipedia"[..], true));
        assert_eq!(&text[read..], b"GET / HTTP/1.1");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            &b"4\nWiki\r\n"[..],
            b"\r\n",
            b"4\r\nWikiX\r\n",
            b"4\r\nWiki\n0\r\n\r\n",
            b"0x4\r\nWiki\r\n",
            b"+4\r\nWiki\r\n",
            b"-1\r\n",
            b";ext\r\n",
            b" 4\r\nWiki\r\n",
            b"11111111111111111\r\n",
            b"4;\x00\r\nWiki\r\n",
            b"4\r\rWiki\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\n\n",
        ] {
            assert_eq!(decode(text, 1000), Err(BadChunk), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_have_an_end() {
        let long = [b"1;".to_vec(), vec![b'x'; MAX_EXTENSION + 1], b"\r\n".to_vec()].concat();
        assert_eq!(decode(&long, 1000), Err(BadChunk));
        let many = [b"0\r\n".to_vec(), b"A: b\r\n".repeat(MAX_TRAILERS)].concat();
        assert_eq!(decode(&many, 1000), Err(BadChunk));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            piece in 1_usize..50,
        ) {
            let mut text = Vec::new();
            for part in &parts {
                text.extend_from_slice(format!("{:X}\r\n", part.len()).as_bytes());
                text.extend_from_slice(part);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let (data, read, done) = decode(&text, piece).unwrap();
            prop_assert_eq!(data, parts.concat());
            prop_assert_eq!((read, done), (text.len(), true));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(prop::sample::select(b"0123af;\r\n x:".to_vec()), 0..200),
            piece in 1_usize..50,
        ) {
            let whole = decode(&bytes, 1000);
            prop_assert_eq!(decode(&bytes, piece), whole);
        }
    }
}
