//! What is asked, as traces of Mooncake's format: both halves read the same file.

use std::time::Duration;

use workload::MooncakeLine;

use crate::BenchError;

/// Requests a second: the rate of the ladder at which round robin no longer keeps up.
pub(super) const RATE: f64 = 20.0;
/// Prompts that share a beginning: each prompt is sent once.
pub(super) const GROUP: u64 = 5;
/// Tokens of a prompt and of an answer.
pub(super) const INPUT: u64 = 7_200;
pub(super) const OUTPUT: u64 = 1_000;
/// Blocks of 512 tokens, as Mooncake's traces have them: 6,144 tokens that a group shares, and the rest of a prompt.
pub(super) const SHARED_BLOCKS: u64 = 12;
const OWN_BLOCKS: u64 = 3;
/// What requests are drawn from.
const SEED: u64 = 7;

/// Prompts in groups that share a beginning, at one rate of the published ladder.
pub(super) fn shared_prefix(groups: u64) -> Vec<MooncakeLine> {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut prompts: Vec<u64> = (0..groups * GROUP).collect();
    rng.shuffle(&mut prompts);
    let mut at = 0.0;
    let next = |prompt: u64| {
        let shared = (0..SHARED_BLOCKS).map(|block| prompt / GROUP * SHARED_BLOCKS + block);
        let first_own = groups * SHARED_BLOCKS + prompt * OWN_BLOCKS;
        let line = MooncakeLine {
            timestamp: (at * 1e3) as u64,
            input_length: INPUT,
            output_length: OUTPUT,
            hash_ids: shared.chain(first_own..first_own + OWN_BLOCKS).collect(),
        };
        // A Poisson process: gaps are exponential.
        at += -(1.0 - rng.f64()).ln() / RATE;
        line
    };
    prompts.into_iter().map(next).collect()
}

/// The lines of a trace that `sol02-fleet` saved.
pub(super) fn read(trace: &str) -> Result<Vec<MooncakeLine>, BenchError> {
    let read = |line: &str| {
        serde_json::from_str(line).map_err(|error| BenchError::Output {
            program: "sol02-fleet".to_owned(),
            what: format!("this is no line of a trace: {line:.80}: {error}"),
        })
    };
    trace.lines().map(read).collect()
}

/// Those between two times. Their sessions have begun before, so as many turns come at the beginning as at the end.
pub(super) fn between(trace: &mut Vec<MooncakeLine>, from: Duration, until: Duration) {
    trace.retain(|line| (from..until).contains(&Duration::from_millis(line.timestamp)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_of_a_group_share_their_beginning_and_nothing_else() {
        let lines = shared_prefix(3);
        assert_eq!(lines.len(), 15);
        let blocks = |range: std::ops::Range<usize>| -> Vec<u64> {
            lines.iter().flat_map(|line| line.hash_ids[range.clone()].to_vec()).collect()
        };
        let (mut shared, mut own) = (blocks(0..12), blocks(12..15));
        shared.sort_unstable();
        shared.dedup();
        own.sort_unstable();
        own.dedup();
        assert_eq!((shared.len(), own.len()), (3 * 12, 15 * 3));
        assert!(own.iter().all(|block| !shared.contains(block)));
        let times: Vec<u64> = lines.iter().map(|line| line.timestamp).collect();
        assert!(times.is_sorted() && times[0] == 0 && times[14] > 0);
    }

    #[test]
    fn a_window_has_the_lines_of_its_time_and_no_others() {
        let all = shared_prefix(10);
        let mut window = all.clone();
        between(&mut window, Duration::from_secs(1), Duration::from_secs(2));
        let is_in_it = |line: &&MooncakeLine| (1_000..2_000).contains(&line.timestamp);
        assert_eq!(window, all.iter().filter(is_in_it).cloned().collect::<Vec<_>>());
        assert!(!window.is_empty() && window.len() < all.len(), "{window:?}");
    }

    #[test]
    fn what_is_no_line_of_a_trace_is_shown() {
        let line = shared_prefix(1)[0].to_string();
        assert_eq!(read(&line).unwrap(), shared_prefix(1)[..1]);
        let error = read(&format!("{line}\nno json\n")).unwrap_err().to_string();
        assert!(error.contains("no line of a trace: no json"), "{error}");
    }
}
