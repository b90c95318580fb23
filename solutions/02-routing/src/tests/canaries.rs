//! Traffic for canaries: requests that chance sends to one of two versions, and what becomes of them. A closed form, so that
//! hundreds of rollouts take a second.

use std::time::Duration;

use fastrand::Rng;
use testbed::seed;

use crate::rollout::{Decision, Guard, Objective, Observation, Plan, Rollout, Seen, State};
use crate::split::{Share, Version};

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How a version behaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arm {
    /// The part of its requests that fail.
    pub(super) failing: f64,
    /// The part of the others that takes ten times as long.
    pub(super) slow: f64,
}

/// What serves today: 1 % fail, and 1 % take longer than [`SLOW`].
pub(super) const STABLE: Arm = Arm { failing: 0.01, slow: 0.01 };

/// 99 % of the stable version's requests stay below. They take from 50 to 150 ms, or ten times that.
pub(super) const SLOW: Duration = ms(400);

/// One request a millisecond.
pub(super) const GAP: Duration = ms(1);

/// A plan of these steps, in percent, that moves as soon as it may.
pub(super) fn plan(steps: &[u16]) -> Plan {
    Plan {
        steps: steps.iter().map(|percent| Share::percent(*percent)).collect(),
        hold: Duration::ZERO,
        min_requests: 50,
        alpha: 0.05,
        slow: SLOW,
        objective: Objective { within: SLOW, misses: 0.1, doubt: 0.05 },
        stale_after: Duration::MAX,
    }
}

/// A plan whose only step never ends, so that it is asked again and again.
pub(super) fn endless(percent: u16) -> Plan {
    Plan { min_requests: u64::MAX, ..plan(&[percent]) }
}

pub(super) fn begin(plan: Plan) -> Rollout {
    Rollout::try_new(plan, Duration::ZERO).expect("a plan that can be followed")
}

/// A generator for one case of one purpose.
pub(super) fn generator(purpose: &str, case: u64) -> Rng {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    Rng::with_seed(purpose.bytes().fold(seed() << 20 ^ case, mix))
}

/// One request that ends at `at`.
pub(super) fn request(
    rollout: &Rollout,
    arms: [Arm; 2],
    at: Duration,
    rng: &mut Rng,
) -> Observation {
    let share = rollout.share();
    let is_canary = rng.f64() < share.part();
    let version = if is_canary { Version::Canary } else { Version::Stable };
    let arm = arms[version as usize];
    let seen = if rng.f64() < arm.failing {
        Seen::Failed
    } else {
        let usual = 50 + rng.u64(..100);
        Seen::Answered(ms(if rng.f64() < arm.slow { 10 * usual } else { usual }))
    };
    Observation { version, share, counts: true, shadow: false, session: None, seen, at }
}

/// How a rollout went.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Course {
    /// Where it ended.
    pub(super) state: State,
    /// Requests until then.
    pub(super) requests: u64,
    /// Of these, the canary's.
    pub(super) canary: u64,
    /// What was decided, but for `Stay`.
    pub(super) decisions: Vec<Decision>,
}

impl Course {
    pub(super) fn rolled_back(&self) -> Option<Guard> {
        if let State::RolledBack(guard) = self.state { Some(guard) } else { None }
    }
}

/// Runs a rollout, and asks what comes next after every single request.
pub(super) fn run(plan: Plan, canary: Arm, most: u64, rng: &mut Rng) -> Course {
    let mut rollout = begin(plan);
    let mut course =
        Course { state: rollout.state(), requests: 0, canary: 0, decisions: Vec::new() };
    while course.requests < most && matches!(rollout.state(), State::Step(_)) {
        course.requests += 1;
        let at = GAP * course.requests as u32;
        let observation = request(&rollout, [STABLE, canary], at, rng);
        course.canary += u64::from(observation.version == Version::Canary);
        rollout.observe(&observation);
        let decision = rollout.step(at);
        if !matches!(decision, Decision::Stay(_)) {
            course.decisions.push(decision);
        }
    }
    course.state = rollout.state();
    course
}
