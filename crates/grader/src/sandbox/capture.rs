//! What a program printed, kept within a limit: its beginning and its end; the middle is counted.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// One captured stream. Bytes that are not UTF-8 are replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// The beginning.
    pub head: String,
    /// Bytes between beginning and end that were read and dropped.
    pub omitted_bytes: u64,
    /// The end; empty while all of it fits into the beginning.
    pub tail: String,
}

impl Capture {
    /// A text that was captured whole.
    #[must_use]
    pub fn whole(text: &str) -> Self {
        Self { head: text.to_owned(), ..Self::default() }
    }

    /// The lines of beginning and end.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.head.lines().chain(self.tail.lines())
    }

    /// Reads a stream to its end; at most `kept_bytes` of it stay in memory. `seen` counts while it reads.
    pub(crate) fn drain(mut stream: impl Read, kept_bytes: usize, seen: &AtomicU64) -> Self {
        let half = kept_bytes / 2;
        let (mut head, mut tail) = (Vec::new(), VecDeque::new());
        let mut omitted_bytes = 0;
        let mut buffer = [0; 16 << 10];
        loop {
            let read = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            seen.fetch_add(read as u64, Ordering::Relaxed);
            let room = half.saturating_sub(head.len()).min(read);
            head.extend_from_slice(&buffer[..room]);
            tail.extend(&buffer[room..read]);
            let excess = tail.len().saturating_sub(half);
            tail.drain(..excess);
            omitted_bytes += excess as u64;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if omitted_bytes == 0 {
            head.extend(tail.drain(..));
        }
        Self { head: text(&head), omitted_bytes, tail: text(tail.make_contiguous()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_fits_in_one_piece() {
        let capture = Capture::drain(&b"one\ntwo\n"[..], 10, &AtomicU64::new(0));
        assert_eq!(capture, Capture::whole("one\ntwo\n"));
    }

    #[test]
    fn keeps_beginning_and_end_of_a_flood_and_counts_the_rest() {
        let flood = [vec![b'a'; 100_000], vec![b'z'; 100_000]].concat();
        let seen = AtomicU64::new(0);
        let capture = Capture::drain(&flood[..], 1000, &seen);
        assert_eq!(capture.head, "a".repeat(500));
        assert_eq!(capture.tail, "z".repeat(500));
        assert_eq!(capture.omitted_bytes, 199_000);
        assert_eq!(seen.into_inner(), 200_000);
    }
}
