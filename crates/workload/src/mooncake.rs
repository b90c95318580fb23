//! Requests as lines of Mooncake's format, so that others replay what was drawn here.

use std::fmt::Write;

use crate::{MOONCAKE_BLOCK, Prompt, TimedRequest, scramble};

/// Requests as Mooncake's JSONL, which [`crate::Trace::read`] reads: a line a request, times in whole milliseconds.
///
/// Only whole blocks of [`MOONCAKE_BLOCK`] tokens can be shared in that format. So two prompts share there what they share here,
/// rounded down to a block; a block is named after itself and all before it.
#[must_use]
pub fn mooncake<'r>(requests: impl IntoIterator<Item = &'r TimedRequest>) -> String {
    let mut out = String::new();
    for TimedRequest { at, request } in requests {
        let (milliseconds, tokens) = (at.as_millis(), request.prompt.tokens());
        let answer = request.output_tokens;
        let blocks = blocks(&request.prompt);
        let _ = writeln!(
            out,
            r#"{{"timestamp":{milliseconds},"input_length":{tokens},"output_length":{answer},"hash_ids":{blocks:?}}}"#,
        );
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
