//! Requests drawn from distributions: lengths, and prefixes that prompts share.

use std::str::FromStr;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::Zipf;

use crate::error::in_range;
use crate::spec::Spec;
use crate::{Lengths, Prompt, Segment, WorkloadError, scramble};

/// The most groups that share a prefix.
pub const MAX_GROUPS: u32 = 1_000_000;

/// Tells segments that are shared from those that are not, and those of traces from both.
pub(crate) const SHARED: u64 = 1;
pub(crate) const OWN: u64 = 2;
pub(crate) const TRACED: u64 = 3;

/// What one request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its prompt.
    pub prompt: Prompt,
    /// Tokens to generate, at least 1.
    pub output_tokens: u32,
}

/// Groups of users, each with a prefix of its own: a system prompt, a document, a tool's description.
///
/// Written `groups=8,tokens=512`, or with a `skew`: `groups=100,tokens=2000,skew=1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedPrefix {
    /// How many groups.
    pub groups: u32,
    /// How long each group's prefix is.
    pub tokens: u32,
    /// The exponent of Zipf's law: group k is drawn with a weight of `k^-skew`. At 0 all are drawn alike.
    pub skew: f64,
}

impl SharedPrefix {
    /// Checks its numbers.
    ///
    /// # Errors
    /// Unless there are 1 to [`MAX_GROUPS`] groups, 1 to [`crate::MAX_LENGTH`] tokens, and a skew of 0 to 10.
    pub fn new(groups: u32, tokens: u32, skew: f64) -> Result<Self, WorkloadError> {
        let most = f64::from(MAX_GROUPS);
        in_range("groups", groups.into(), 1.0, most, "1 to 1,000,000")?;
        in_range("tokens", tokens.into(), 1.0, crate::MAX_LENGTH.into(), "1 to 16,777,216")?;
        in_range("skew", skew, 0.0, 10.0, "0 to 10")?;
        Ok(Self { groups, tokens, skew })
    }

    fn draw(&self, rng: &mut impl Rng) -> u64 {
        // Zipf gives 1..=groups as a float. Its parameters were checked when it was made.
        Zipf::new(f64::from(self.groups), self.skew).map_or(0, |zipf| rng.sample(zipf) as u64)
    }
}

impl FromStr for SharedPrefix {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let spec = Spec::parse_pairs("shared prefix", text)?;
        spec.only(&["groups", "tokens", "skew"])?;
        Self::new(spec.need("groups")?, spec.need("tokens")?, spec.get("skew")?.unwrap_or(0.0))
    }
}

/// A mixture of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// Length of a prompt, without the shared prefix before it.
    pub input: Lengths,
    /// Length of an answer.
    pub output: Lengths,
    /// What stands before every prompt, if anything does.
    pub shared_prefix: Option<SharedPrefix>,
}

impl Mix {
    /// Requests without end, from the seed.
    ///
    /// Prompts of different seeds share nothing. Use another seed for every run against one server, or its
    /// prefix cache answers from the run before.
    #[must_use]
    pub fn requests(&self, seed: u64) -> Requests {
        Requests { mix: self.clone(), seed, rng: StdRng::seed_from_u64(seed), drawn: 0 }
    }
}

/// Draws requests.
#[derive(Debug, Clone)]
pub struct Requests {
    mix: Mix,
    seed: u64,
    rng: StdRng,
    drawn: u64,
}

impl Iterator for Requests {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let mut segments = Vec::with_capacity(2);
        if let Some(shared) = &self.mix.shared_prefix {
            let group = shared.draw(&mut self.rng);
            segments.push(Segment { id: name(self.seed, SHARED, group), tokens: shared.tokens });
        }
        let tokens = self.mix.input.sample(&mut self.rng);
        segments.push(Segment { id: name(self.seed, OWN, self.drawn), tokens });
        self.drawn += 1;
        let output_tokens = self.mix.output.sample(&mut self.rng);
        Some(Request { prompt: Prompt { segments }, output_tokens })
    }
}

/// The id of a segment: of one seed, of one kind, of one number.
pub(crate) fn name(seed: u64, kind: u64, number: u64) -> u64 {
    scramble(scramble(seed, kind), number)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn mix(prefix: Option<&str>) -> Mix {
        Mix {
            input: "uniform:min=10,max=20".parse().unwrap(),
            output: Lengths::Fixed(16),
            shared_prefix: prefix.map(|text| text.parse().unwrap()),
        }
    }

    fn counts(prefix: &str) -> Vec<usize> {
        let mut counts: HashMap<u64, usize> = HashMap::new();
        for request in mix(Some(prefix)).requests(7).take(20_000) {
            *counts.entry(request.prompt.segments[0].id).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    #[test]
    fn groups_without_skew_are_drawn_alike() {
        let counts = counts("groups=8,tokens=512");
        assert_eq!(counts.len(), 8);
        assert!(counts.iter().all(|n| (2_250..=2_750).contains(n)), "{counts:?}");
    }

    #[test]
    fn a_skew_follows_zipfs_law() {
        let counts = counts("groups=4,tokens=512,skew=1");
        // Weights 1, 1/2, 1/3, 1/4 of 25/12.
        for (seen, asked) in counts.iter().zip([9_600.0, 4_800.0, 3_200.0, 2_400.0]) {
            assert!((*seen as f64 - asked).abs() < 350.0, "{counts:?}");
        }
    }

    #[test]
    fn a_prefix_that_means_nothing_is_refused() {
        for text in ["", "groups=8", "groups=0,tokens=5", "groups=8,tokens=5,skew=-1", "8"] {
            assert!(text.parse::<SharedPrefix>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn prompts_have_the_asked_lengths_and_only_prefixes_repeat(seed: u64, tokens in 1u32..99) {
            let shared = SharedPrefix::new(3, tokens, 0.5).unwrap();
            let mix = Mix { shared_prefix: Some(shared), ..mix(None) };
            let mut own = HashSet::new();
            let mut prefixes = HashSet::new();
            for request in mix.requests(seed).take(50) {
                let [prefix, rest] = request.prompt.segments[..] else { panic!("two segments") };
                prop_assert_eq!(prefix.tokens, tokens);
                prop_assert!((10..=20).contains(&rest.tokens));
                prop_assert_eq!(request.output_tokens, 16);
                prefixes.insert(prefix.id);
                prop_assert!(own.insert(rest.id));
            }
            prop_assert!(prefixes.len() <= 3 && own.is_disjoint(&prefixes));
        }
    }
}
