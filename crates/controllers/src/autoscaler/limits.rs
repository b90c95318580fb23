//! How fast an autoscaler may move: stabilization windows and scaling policies.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::fields::Fields;

/// Seconds for which a higher recommendation holds against a lower one (kube-controller-manager's default).
const DOWN_WINDOW: i64 = 300;
/// Entries that are remembered: an hour, the longest window, of looks every 15 s.
const REMEMBERED: usize = 256;
/// Without scaling policies it grows to at most twice its size, or to four.
const GROWTH: (i64, i64) = (2, 4);

/// What an autoscaler has recommended and done lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    recommendations: Vec<(Timestamp, i64)>,
    ups: Vec<(Timestamp, i64)>,
    downs: Vec<(Timestamp, i64)>,
}

/// A size, and why it is that: reason and message of a condition, whether it is another than was recommended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limited {
    pub(super) replicas: i64,
    pub(super) able: (&'static str, &'static str),
    pub(super) limited: bool,
    pub(super) reason: (&'static str, &'static str),
}

/// Sizes: as it is, as recommended, and the bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) current: i64,
    pub(super) desired: i64,
    pub(super) min: i64,
    pub(super) max: i64,
}

const WITHIN: (&str, &str) =
    ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FAST: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const TOO_FAST_DOWN: (&str, &str) = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");

impl Memory {
    /// What it begins with is a recommendation too: a restart must not shrink it.
    pub(super) fn begin(&mut self, current: i64, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// Notes that the size changed.
    pub(super) fn scaled(&mut self, from: i64, to: i64, now: Timestamp) {
        let (events, by) =
            if to > from { (&mut self.ups, to - from) } else { (&mut self.downs, from - to) };
        events.push((now, by));
        let excess = events.len().saturating_sub(REMEMBERED);
        events.drain(..excess);
    }

    /// The size to take, within windows, policies and bounds.
    pub(super) fn limit(&mut self, behavior: &Value, sizes: Sizes, now: Timestamp) -> Limited {
        let ruled = behavior.is_object();
        let up = window(behavior, "scaleUp", 0, now);
        let down = window(behavior, "scaleDown", DOWN_WINDOW, now);
        self.recommendations.retain(|(at, _)| *at >= up.min(down));
        let since = |from: Timestamp| {
            self.recommendations.iter().filter(move |(at, _)| *at > from).map(|(_, size)| *size)
        };
        let lowest = since(up).fold(sizes.desired, i64::min);
        let highest = since(down).fold(sizes.desired, i64::max);
        let steady = if ruled { sizes.current.max(lowest).min(highest) } else { highest };
        self.recommendations.push((now, sizes.desired));
        let excess = self.recommendations.len().saturating_sub(REMEMBERED);
        self.recommendations.drain(..excess);
        let able = if steady == sizes.desired {
            ("ReadyForNewScale", "recommended size matches current size")
        } else if ruled && sizes.desired >= sizes.current {
            let why = "recent recommendations were lower than current one, applying the lowest recent recommendation";
            ("ScaleUpStabilized", why)
        } else {
            let why = "recent recommendations were higher than current one, applying the highest recent recommendation";
            ("ScaleDownStabilized", why)
        };
        let sizes = Sizes { desired: steady, ..sizes };
        let (replicas, reason) =
            if ruled { self.by_rules(behavior, sizes, now) } else { by_default(sizes) };
        Limited { replicas, able, limited: replicas != steady, reason }
    }

    fn by_rules(
        &self,
        behavior: &Value,
        sizes: Sizes,
        now: Timestamp,
    ) -> (i64, (&'static str, &'static str)) {
        let Sizes { current, desired, min, max } = sizes;
        if desired > current {
            let rate = self.reach(behavior.at("scaleUp"), current, true, now).max(current);
            let (most, why) = if max > rate { (rate, TOO_FAST) } else { (max, TOO_MANY) };
            return if desired > most { (most, why) } else { (desired, WITHIN) };
        }
        if desired < current {
            let rate = self.reach(behavior.at("scaleDown"), current, false, now).min(current);
            let (least, why) = if min < rate { (rate, TOO_FAST_DOWN) } else { (min, TOO_FEW) };
            return if desired < least { (least, why) } else { (desired, WITHIN) };
        }
        (desired, WITHIN)
    }

    /// How far the policies of one direction let it go.
    fn reach(&self, rules: &Value, current: i64, up: bool, now: Timestamp) -> i64 {
        let given = rules.list("policies");
        let usual = default_policies(up);
        let policies = if given.is_empty() { &usual } else { given };
        let choice = rules.text("selectPolicy");
        if choice == "Disabled" {
            return current;
        }
        let reaches = policies.iter().map(|policy| {
            let from = now
                .checked_sub(SignedDuration::from_secs(policy.count("periodSeconds")))
                .unwrap_or(now);
            let within = |events: &[(Timestamp, i64)]| -> i64 {
                events.iter().filter(|(at, _)| *at > from).map(|(_, by)| by).sum()
            };
            let start = current - within(&self.ups) + within(&self.downs);
            let value = policy.count("value");
            match (policy.text("type") == "Pods", up) {
                (true, true) => start + value,
                (true, false) => start - value,
                (false, true) => {
                    (start * (100 + value)).div_euclid(100)
                        + i64::from((start * (100 + value)) % 100 != 0)
                }
                (false, false) => start * (100 - value) / 100,
            }
        });
        let least_change = choice == "Min";
        if up != least_change { reaches.max() } else { reaches.min() }.unwrap_or(current)
    }
}

/// The policies of a behavior that names none (API defaults): up by 4 pods or double every 15 s, down without limit.
fn default_policies(up: bool) -> Vec<Value> {
    let percent = serde_json::json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = serde_json::json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    if up { vec![pods, percent] } else { vec![percent] }
}

fn window(behavior: &Value, direction: &str, default: i64, now: Timestamp) -> Timestamp {
    let seconds =
        behavior.int(&format!("{direction}/stabilizationWindowSeconds")).unwrap_or(default);
    now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
}

fn by_default(sizes: Sizes) -> (i64, (&'static str, &'static str)) {
    let rate = (GROWTH.0 * sizes.current).max(GROWTH.1);
    let (most, why) = if sizes.max > rate { (rate, TOO_FAST) } else { (sizes.max, TOO_MANY) };
    if sizes.desired < sizes.min {
        (sizes.min, TOO_FEW)
    } else if sizes.desired > most {
        (most, why)
    } else {
        (sizes.desired, WITHIN)
    }
}
