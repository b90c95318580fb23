//! From what pods use to how many there should be.
//!
//! Pods that say nothing, or are not ready yet, must not make it scale the wrong way: they count as if they used what speaks
//! against a change.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::Meta;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::fields::Fields;
use crate::pod;

/// How far from the target nothing is done.
const TOLERANCE: f64 = 0.1;
/// How long a starting pod's CPU says little.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// How soon after its start a pod's first readiness comes.
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// What one pod uses, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) value: i64,
    pub(super) timestamp: Timestamp,
    pub(super) window: SignedDuration,
}

/// What pods use, by name.
pub(super) type Samples = BTreeMap<String, Sample>;

/// How a use is compared with its target.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// On average this much, in thousandths.
    Average(i64),
    /// This percentage of what pods asked for, by name.
    Utilization(i64, BTreeMap<String, i64>),
}

/// How many pods there should be, and what they use: the average, and of what they asked for, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposal {
    pub(super) replicas: i64,
    pub(super) average: i64,
    pub(super) utilization: Option<i64>,
}

/// Whether a ratio of use to target is near enough to 1.
pub(super) fn is_near(ratio: f64) -> bool {
    (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio)
}

/// Rounds up, but not for a float's last bit's sake.
pub(super) fn up(value: f64) -> i64 {
    value.ceil().min(f64::from(i32::MAX)) as i64
}

#[derive(Debug, Default)]
struct Groups {
    ready: i64,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

/// How many pods there should be. `cpu`: the samples are of CPU, which says little while pods start.
///
/// # Errors
/// Why that cannot be said, in kube-controller-manager's words.
pub(super) fn propose(
    pods: &[&Value],
    mut samples: Samples,
    target: &Target,
    current: i64,
    cpu: bool,
    now: Timestamp,
) -> Result<Proposal, String> {
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let groups = group(pods, &samples, cpu, now);
    samples.retain(|name, _| !groups.ignored.contains(name) && !groups.unready.contains(name));
    if samples.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let (ratio, average, utilization) = compare(&samples, target)?;
    let proposal = |replicas: i64| Proposal { replicas, average, utilization };
    let grows_past_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !grows_past_unready && groups.missing.is_empty() {
        let replicas = if is_near(ratio) { current } else { up(ratio * groups.ready as f64) };
        return Ok(proposal(replicas));
    }
    let blank = Sample { value: 0, timestamp: now, window: SignedDuration::ZERO };
    for name in &groups.missing {
        let value = match target {
            _ if ratio > 1.0 => 0,
            _ if ratio == 1.0 => continue,
            Target::Average(target) => *target,
            Target::Utilization(target, requests) => {
                requests.get(name).copied().unwrap_or(0) * 100.max(*target) / 100
            }
        };
        samples.insert(name.clone(), Sample { value, ..blank });
    }
    if grows_past_unready {
        samples.extend(groups.unready.iter().map(|name| (name.clone(), blank)));
    }
    let (new, _, _) = compare(&samples, target)?;
    if is_near(new) || (ratio < 1.0 && new > 1.0) || (ratio > 1.0 && new < 1.0) {
        return Ok(proposal(current));
    }
    let replicas = up(new * samples.len() as f64);
    let turned = (new < 1.0 && replicas > current) || (new > 1.0 && replicas < current);
    Ok(proposal(if turned { current } else { replicas }))
}

/// The ratio of use to target, the average use, and its percentage of what was asked for.
fn compare(samples: &Samples, target: &Target) -> Result<(f64, i64, Option<i64>), String> {
    match target {
        Target::Average(target) => {
            let total: i64 = samples.values().map(|one| one.value).sum();
            let average = total / samples.len() as i64;
            Ok((average as f64 / *target as f64, average, None))
        }
        Target::Utilization(target, requests) => {
            let known: Vec<(i64, i64)> = samples
                .iter()
                .filter_map(|(name, one)| Some((one.value, *requests.get(name)?)))
                .collect();
            let used: i64 = known.iter().map(|(used, _)| used).sum();
            let asked: i64 = known.iter().map(|(_, asked)| asked).sum();
            if asked == 0 {
                return Err("no metrics returned matched known pods".to_owned());
            }
            let percent = used.saturating_mul(100) / asked;
            Ok((percent as f64 / *target as f64, used / known.len() as i64, Some(percent)))
        }
    }
}

fn group(pods: &[&Value], samples: &Samples, cpu: bool, now: Timestamp) -> Groups {
    let mut groups = Groups::default();
    for one in pods {
        let name = one.name().to_owned();
        if one.is_terminating() || pod::phase(one) == "Failed" {
            groups.ignored.insert(name);
        } else if pod::phase(one) == "Pending" {
            groups.unready.insert(name);
        } else {
            match samples.get(&name) {
                None => _ = groups.missing.insert(name),
                Some(sample) if cpu && is_starting(one, sample, now) => {
                    _ = groups.unready.insert(name)
                }
                Some(_) => groups.ready += 1,
            }
        }
    }
    groups
}

/// Whether a pod's CPU is that of its start.
fn is_starting(one: &Value, sample: &Sample, now: Timestamp) -> bool {
    let (Some(ready), Some(start)) = (pod::condition(one, "Ready"), one.time("status/startTime"))
    else {
        return true;
    };
    let since = ready.time("lastTransitionTime").unwrap_or(start);
    let not_ready = ready.text("status") == "False";
    if now.duration_since(start) < CPU_INITIALIZATION {
        return not_ready || sample.timestamp.duration_since(since) < sample.window;
    }
    not_ready && since.duration_since(start) < INITIAL_READINESS
}

/// How many pods are ready, for metrics that are not the pods' own.
pub(super) fn ready(pods: &[&Value]) -> Result<i64, String> {
    if pods.is_empty() {
        let why = "no pods returned by selector while calculating replica count";
        return Err(format!("unable to calculate ready pods: {why}"));
    }
    let ready = pods.iter().filter(|one| pod::phase(one) == "Running" && pod::is_ready(one));
    Ok(ready.count() as i64)
}
