//! Requests as lines of Mooncake's format, so that others replay what was drawn here.

use std::fmt::{Display, Formatter, Write};

use serde::Deserialize;

use crate::{MOONCAKE_BLOCK, Prompt, TimedRequest, scramble};

/// A line of Mooncake's format as it stands in a file: read by serde, written by [`Display`].
///
/// [`crate::Trace::read`] takes more: times with a fraction, and what Azure calls its fields.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MooncakeLine {
    /// When the request arrives, in milliseconds.
    pub timestamp: u64,
    /// Tokens of the prompt.
    pub input_length: u64,
    /// Tokens of the answer.
    pub output_length: u64,
    /// A name for each block of [`MOONCAKE_BLOCK`] tokens, and for what is left: equal names are equal tokens.
    #[serde(default)]
    pub hash_ids: Vec<u64>,
}

impl Display for MooncakeLine {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { timestamp, input_length, output_length, hash_ids } = self;
        write!(
            f,
            r#"{{"timestamp":{timestamp},"input_length":{input_length},"output_length":{output_length},"hash_ids":{hash_ids:?}}}"#,
        )
    }
}

/// Requests as Mooncake's JSONL, which [`crate::Trace::read`] reads: a line a request, times in whole milliseconds.
///
/// Only whole blocks of [`MOONCAKE_BLOCK`] tokens can be shared in that format. So two prompts share there what they share here,
/// rounded down to a block; a block is named after itself and all before it.
#[must_use]
pub fn mooncake<'r>(requests: impl IntoIterator<Item = &'r TimedRequest>) -> String {
    let mut out = String::new();
    for TimedRequest { at, request } in requests {
        let line = MooncakeLine {
            timestamp: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            input_length: request.prompt.tokens() as u64,
            output_length: request.output_tokens.into(),
            hash_ids: blocks(&request.prompt),
        };
        let _ = writeln!(out, "{line}");
    }
    out
}

fn blocks(prompt: &Prompt) -> Vec<u64> {
    let mut names = Vec::new();
    let (mut name, mut filled) = (0, 0);
    for segment in &prompt.segments {
        let mut from = 0;
        while from < segment.tokens {
            let piece = (segment.tokens - from).min(MOONCAKE_BLOCK - filled);
            let place = u64::from(from) << 32 | u64::from(piece);
            name = scramble(scramble(name, segment.id), place);
            from += piece;
            filled += piece;
            if filled == MOONCAKE_BLOCK {
                names.push(name);
                filled = 0;
            }
        }
    }
    if filled > 0 {
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{Request, Segment, Trace};

    fn request(at: u64, segments: &[(u64, u32)]) -> TimedRequest {
        let segments = segments.iter().map(|&(id, tokens)| Segment { id, tokens }).collect();
        let request = Request { prompt: Prompt { segments }, output_tokens: 9 };
        TimedRequest { at: Duration::from_millis(at), request }
    }

    /// Tokens at the beginning that are the same.
    fn shared(trace: &Trace) -> usize {
        let ids = |index: usize| trace.requests[index].request.prompt.token_ids(0..u32::MAX);
        ids(0).zip(ids(1)).take_while(|(a, b)| a == b).count()
    }

    proptest! {
        #[test]
        fn a_line_is_read_as_it_was_written(
            (timestamp, input_length, output_length) in any::<(u64, u64, u64)>(),
            hash_ids in prop::collection::vec(any::<u64>(), 0..5),
        ) {
            let line = MooncakeLine { timestamp, input_length, output_length, hash_ids };
            let read: MooncakeLine = serde_json::from_str(&line.to_string()).unwrap();
            prop_assert_eq!(read, line);
        }

        #[test]
        fn what_is_read_again_shares_whole_blocks_of_what_was_shared(
            common in prop::collection::vec((0u64..9, 1u32..700), 0..5),
            own in 1u32..900,
            other in 1u32..900,
        ) {
            let common_tokens: u32 = common.iter().map(|(_, tokens)| tokens).sum();
            let with = |id, tokens| [common.clone(), vec![(id, tokens)]].concat();
            let asked = [request(5, &with(100, own)), request(12, &with(101, other))];
            let trace = Trace::read(mooncake(&asked).as_bytes(), 7).unwrap();
            let read = &trace.requests;
            prop_assert_eq!(read[1].at, Duration::from_millis(7));
            for (asked, read) in asked.iter().zip(read) {
                prop_assert_eq!(asked.request.prompt.tokens(), read.request.prompt.tokens());
                prop_assert_eq!(asked.request.output_tokens, read.request.output_tokens);
            }
            prop_assert_eq!(shared(&trace), (common_tokens / MOONCAKE_BLOCK * MOONCAKE_BLOCK) as usize);
        }
    }
}
