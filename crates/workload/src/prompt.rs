//! What a prompt says, as far as a prefix cache can tell: which stretches equal which.

use std::ops::Range;

/// A stretch of tokens. Stretches of one id hold the same tokens, up to the length of the shorter one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Names its content.
    pub id: u64,
    /// How long it is.
    pub tokens: u32,
}

/// A prompt: segments, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Prompt {
    /// In order.
    pub segments: Vec<Segment>,
}

impl Prompt {
    /// Its length in tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.segments.iter().map(|segment| segment.tokens as usize).sum()
    }

    /// One random 64-bit value for each token, a function of the segment's id and the place in it alone.
    ///
    /// Whoever needs token ids, words or bytes takes these modulo what there is to choose from.
    pub fn noise(&self) -> impl Iterator<Item = u64> {
        self.segments
            .iter()
            .flat_map(|segment| (0..segment.tokens).map(|place| scramble(segment.id, place.into())))
    }

    /// Token ids inside `vocabulary`: equal where the prompts are equal.
    pub fn token_ids(&self, vocabulary: Range<u32>) -> impl Iterator<Item = u32> {
        let size = u64::from(vocabulary.end.saturating_sub(vocabulary.start).max(1));
        self.noise().map(move |noise| vocabulary.start + (noise % size) as u32)
    }
}

/// A hash of two numbers: the finaliser of `SplitMix64` over their combination
/// (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
#[must_use]
pub fn scramble(a: u64, b: u64) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = a.wrapping_add(b.wrapping_add(1).wrapping_mul(GOLDEN));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn prompt(segments: &[(u64, u32)]) -> Prompt {
        let segments = segments.iter().map(|&(id, tokens)| Segment { id, tokens }).collect();
        Prompt { segments }
    }

    #[test]
    fn prompts_share_exactly_the_tokens_of_their_common_segments() {
        let ids = |p: &Prompt| p.token_ids(5..50_000).collect::<Vec<_>>();
        let (a, b) = (prompt(&[(1, 512), (2, 100)]), prompt(&[(1, 512), (3, 100)]));
        let (a, b) = (ids(&a), ids(&b));
        assert_eq!(a[..512], b[..512]);
        assert!(a[512..].iter().zip(&b[512..]).filter(|(a, b)| a == b).count() < 5);
        assert_eq!(ids(&prompt(&[(1, 40)])), a[..40]);
        assert!(a.iter().all(|id| (5..50_000).contains(id)));
    }

    #[test]
    fn noise_hardly_repeats() {
        let seen: HashSet<u64> = prompt(&[(1, 5_000), (2, 5_000), (3, 5_000)]).noise().collect();
        assert_eq!(seen.len(), 15_000);
    }
}
