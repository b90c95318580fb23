//! What is asked, as traces of Mooncake's format: both halves read the same file.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::BenchError;

/// Requests a second: the rate of the ladder at which round robin no longer keeps up.
pub(super) const RATE: f64 = 20.0;
/// Prompts that share a beginning: each prompt is sent once.
pub(super) const GROUP: u64 = 5;
/// Tokens of a prompt and of an answer.
pub(super) const INPUT: u32 = 7_200;
pub(super) const OUTPUT: u32 = 1_000;
/// Blocks of 512 tokens, as Mooncake's traces have them: 6,144 tokens that a group shares, and the rest of a prompt.
pub(super) const SHARED_BLOCKS: u64 = 12;
const OWN_BLOCKS: u64 = 3;
/// What requests are drawn from.
const SEED: u64 = 7;

/// Prompts in groups that share a beginning, at one rate of the published ladder.
pub(super) fn shared_prefix(groups: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut prompts: Vec<u64> = (0..groups * GROUP).collect();
    rng.shuffle(&mut prompts);
    let mut at = 0.0;
    let mut trace = String::new();
    for prompt in prompts {
        let shared = (0..SHARED_BLOCKS).map(|block| prompt / GROUP * SHARED_BLOCKS + block);
        let first_own = groups * SHARED_BLOCKS + prompt * OWN_BLOCKS;
        let blocks: Vec<u64> = shared.chain(first_own..first_own + OWN_BLOCKS).collect();
        let line = json!({
            "timestamp": (at * 1e3) as u64,
            "input_length": INPUT,
            "output_length": OUTPUT,
            "hash_ids": blocks,
        });
        let _ = writeln!(trace, "{line}");
        // A Poisson process: gaps are exponential.
        at += -(1.0 - rng.f64()).ln() / RATE;
    }
    trace
}

/// The lines of a trace between two times. Its sessions have begun before, so as many turns come at its beginning as at its end.
pub(super) fn between(trace: &str, from: Duration, until: Duration) -> Result<String, BenchError> {
    let mut out = String::new();
    for line in trace.lines() {
        let at =
            serde_json::from_str::<Value>(line).ok().and_then(|line| line["timestamp"].as_u64());
        let at = at.map(Duration::from_millis).ok_or_else(|| wrong(line))?;
        if at >= from && at < until {
            out.push_str(line);
            out.push('\n');
        }
    }
    Ok(out)
}

/// Requests of a trace, and the tokens of their answers.
pub(super) fn size(trace: &str) -> Result<(u64, u64), BenchError> {
    let mut size = (0, 0);
    for line in trace.lines() {
        let value: Value = serde_json::from_str(line).map_err(|_| wrong(line))?;
        size.0 += 1;
        size.1 += value["output_length"].as_u64().ok_or_else(|| wrong(line))?;
    }
    Ok(size)
}

fn wrong(line: &str) -> BenchError {
    let what = format!("this is no line of a trace: {line:.80}");
    BenchError::Output { program: "sol02-fleet".to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_of_a_group_share_their_beginning_and_nothing_else() {
        let lines: Vec<Value> =
            shared_prefix(3).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 15);
        let blocks = |line: &Value| -> Vec<u64> {
            line["hash_ids"].as_array().unwrap().iter().filter_map(Value::as_u64).collect()
        };
        let mut shared: Vec<u64> =
            lines.iter().flat_map(|line| blocks(line)[..12].to_vec()).collect();
        let mut own: Vec<u64> = lines.iter().flat_map(|line| blocks(line)[12..].to_vec()).collect();
        shared.sort_unstable();
        shared.dedup();
        own.sort_unstable();
        own.dedup();
        assert_eq!((shared.len(), own.len()), (3 * 12, 15 * 3));
        assert!(own.iter().all(|block| !shared.contains(block)));
        let times: Vec<u64> = lines.iter().filter_map(|line| line["timestamp"].as_u64()).collect();
        assert!(times.is_sorted() && times[0] == 0 && times[14] > 0);
    }

    #[test]
    fn a_window_has_the_lines_of_its_time_and_no_others() {
        let trace = shared_prefix(10);
        let window = between(&trace, Duration::from_secs(1), Duration::from_secs(2)).unwrap();
        let (all, some) = (size(&trace).unwrap(), size(&window).unwrap());
        assert_eq!(all, (50, 50 * u64::from(OUTPUT)));
        assert!(some.0 > 0 && some.0 < all.0, "{some:?}");
        assert!(between("no json", Duration::ZERO, Duration::MAX).is_err());
    }
}
