//! What a check tells the grader beside pass and fail, and the seed that the grader gives a check.

use std::fmt::Display;
use std::process;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The seed of checks that got none.
const DEFAULT_SEED: u64 = 7;

/// The seed of this run: `LAB_SEED`, else 7. The only source of randomness in a check.
///
/// # Panics
/// Where `LAB_SEED` is no whole number.
#[must_use]
pub fn seed() -> u64 {
    match std::env::var("LAB_SEED") {
        Ok(text) => text.parse().expect("LAB_SEED is a whole number"),
        Err(_) => DEFAULT_SEED,
    }
}

/// A generator for one named purpose: another purpose, other numbers.
#[must_use]
pub fn rng(purpose: &str) -> StdRng {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    StdRng::seed_from_u64(purpose.bytes().fold(seed() ^ 0xcbf2_9ce4_8422_2325, mix))
}

/// A measurement to show under the task.
pub fn note(text: impl Display) {
    eprintln!("LAB_NOTE: {}", one_line(&text));
}

/// Ends the check without a verdict: the machine, not the learner, is in the way.
pub fn unknown(reason: impl Display) -> ! {
    eprintln!("LAB_UNKNOWN: {}", one_line(&reason));
    process::exit(2);
}

fn one_line(text: &impl Display) -> String {
    text.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use rand::RngCore;

    use super::*;

    #[test]
    fn the_same_purpose_gives_the_same_numbers() {
        assert_eq!(rng("a").next_u64(), rng("a").next_u64());
        assert_ne!(rng("a").next_u64(), rng("b").next_u64());
    }

    #[test]
    fn a_note_is_one_line() {
        assert_eq!(one_line(&"two\nlines  here"), "two lines here");
    }
}
