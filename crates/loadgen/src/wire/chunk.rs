//! A body in chunks, as far as it is not the body itself: the lines before, between and behind them. Source: RFC
//! 9112, section 7.1.

use super::response::{MAX_HEAD_BYTES, ResponseError};

/// The longest line that announces a chunk, extensions included.
pub(super) const MAX_LINE: usize = 1024;

/// Where we are in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the line that announces a chunk: its size so far, digits and bytes seen.
    Line { size: u64, digits: u8, seen: usize, extension: bool },
    /// In a chunk: bytes left.
    Data(u64),
    /// Behind a chunk, before its line break.
    DataEnd,
    /// Behind the last chunk: bytes in this line, bytes in all.
    Trailer { line: usize, seen: usize },
}

impl Chunk {
    /// Before the line that announces the first one, or the next.
    pub(super) const FIRST: Self = Self::Line { size: 0, digits: 0, seen: 0, extension: false };

    /// One byte of what stands between chunks; `None` where it was the last of the body.
    pub(super) fn after(self, byte: u8) -> Result<Option<Self>, ResponseError> {
        let next = match (self, byte) {
            (Self::Line { digits: 0, .. }, b'\n') => return Err(ResponseError::Chunk),
            (Self::Line { size: 0, .. }, b'\n') => Self::Trailer { line: 0, seen: 0 },
            (Self::Line { size, .. }, b'\n') => Self::Data(size),
            (Self::Line { size, digits, seen, extension }, byte) => {
                if seen == MAX_LINE {
                    return Err(ResponseError::Chunk);
                }
                let seen = seen + 1;
                match char::from(byte).to_digit(16) {
                    Some(digit) if !extension => {
                        // Sixteen digits fill 64 bits.
                        if digits == 16 {
                            return Err(ResponseError::Chunk);
                        }
                        let size = size << 4 | u64::from(digit);
                        Self::Line { size, digits: digits + 1, seen, extension }
                    }
                    None if !extension && !matches!(byte, b';' | b'\r' | b' ' | b'\t') => {
                        return Err(ResponseError::Chunk);
                    }
                    _ => Self::Line { size, digits, seen, extension: true },
                }
            }
            (Self::DataEnd, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::FIRST,
            (Self::DataEnd | Self::Data(_), _) => return Err(ResponseError::Chunk),
            (Self::Trailer { line: 0, .. }, b'\n') => return Ok(None),
            (Self::Trailer { seen: MAX_HEAD_BYTES, .. }, _) => return Err(ResponseError::LongHead),
            (Self::Trailer { seen, .. }, b'\n') => Self::Trailer { line: 0, seen: seen + 1 },
            (Self::Trailer { line, seen }, b'\r') => Self::Trailer { line, seen: seen + 1 },
            (Self::Trailer { line, seen }, _) => Self::Trailer { line: line + 1, seen: seen + 1 },
        };
        Ok(Some(next))
    }
}
