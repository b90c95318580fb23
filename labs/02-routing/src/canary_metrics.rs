//! Given: a rollout on the page `/metrics`. What it has counted, how far its evidence is, and where it stands.

use protocol::exposition::{MetricFamily, MetricKind};

use crate::rollout::{Guard, Rollout, State, Tally};
use crate::split::Version;

/// The canary's part of the traffic, from 0 to 1.
pub const SHARE: &str = "llm_router_canary_share";
/// 1 for where the rollout is: `running`, `promoted`, `rolled_back`.
pub const STATE: &str = "llm_router_canary_state";
/// Requests of each version in this step.
pub const REQUESTS: &str = "llm_router_canary_step_requests";
/// Of these, those that failed.
pub const FAILED: &str = "llm_router_canary_step_failed";
/// Of these, those that were slow.
pub const SLOW: &str = "llm_router_canary_step_slow";
/// How probable the evidence of a guard is at most, if the canary is no worse.
pub const P_VALUE: &str = "llm_router_canary_p_value";

fn gauge(name: &str, help: &str) -> MetricFamily {
    let (name, help) = (name.to_owned(), help.to_owned());
    MetricFamily { name, help, kind: MetricKind::Gauge, samples: Vec::new() }
}

fn label(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

/// A rollout as metrics.
#[must_use]
pub fn metrics(rollout: &Rollout) -> Vec<MetricFamily> {
    let mut share = gauge(SHARE, "The canary's part of the traffic.");
    share.add(Vec::new(), rollout.share().part());
    let mut state = gauge(STATE, "1 for where the rollout is.");
    let is = match rollout.state() {
        State::Step(_) => "running",
        State::Promoted => "promoted",
        State::RolledBack(_) => "rolled_back",
    };
    for name in ["running", "promoted", "rolled_back"] {
        state.add(label("state", name), f64::from(u8::from(name == is)));
    }
    let mut requests = gauge(REQUESTS, "Requests that have ended in this step, by version.");
    let mut failed = gauge(FAILED, "Of these, those that failed.");
    let mut slow = gauge(SLOW, "Of these, those that were slow.");
    for version in [Version::Stable, Version::Canary] {
        let Tally { requests: all, failed: bad, slow: late } = rollout.tally(version);
        for (family, count) in [(&mut requests, all), (&mut failed, bad), (&mut slow, late)] {
            family.add(label("version", version.as_str()), count as f64);
        }
    }
    let mut p_value = gauge(P_VALUE, "An always-valid p-value of each guard.");
    for (name, guard) in [("errors", Guard::Errors), ("slow", Guard::Slow)] {
        p_value.add(label("guard", name), rollout.p_value(guard));
    }
    vec![share, state, requests, failed, slow, p_value]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rollout::{Objective, Plan};
    use crate::split::Share;

    #[test]
    fn a_page_says_where_the_rollout_is() {
        let limit = Duration::from_secs(1);
        let plan = Plan {
            steps: vec![Share::percent(5)],
            hold: Duration::ZERO,
            min_requests: 0,
            alpha: 0.05,
            slow: limit,
            objective: Objective { within: limit, misses: 0.1, doubt: 0.05 },
            stale_after: limit,
        };
        let rollout = Rollout::try_new(plan, Duration::ZERO).expect("a plan");
        let page: String = metrics(&rollout).iter().map(ToString::to_string).collect();
        for line in [
            "llm_router_canary_share 0.05",
            "llm_router_canary_state{state=\"running\"} 1",
            "llm_router_canary_state{state=\"rolled_back\"} 0",
            "llm_router_canary_step_requests{version=\"canary\"} 0",
            "llm_router_canary_step_failed{version=\"canary\"} 0",
            "llm_router_canary_step_slow{version=\"stable\"} 0",
            "llm_router_canary_p_value{guard=\"slow\"} 1",
        ] {
            assert!(page.lines().any(|seen| seen.starts_with(line)), "{line} in\n{page}");
        }
    }
}
