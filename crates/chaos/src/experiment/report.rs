//! How an experiment went.

use std::time::Duration;

use serde::Serialize;

use super::guard::Cheat;

/// Where in its life an experiment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// What an earlier run left is removed.
    Prepare,
    /// The workload is healthy.
    Baseline,
    /// The fault is made.
    Inject,
    /// It is proved that it bites.
    Bite,
    /// What must hold holds.
    Hold,
    /// The fault is undone, and the workload is healthy again.
    Recover,
    /// Everything is removed.
    Clean,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// In which stage.
    pub stage: Stage,
    /// How long after the beginning, in milliseconds.
    pub at_ms: u64,
    /// What.
    pub text: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// The fault was there, and what had to hold held.
    Held,
    /// The fault was there, and something did not hold.
    Broke(String),
    /// It held, and the workload did not come back.
    DidNotRecover(String),
    /// The experiment was made another one meanwhile.
    Cheated(Cheat),
    /// Nothing shows that the fault was there: the run says nothing.
    DidNotBite(String),
    /// The workload was not healthy before: the run says nothing.
    Unhealthy(String),
    /// The cluster gave trouble, or somebody stopped the run: it says nothing.
    Unknown(String),
}

impl Verdict {
    /// 0 for held, 1 for a failure of the workload or its keeper, 2 where the run says nothing.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Broke(_) | Self::DidNotRecover(_) | Self::Cheated(_) => 1,
            Self::DidNotBite(_) | Self::Unhealthy(_) | Self::Unknown(_) => 2,
        }
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Held => "HELD".to_owned(),
            Self::Broke(why) => format!("BROKE: {why}"),
            Self::DidNotRecover(why) => format!("DID NOT RECOVER: {why}"),
            Self::Cheated(how) => format!("CHEATED: {how}"),
            Self::DidNotBite(why) => format!("UNKNOWN, the fault did not bite: {why}"),
            Self::Unhealthy(why) => format!("UNKNOWN, the workload was not healthy before: {why}"),
            Self::Unknown(why) => format!("UNKNOWN: {why}"),
        }
    }
}

/// How an experiment went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which.
    pub experiment: String,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What could not be removed, if anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<String>,
}

/// Milliseconds of a time.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
