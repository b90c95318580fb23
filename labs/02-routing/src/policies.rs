//! The policies of this lab by name: what programs offer and benchmarks compare. Given.

use std::str::FromStr;

use routing::{Policy, RoundRobin};

use crate::{LeastRequest, Limits, LoadAware, Picker, PrefixAware, TwoChoices};

/// A policy, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// One after the other: the baseline.
    RoundRobin,
    /// The fewest requests of this router.
    LeastRequest,
    /// The better of two by peak EWMA.
    TwoChoices,
    /// The best by all that endpoints say.
    Load,
    /// Where the prompt's beginning is cached, and nothing else.
    Prefix,
    /// Affinity and load together.
    Combined,
}

/// No policy has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no policy is called `{name}`; there are {}", PolicyKind::ALL.map(PolicyKind::name).join(", "))]
pub struct PolicyNameError {
    /// What was asked for.
    pub name: String,
}

// === impl PolicyKind ===

impl PolicyKind {
    /// In the order in which they are compared.
    pub const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::LeastRequest,
        Self::TwoChoices,
        Self::Load,
        Self::Prefix,
        Self::Combined,
    ];

    /// What people type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastRequest => "least-request",
            Self::TwoChoices => "p2c",
            Self::Load => "load",
            Self::Prefix => "prefix",
            Self::Combined => "combined",
        }
    }

    /// The policy. Equal seeds give equal choices; routers side by side need different ones.
    #[must_use]
    pub fn build(self, limits: Limits, seed: u64) -> Box<dyn Policy> {
        match self {
            Self::RoundRobin => Box::new(RoundRobin::default()),
            Self::LeastRequest => Box::new(LeastRequest::new(seed)),
            Self::TwoChoices => Box::new(TwoChoices::new(seed)),
            Self::Load => Box::new(LoadAware::new(limits, Picker::BestOfTwo, seed)),
            Self::Prefix => Box::new(PrefixAware::prefix_only(seed)),
            Self::Combined => Box::new(PrefixAware::new(limits, seed)),
        }
    }
}

impl FromStr for PolicyKind {
    type Err = PolicyNameError;

    fn from_str(name: &str) -> Result<Self, PolicyNameError> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| PolicyNameError { name: name.to_owned() })
    }
}
