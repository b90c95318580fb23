//! Task 2.4, fourth part: step by step to all traffic, or back.
//!
//! Three verdicts, not two. Evidence that the canary is worse rolls it back; evidence that it keeps the objective lets it take the
//! next step; without either it stays where it is. Knows neither the router nor Kubernetes: observations in, a share out, and time
//! is an argument.

use std::collections::HashSet;
use std::time::Duration;

use crate::evidence::Bet;
use crate::split::{Share, Version};

/// How a rollout goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What the canary gets, step by step, each more than the one before. All traffic comes after the last.
    pub steps: Vec<Share>,
    /// The least time in a step.
    pub hold: Duration,
    /// The fewest requests that the canary must have answered in a step.
    pub min_requests: u64,
    /// How probable it may be that a canary that is no worse is ever rolled back.
    pub alpha: f64,
    /// A request is slow beyond this: what 99 % of the stable version's requests stay below, from before the rollout.
    pub slow: Duration,
    /// What users were promised.
    pub objective: Objective,
    /// Without news from a version for this long, nothing is known.
    pub stale_after: Duration,
}

/// A promise to users.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// A request is good that is answered within this.
    pub within: Duration,
    /// The part of requests that may miss it, from 0 to 1, both excluded.
    pub misses: f64,
    /// How probable it may be that a canary that misses more often takes a step.
    pub doubt: f64,
}

/// Sessions of a step that are remembered. Those beyond toss no coins: that makes evidence slower, not wrong.
pub const MOST_SESSIONS: usize = 100_000;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was answered, this long after it came.
    Answered(Duration),
    /// It failed, was refused for lack of room, or ran out of time.
    Failed,
    /// Its client went away after this long.
    GaveUp(Duration),
}

/// One request that has ended. What a client got wrong, a 4xx, says nothing of either version and is not observed.
///
/// They must be observed in the order in which they were *assigned*, not in that of their ends: a canary whose failures come at
/// once would look bad beside a stable version whose failures come when they time out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Who served it.
    pub version: Version,
    /// The canary's share when it was assigned.
    pub share: Share,
    /// Whether chance sent it there: [`Assignment::counts`](crate::split::Assignment::counts).
    pub counts: bool,
    /// Whether it is a copy that answered nobody.
    pub shadow: bool,
    /// Its session's position in the experiment; `None` where it has none.
    pub session: Option<u64>,
    /// What became of it.
    pub seen: Seen,
    /// When it ended, since the router started.
    pub at: Duration,
}

/// Why a canary goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    /// It fails more often than the stable version.
    Errors,
    /// It is slow more often.
    Slow,
}

/// Why a canary stays where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// There is no news from one of the versions. That is not good news.
    NoData,
    /// The step has just begun.
    Hold,
    /// Too few requests.
    TooFew,
    /// It is not proven yet that it keeps the objective.
    Objective,
    /// There is nothing left to decide.
    Finished,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing changes.
    Stay(Wait),
    /// The canary gets more.
    Advance(Share),
    /// The canary gets everything, and is the stable version from now on.
    Promote,
    /// The canary gets nothing.
    RollBack(Guard),
}

/// Where a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In a step, by its index.
    Step(usize),
    /// The canary has everything.
    Promoted,
    /// The canary has nothing.
    RolledBack(Guard),
}

/// Weights of two backends, as a Gateway API `HTTPRoute` has them: they mean their part of the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// Of the stable version's Service.
    pub stable: u32,
    /// Of the canary's.
    pub canary: u32,
}

impl From<Share> for Weights {
    fn from(share: Share) -> Self {
        let canary = u32::from(share.points());
        Self { stable: u32::from(Share::WHOLE) - canary, canary }
    }
}

/// What was counted of one version in a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that have ended.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Of these, slow.
    pub slow: u64,
}

/// A canary under way.
#[derive(Debug, Clone)]
pub struct Rollout {
    plan: Plan,
    state: State,
    /// When the step began.
    since: Duration,
    /// Of this step, and the time of the last news: stable, canary.
    tallies: [Tally; 2],
    news: [Duration; 2],
    /// Coins are failures; heads are the canary's.
    errors: Bet,
    /// Sessions that have tossed such a coin in this step.
    failed: HashSet<u64>,
    /// Coins are slow requests; heads are the canary's.
    slow: Bet,
    /// Sessions that have tossed such a coin in this step.
    slowed: HashSet<u64>,
    /// Coins are the canary's requests; heads are good.
    objective: Bet,
}

/// A plan that cannot be followed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// There must be something between nothing and everything.
    #[error("a rollout needs steps between 0 and 100 %, each larger than the one before")]
    Steps,
    /// A probability.
    #[error("{name} is {value}: it must lie between 0 and 1")]
    Probability {
        /// Which.
        name: &'static str,
        /// What it is.
        value: f64,
    },
}

// === impl Rollout ===

impl Rollout {
    /// Begins the first step at `now`.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn try_new(plan: Plan, now: Duration) -> Result<Self, PlanError> {
        let first_to_all = [&[Share::NONE], plan.steps.as_slice(), &[Share::ALL]].concat();
        if plan.steps.is_empty() || !first_to_all.is_sorted_by(|one, next| one < next) {
            return Err(PlanError::Steps);
        }
        let Objective { misses, doubt, .. } = plan.objective;
        for (name, value) in [("alpha", plan.alpha), ("misses", misses), ("doubt", doubt)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(PlanError::Probability { name, value });
            }
        }
        let mut rollout = Self {
            plan,
            state: State::Step(0),
            since: now,
            tallies: Default::default(),
            news: [now; 2],
            errors: Bet::default(),
            failed: HashSet::new(),
            slow: Bet::default(),
            slowed: HashSet::new(),
            objective: Bet::default(),
        };
        rollout.enter(State::Step(0), now);
        Ok(rollout)
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// What the canary gets.
    #[must_use]
    pub fn share(&self) -> Share {
        match self.state {
            State::Step(step) => self.plan.steps[step],
            State::Promoted => Share::ALL,
            State::RolledBack(_) => Share::NONE,
        }
    }

    /// What was counted in this step.
    #[must_use]
    pub fn tally(&self, version: Version) -> Tally {
        self.tallies[version as usize]
    }

    /// How probable it is at most, after so much evidence, that a canary that is no worse would look like this: an always-valid p-value.
    #[must_use]
    pub fn p_value(&self, guard: Guard) -> f64 {
        let bet = match guard {
            Guard::Errors => &self.errors,
            Guard::Slow => &self.slow,
        };
        (-bet.log_evidence()).exp().min(1.0)
    }

    /// What each guard may use of `alpha`: there are two, and both are asked in each step.
    #[must_use]
    pub fn alpha_of_a_guard(&self) -> f64 {
        self.plan.alpha / (2 * self.plan.steps.len()) as f64
    }

    /// Takes note of a request that has ended.
    pub fn observe(&mut self, observation: &Observation) {
        // - Not for us: copies, what somebody chose, what was assigned under another share than this one, and all of it when the
        //   rollout has finished.
        // - It is news of its version, and one of its requests.
        // - Each failure is a coin for `errors`, whoever's it is. Heads: the canary's. If the canary is no worse, heads are no more
        //   probable than its share of the traffic.
        // - Each slow request is such a coin for `slow`: one that was answered after more than `plan.slow`, and one whose client had
        //   waited that long when it gave up.
        // - A session tosses one coin of each kind in a step (`is_first`): all its requests go to one version and may fail for one reason,
        //   and a coin that is counted twenty times is not twenty coins.
        // - Each request of the canary is a coin for `objective`. Heads: answered within the objective. If the canary misses it too often,
        //   heads are no more probable than 1 - `misses`. A client that gave up earlier than that says nothing.
        // ANCHOR: task_2_4_observe
        todo!("task 2.4")
        // ANCHOR_END: task_2_4_observe
    }

    /// What should come next. Asking changes nothing, so one may ask after every request.
    #[must_use]
    pub fn decide(&self, now: Duration) -> Decision {
        // In this order:
        // 1. Finished: stay.
        // 2. A guard's bet rejects at `alpha_of_a_guard()`: back, at once. Evidence needs no minimum.
        // 3. No news of either version for longer than `stale_after`: stay.
        // 4. In the step for less than `hold`: stay.
        // 5. Fewer than `min_requests` of the canary: stay.
        // 6. The objective's bet does not reject at `doubt`: stay. That nothing bad was seen proves nothing.
        // 7. The next step, or after the last one everything.
        // ANCHOR: task_2_4_decide
        todo!("task 2.4")
        // ANCHOR_END: task_2_4_decide
    }

    /// Decides, and does it.
    pub fn step(&mut self, now: Duration) -> Decision {
        let decision = self.decide(now);
        match (decision, self.state) {
            (Decision::Stay(_), _) => {}
            (Decision::Advance(_), State::Step(step)) => self.enter(State::Step(step + 1), now),
            (Decision::Advance(_) | Decision::Promote, _) => self.enter(State::Promoted, now),
            (Decision::RollBack(guard), _) => self.enter(State::RolledBack(guard), now),
        }
        decision
    }

    /// Each step begins with nothing known: under more load a canary may be another one.
    fn enter(&mut self, state: State, now: Duration) {
        self.state = state;
        self.since = now;
        self.tallies = Default::default();
        self.news = [now; 2];
        (self.errors, self.slow, self.objective) = Default::default();
        self.failed.clear();
        self.slowed.clear();
    }
}

/// Whether a session has not been here before; remembers it. What has no session is always the first of its own.
fn is_first(seen: &mut HashSet<u64>, session: Option<u64>) -> bool {
    session.is_none_or(|session| seen.len() < MOST_SESSIONS && seen.insert(session))
}

/// What 99 % of latencies stay at or below; `None` with fewer than [`ENOUGH`]: a rollout should not begin without.
#[must_use]
pub fn slow_beyond(stable: &mut [Duration]) -> Option<Duration> {
    if stable.len() < ENOUGH {
        return None;
    }
    let rank = (stable.len() * 99).div_ceil(100) - 1;
    Some(*stable.select_nth_unstable(rank).1)
}

/// Latencies that a 99th percentile needs: ten are beyond it.
pub const ENOUGH: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_mean_the_share() {
        for (share, stable, canary) in
            [(Share::NONE, 10_000, 0), (Share::percent(5), 9_500, 500), (Share::ALL, 0, 10_000)]
        {
            assert_eq!(Weights::from(share), Weights { stable, canary });
        }
    }

    #[test]
    fn a_plan_that_cannot_be_followed_is_refused() {
        let objective = Objective { within: Duration::from_secs(1), misses: 0.1, doubt: 0.05 };
        let plan = |steps: &[u16], alpha| Plan {
            steps: steps.iter().map(|percent| Share::percent(*percent)).collect(),
            hold: Duration::ZERO,
            min_requests: 0,
            alpha,
            slow: Duration::from_secs(1),
            objective,
            stale_after: Duration::MAX,
        };
        let begin = |plan| Rollout::try_new(plan, Duration::ZERO).map(|rollout| rollout.share());
        assert_eq!(begin(plan(&[5, 50], 0.05)), Ok(Share::percent(5)));
        for steps in [&[][..], &[0, 5], &[5, 5], &[50, 5], &[5, 100]] {
            assert_eq!(begin(plan(steps, 0.05)), Err(PlanError::Steps), "{steps:?}");
        }
        for alpha in [0.0, 1.0, f64::NAN] {
            assert!(begin(plan(&[5], alpha)).is_err(), "{alpha}");
        }
    }
}
