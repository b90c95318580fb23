//! A rollout in the router (task 2.4): what can be typed about it, and which endpoint is of which version.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use proxy::Member;
use routing::{EndpointId, Policy};
use sol02_routing::canary::Canary;
use sol02_routing::rollout::{Decision, Guard, Objective, Plan, Rollout};
use sol02_routing::split::{Share, Version};
use tokio::sync::mpsc;

/// Decisions that wait to be written down. A rollout makes one a step.
const DECISIONS: usize = 64;

/// A new version, step by step.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Canary")]
pub(crate) struct Rolling {
    /// Model servers of the new version, beside those of --endpoints
    #[arg(long, value_name = "URL", value_delimiter = ',', requires = "canary_slow", conflicts_with_all = ["service", "pool"])]
    pub(crate) canary_endpoints: Vec<String>,
    /// The Service of the new version, beside --service. Replicas that are in both are new
    #[arg(long, value_name = "NAMESPACE/NAME", requires_all = ["canary_slow", "service"])]
    pub(crate) canary_service: Option<String>,
    /// The labels of the new version's pods, beside --pool. Pods that have both are new
    #[arg(long, value_name = "NAMESPACE/LABEL=VALUE,...", requires_all = ["canary_slow", "pool"])]
    pub(crate) canary_pool: Option<String>,
    /// What it gets, step by step, in percent
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "5,25,50")]
    canary_steps: Vec<f64>,
    /// The least time in a step
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    canary_hold: Duration,
    /// The fewest answers of it in a step
    #[arg(long, value_name = "REQUESTS", default_value_t = 500)]
    canary_min_requests: u64,
    /// What 99 % of first tokens of the old version stay below, measured before; slower ones are evidence
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    canary_slow: Option<Duration>,
    /// What users were promised: the first token within this time; --canary-slow if it is not said
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    canary_within: Option<Duration>,
    /// The part of requests that may miss it
    #[arg(long, value_name = "PART", default_value_t = 0.05)]
    canary_misses: f64,
    /// How probable it may be that one that misses it more often takes a step
    #[arg(long, value_name = "PART", default_value_t = 0.05)]
    canary_doubt: f64,
    /// How probable it may be that one that is no worse is ever rolled back
    #[arg(long, value_name = "PART", default_value_t = 0.05)]
    canary_alpha: f64,
    /// Without news of a version for so long it takes no step
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    canary_stale_after: Duration,
    /// The experiment: another name, another split
    #[arg(long, value_name = "NAME", default_value = "canary")]
    canary_name: String,
    /// Let clients choose by the header x-llm-version: stable or canary
    #[arg(long)]
    canary_header: bool,
}

/// The id of a replica, from its number among those of its version: the last bit says which.
pub(crate) fn id(version: Version, number: u32) -> EndpointId {
    EndpointId(number << 1 | u32::from(version == Version::Canary))
}

fn version_of(id: EndpointId) -> Version {
    if id.0 & 1 == 1 { Version::Canary } else { Version::Stable }
}

/// Members of a list that never changes.
pub(crate) fn fixed(stable: &[SocketAddr], canary: &[SocketAddr]) -> Vec<Member> {
    let of = |version, addresses| {
        let named = Member::fixed(addresses).into_iter();
        named.map(move |member| Member { id: id(version, member.id.0), ..member })
    };
    of(Version::Stable, stable).chain(of(Version::Canary, canary)).collect()
}

// === impl Rolling ===

impl Rolling {
    /// Whether there is a new version.
    pub(crate) fn is_asked(&self) -> bool {
        !self.canary_endpoints.is_empty()
            || self.canary_service.is_some()
            || self.canary_pool.is_some()
    }

    /// Puts the rollout around a policy for each version. Needs a runtime: decisions are written by a task.
    pub(crate) fn around(&self, policies: [Box<dyn Policy>; 2]) -> Result<Box<dyn Policy>> {
        let rollout = Rollout::try_new(self.plan()?, Duration::ZERO)?;
        let (sender, decisions) = mpsc::channel(DECISIONS);
        tokio::spawn(write(decisions));
        let name = &self.canary_name;
        eprintln!("canary {name}: begins with {} %", percent(rollout.share()));
        let canary = Canary::new(name, rollout, policies, version_of);
        let canary = canary.with_listener(move |at, decision| {
            let _written_late = sender.try_send((at, decision));
        });
        Ok(Box::new(if self.canary_header { canary.with_overrides() } else { canary }))
    }

    fn plan(&self) -> Result<Plan> {
        let slow = self.canary_slow.context("--canary-slow says what is slow")?;
        let share = |percent: &f64| {
            let points = (percent * 100.0).round();
            let is_one = (0.0..=f64::from(Share::WHOLE)).contains(&points);
            is_one.then(|| Share::basis_points(points as u16))
        };
        let steps: Option<Vec<Share>> = self.canary_steps.iter().map(share).collect();
        Ok(Plan {
            steps: steps.context("--canary-steps are percent, from 0 to 100")?,
            hold: self.canary_hold,
            min_requests: self.canary_min_requests,
            alpha: self.canary_alpha,
            slow,
            objective: Objective {
                within: self.canary_within.unwrap_or(slow),
                misses: self.canary_misses,
                doubt: self.canary_doubt,
            },
            stale_after: self.canary_stale_after,
        })
    }
}

fn percent(share: Share) -> f64 {
    share.part() * 100.0
}

/// Writes what was decided.
async fn write(mut decisions: mpsc::Receiver<(Duration, Decision)>) {
    while let Some((at, decision)) = decisions.recv().await {
        let said = match decision {
            Decision::Stay(_) => continue,
            Decision::Advance(share) => format!("grows to {} %", percent(share)),
            Decision::Promote => "is promoted: it gets everything".to_owned(),
            Decision::RollBack(Guard::Errors) => "is rolled back: it fails more often".to_owned(),
            Decision::RollBack(Guard::Slow) => "is rolled back: it is slow more often".to_owned(),
        };
        eprintln!("canary, after {} s: {said}", at.as_secs());
    }
}
