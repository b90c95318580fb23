//! Header blocks: names and values, compressed with one dictionary and one history for the whole connection.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What both sides know before the first header (draft 3.1, section 2.6.10.1).
const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
/// Bytes of a header block, unpacked.
const MOST_BYTES: usize = 64 * 1024;
/// Names of a header block.
const MOST_NAMES: usize = 256;
/// Bytes that are unpacked at once.
const STEP: usize = 4096;

/// Names, in lower case, and values.
pub(crate) type Headers = Vec<(String, String)>;

/// Why a block cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SPDY header block cannot be read")]
pub(crate) struct WrongHeaders;

/// The direction that is read.
pub(crate) struct Unpacker {
    zlib: Decompress,
}

impl Unpacker {
    pub(crate) fn new() -> Self {
        Self { zlib: Decompress::new(true) }
    }

    /// Reads a block. After an error the connection is of no use.
    pub(crate) fn unpack(&mut self, mut block: &[u8]) -> Result<Headers, WrongHeaders> {
        let mut text = Vec::new();
        let mut step = [0; STEP];
        loop {
            let (before_in, before_out) = (self.zlib.total_in(), self.zlib.total_out());
            let status = self.zlib.decompress(block, &mut step, FlushDecompress::Sync);
            let read = usize::try_from(self.zlib.total_in() - before_in).unwrap_or(usize::MAX);
            let made = usize::try_from(self.zlib.total_out() - before_out).unwrap_or(0);
            block = block.get(read..).unwrap_or_default();
            text.extend_from_slice(&step[..made]);
            if text.len() > MOST_BYTES {
                return Err(WrongHeaders);
            }
            match status {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib.set_dictionary(DICTIONARY).map_err(|_| WrongHeaders)?;
                }
                Err(_) => return Err(WrongHeaders),
                // A connection's headers never end.
                Ok(Status::StreamEnd) => return Err(WrongHeaders),
                Ok(_) if read == 0 && made == 0 => break,
                Ok(_) => {}
            }
        }
        parse(&text)
    }
}

fn parse(text: &[u8]) -> Result<Headers, WrongHeaders> {
    let mut rest = text;
    let count = number(&mut rest)?;
    if count > MOST_NAMES {
        return Err(WrongHeaders);
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        headers.push((word(&mut rest)?.to_lowercase(), word(&mut rest)?));
    }
    Ok(headers)
}

fn number(rest: &mut &[u8]) -> Result<usize, WrongHeaders> {
    let (bytes, after) = rest.split_first_chunk::<4>().ok_or(WrongHeaders)?;
    *rest = after;
    usize::try_from(u32::from_be_bytes(*bytes)).map_err(|_| WrongHeaders)
}

fn word(rest: &mut &[u8]) -> Result<String, WrongHeaders> {
    let length = number(rest)?;
    let (word, after) = rest.split_at_checked(length).ok_or(WrongHeaders)?;
    *rest = after;
    Ok(String::from_utf8_lossy(word).into_owned())
}

/// The direction that is written.
pub(crate) struct Packer {
    zlib: Compress,
}

impl Packer {
    pub(crate) fn new() -> Self {
        let mut zlib = Compress::new(Compression::default(), true);
        // It fails only after the first byte.
        let _ = zlib.set_dictionary(DICTIONARY);
        Self { zlib }
    }

    /// Writes a block.
    pub(crate) fn pack(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut text = Vec::new();
        let number = |value: usize, text: &mut Vec<u8>| {
            text.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes());
        };
        number(headers.len(), &mut text);
        for word in headers.iter().flat_map(|(name, value)| [name, value]) {
            number(word.len(), &mut text);
            text.extend_from_slice(word.as_bytes());
        }
        let mut block = Vec::with_capacity(text.len() + 64);
        let mut rest = text.as_slice();
        loop {
            let before = self.zlib.total_in();
            let done = self.zlib.compress_vec(rest, &mut block, FlushCompress::Sync);
            let read = usize::try_from(self.zlib.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(read..).unwrap_or_default();
            let room = block.capacity() - block.len();
            if done.is_err() || (rest.is_empty() && room > 0) {
                return block;
            }
            block.reserve(STEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_block_after_block(
            blocks in prop::collection::vec(prop::collection::vec(("[a-z-]{1,20}", ".{0,100}"), 0..10), 1..5),
        ) {
            let (mut packer, mut unpacker) = (Packer::new(), Unpacker::new());
            for block in blocks {
                let pairs: Vec<(&str, &str)> =
                    block.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                prop_assert_eq!(unpacker.unpack(&packer.pack(&pairs)), Ok(block));
            }
        }

        #[test]
        fn any_bytes_are_a_block_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Unpacker::new().unpack(&bytes);
            let _ = parse(&bytes);
        }
    }
}
