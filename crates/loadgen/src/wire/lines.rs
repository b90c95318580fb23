//! Cuts a stream of server-sent events into its data lines.
//!
//! OpenAI's streams hold one JSON object in one `data:` line, so that a line is an event here. Other fields and
//! comments are skipped. Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

/// The longest line.
pub(crate) const MAX_LINE_BYTES: usize = 1 << 20;

/// A line was longer than [`MAX_LINE_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is longer than {MAX_LINE_BYTES} bytes")]
pub(crate) struct LongLine;

/// Finds lines in whatever pieces they come.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The beginning of a line whose end is still to come.
    partial: Vec<u8>,
}

impl Lines {
    /// Begins anew; keeps its memory.
    pub(crate) fn reset(&mut self) {
        self.partial.clear();
    }

    /// Hands each complete data line in `input`, and in what came before, to `on_data`.
    pub(crate) fn push<E: From<LongLine>>(
        &mut self,
        mut input: &[u8],
        mut on_data: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = memchr::memchr(b'\n', input) {
            let (line, rest) = input.split_at(end);
            input = &rest[1..];
            if self.partial.is_empty() {
                data(line).map_or(Ok(()), &mut on_data)?;
            } else {
                self.keep(line)?;
                let told = data(&self.partial).map_or(Ok(()), &mut on_data);
                self.partial.clear();
                told?;
            }
        }
        self.keep(input)?;
        Ok(())
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), LongLine> {
        if self.partial.len() + part.len() > MAX_LINE_BYTES {
            return Err(LongLine);
        }
        self.partial.extend_from_slice(part);
        Ok(())
    }
}

fn data(line: &[u8]) -> Option<&[u8]> {
    let data = line.strip_prefix(b"data:")?;
    Some(data.trim_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data_of(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines
                .push(piece, |data| {
                    seen.push(data.to_vec());
                    Ok::<_, LongLine>(())
                })
                .unwrap();
        }
        seen
    }

    #[test]
    fn data_lines_are_found_among_other_lines() {
        let stream = b": ping\r\nevent: x\r\ndata: {\"a\":1}\r\n\r\ndata:[DONE]\n\ndata: cut";
        assert_eq!(data_of(&[stream]), [b"{\"a\":1}".to_vec(), b"[DONE]".to_vec()]);
    }

    #[test]
    fn what_protocol_writes_is_read_back() {
        let mut frames = String::new();
        protocol::sse::push_frame(&mut frames, &"two\nlines").unwrap();
        frames.push_str(protocol::sse::DONE);
        assert_eq!(data_of(&[frames.as_bytes()]), [&b"\"two\\nlines\""[..], b"[DONE]"]);
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let long = vec![b'x'; MAX_LINE_BYTES + 1];
        assert_eq!(Lines::default().push(&long, |_| Ok::<_, LongLine>(())), Err(LongLine));
    }

    proptest! {
        #[test]
        fn pieces_mean_what_the_whole_means(
            stream in "(data: ?[a-z]{0,9}\r?\n|:[a-z]{0,5}\n|\n){0,12}(data: [a-z]{0,5})?",
            at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(),
        ) {
            let bytes = stream.as_bytes();
            let mut cuts = [at.index(bytes.len() + 1), other.index(bytes.len() + 1)];
            cuts.sort_unstable();
            let pieces = [&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..]];
            prop_assert_eq!(data_of(&pieces), data_of(&[bytes]));
        }
    }
}
