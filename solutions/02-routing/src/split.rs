//! Task 2.4, first part: who gets the canary.
//!
//! A function of a name: no state, so any number of routers agree, a restart changes nothing, and a user stays where
//! she is. Knows nothing of how the versions fare.

use sha2::{Digest, Sha256};

/// Header with which a tester chooses a version: `canary` or `stable`.
pub const VERSION_HEADER: &str = "x-llm-version";

/// Two versions of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// What serves today.
    Stable,
    /// What may serve tomorrow.
    Canary,
}

impl Version {
    /// The word in headers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Stable, Self::Canary].into_iter().find(|version| version.as_str() == word.trim())
    }
}

/// A part of the traffic, in hundredths of a percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

// === impl Share ===

impl Share {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(Self::WHOLE);
    /// The whole, in hundredths of a percent.
    pub const WHOLE: u16 = 10_000;

    /// So many hundredths of a percent, at most the whole.
    #[must_use]
    pub fn basis_points(points: u16) -> Self {
        Self(points.min(Self::WHOLE))
    }

    /// So many percent, at most 100.
    #[must_use]
    pub fn percent(percent: u16) -> Self {
        Self::basis_points(percent.saturating_mul(100))
    }

    /// In hundredths of a percent.
    #[must_use]
    pub fn points(self) -> u16 {
        self.0
    }

    /// From 0 to 1.
    #[must_use]
    pub fn part(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE)
    }
}

/// How one experiment splits traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The experiment's name. Another name, another split.
    pub experiment: String,
    /// What the canary gets.
    pub canary: Share,
    /// Whether testers may choose by header.
    pub overrides: bool,
}

/// Where a request goes, and whether it tells something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// Who serves it.
    pub version: Version,
    /// Whether chance sent it there. What somebody chose must not be compared with what chance chose.
    pub counts: bool,
}

/// Where a key stands in an experiment: anywhere from 0 to `u64::MAX`, evenly, and always the same.
#[must_use]
pub fn position(experiment: &str, key: &[u8]) -> u64 {
    // The first eight bytes, most significant first, of the SHA-256 of: the experiment's name, a zero byte, the key. In a shell:
    // `printf 'EXPERIMENT\0KEY' | sha256sum`.
    // ANCHOR: task_2_4_position
    let digest =
        Sha256::new().chain_update(experiment).chain_update([0]).chain_update(key).finalize();
    digest.iter().take(8).fold(0, |position, byte| position << 8 | u64::from(*byte))
    // ANCHOR_END: task_2_4_position
}

/// Where a request goes. `session` is what a client calls its conversation or itself, `request` counts requests, and
/// `wish` is what the header says.
#[must_use]
pub fn assign(
    split: &Split,
    session: Option<&str>,
    request: u64,
    wish: Option<Version>,
) -> Assignment {
    // - The key is the session. Without one, it is the request's number (its eight bytes, big-endian): not sticky, but just as even.
    // - The canary gets the keys whose position is in the first `canary` of all positions. So a larger share keeps who has it already, and adds
    //   others. 128 bits do not overflow: position x 10,000 / 2^64 is the position in hundredths of a percent.
    // - A wish is granted where the split allows it, but for a canary that gets nothing: that one has been rolled back. What a
    //   wish decided does not count.
    // ANCHOR: task_2_4_assign
    let granted = wish.filter(|version| {
        split.overrides && (*version == Version::Stable || split.canary > Share::NONE)
    });
    if let Some(version) = granted {
        return Assignment { version, counts: false };
    }
    let number = request.to_be_bytes();
    let key = session.map_or(&number[..], str::as_bytes);
    let whole = u128::from(Share::WHOLE);
    let point = (u128::from(position(&split.experiment, key)) * whole) >> 64;
    let is_canary = point < u128::from(split.canary.points());
    let version = if is_canary { Version::Canary } else { Version::Stable };
    Assignment { version, counts: true }
    // ANCHOR_END: task_2_4_assign
}
