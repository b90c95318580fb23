//! What to do about a job.

use std::collections::BTreeSet;

use apimachinery::Meta;
use jiff::{SignedDuration, Timestamp};
use object_store::Propagation;
use serde_json::{Value, json};

use super::failure_policy::{Verdict, judge};
use super::finish::{self, Counts, End};
use super::{indexes, pods};
use crate::action::{Action, Event, Plan, TellStyle};
use crate::fields::{Fields, stamp};
use crate::pod;
use crate::resource::{JOBS, PODS};

/// The wait after the first pod in a row that failed; doubled with each further one.
const FIRST_BACK_OFF: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_BACK_OFF: SignedDuration = SignedDuration::from_mins(10);
/// Pods created in one go.
const BURST: i64 = 500;

/// A job with its pods.
struct Look<'a> {
    job: &'a Value,
    pods: Vec<&'a Value>,
    indexed: bool,
    /// Succeeded and failed pods whose end is not yet in the counts.
    uncounted: [Vec<&'a str>; 2],
    /// Indexes of pods that succeeded.
    done: BTreeSet<i64>,
    counts: Counts,
    now: Timestamp,
}

/// What to do about a job, given the pods of its namespace.
pub(super) fn plan(job: &Value, all: &[&Value], now: Timestamp) -> Plan {
    let own: Vec<&Value> = all.iter().copied().filter(|one| finish::owns(job, one)).collect();
    if finish::finished(job).is_some() || job.is_terminating() {
        return over(job, &own, now);
    }
    let look = Look::of(job, own, now);
    let mut plan = Plan::default();
    let mut status = look.status();
    let before = status.clone();
    let end = finish::end(job, &look.pods, look.counts, now);
    let mut work = Vec::new();
    if let Some(end) = &end {
        look.finish(end, &mut status, &mut work);
    } else if job.flag("spec/suspend") {
        look.suspend(&mut status, &mut work);
    } else {
        look.resume(&mut status, &mut work);
        look.manage(&mut work, &mut plan);
        if let Some(left) = finish::until_deadline(job, now) {
            plan.again_in(crate::wait_of(left));
        }
    }
    plan.actions = look.count(&before);
    plan.actions.extend(Action::status(JOBS, job, status));
    plan.actions.append(&mut work);
    plan
}

/// A job that is over, or on its way out: its pods are let go, and it is forgotten in time.
fn over(job: &Value, own: &[&Value], now: Timestamp) -> Plan {
    let tracked = own.iter().filter(|one| pods::is_tracked(one));
    let mut plan = Plan::of(tracked.map(|one| pods::untrack(one)).collect());
    match finish::until_forgotten(job, now) {
        _ if job.is_terminating() => {}
        Some(left) if left.is_positive() => plan.again_in(crate::wait_of(left)),
        Some(_) => {
            let mut delete = Action::delete(JOBS, job);
            if let Action::Delete { propagation, .. } = &mut delete {
                *propagation = Some(Propagation::Foreground);
            }
            plan.actions.push(delete);
        }
        None => {}
    }
    plan
}

impl<'a> Look<'a> {
    fn of(job: &'a Value, own: Vec<&'a Value>, now: Timestamp) -> Self {
        let indexed = job.text("spec/completionMode") == "Indexed";
        let completions = job.int("spec/completions").unwrap_or(i64::MAX);
        let known = |which: &str| -> Vec<&'a str> {
            let list = job.list(&format!("status/uncountedTerminatedPods/{which}"));
            list.iter().filter_map(Value::as_str).collect()
        };
        let mut uncounted = [known("succeeded"), known("failed")];
        let mut done = indexes::parse(job.text("status/completedIndexes"));
        for pod in own.iter().copied().filter(|one| pods::is_tracked(one)) {
            if uncounted.iter().any(|list| list.contains(&pod.uid())) {
                continue;
            }
            if pod::phase(pod) == "Succeeded" {
                uncounted[0].push(pod.uid());
            } else if pods::is_failed(job, pod) && judge(job, pod) != Verdict::Ignore {
                uncounted[1].push(pod.uid());
            }
        }
        let succeeded = own.iter().filter(|one| pod::phase(one) == "Succeeded");
        done.extend(
            succeeded.filter_map(|one| pods::index(one)).filter(|index| *index < completions),
        );
        let count = |holds: &dyn Fn(&Value) -> bool| {
            i64::try_from(own.iter().filter(|one| holds(one)).count()).unwrap_or(i64::MAX)
        };
        let plus =
            |field: &str, list: &[&str]| job.count(field) + i64::try_from(list.len()).unwrap_or(0);
        let counts = Counts {
            active: count(&pod::is_active),
            terminating: count(&|one| one.is_terminating() && !pod::is_finished(one)),
            ready: count(&|one| pod::is_active(one) && pod::is_ready(one)),
            succeeded: if indexed {
                i64::try_from(done.len()).unwrap_or(i64::MAX)
            } else {
                plus("status/succeeded", &uncounted[0])
            },
            failed: plus("status/failed", &uncounted[1]),
        };
        Self { job, pods: own, indexed, uncounted, done, counts, now }
    }

    /// Notes whose end is counted before they are let go: whoever takes over in between counts nobody twice.
    fn count(&self, after: &Value) -> Vec<Action> {
        let ended = |one: &&&Value| {
            pods::is_tracked(one)
                && (pod::is_finished(one)
                    || self.uncounted.iter().any(|list| list.contains(&one.uid())))
        };
        let leaving: Vec<Action> =
            self.pods.iter().filter(ended).map(|one| pods::untrack(one)).collect();
        if leaving.is_empty() {
            return Vec::new();
        }
        let mut noted = after.clone();
        for field in ["succeeded", "failed"] {
            noted[field] = self.job["status"][field].clone();
        }
        if let Some(map) = noted.as_object_mut() {
            map.retain(|_, value| !value.is_null());
        }
        let [succeeded, failed] = &self.uncounted;
        noted["uncountedTerminatedPods"] = json!({"succeeded": succeeded, "failed": failed});
        Action::status(JOBS, self.job, noted).into_iter().chain(leaving).collect()
    }

    /// The status, with every end counted.
    fn status(&self) -> Value {
        let mut status = json!({
            "uncountedTerminatedPods": {},
            "ready": self.counts.ready,
            "terminating": self.counts.terminating,
        });
        let counts = [
            ("active", self.counts.active),
            ("succeeded", self.counts.succeeded),
            ("failed", self.counts.failed),
        ];
        for (field, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            status[field] = json!(count);
        }
        if self.indexed && !self.done.is_empty() {
            status["completedIndexes"] = json!(indexes::format(&self.done));
        }
        for field in ["startTime", "conditions"] {
            if self.job["status"].has(field) {
                status[field] = self.job["status"][field].clone();
            }
        }
        status
    }

    /// Ends what still runs; once nothing does, the job is over.
    fn finish(&self, end: &End, status: &mut Value, work: &mut Vec<Action>) {
        let (coming, come) = end.conditions();
        finish::set(status, coming, "True", &end.reason, &end.message, self.now);
        let active: Vec<&&Value> = self.pods.iter().filter(|one| pod::is_active(one)).collect();
        work.extend(active.iter().flat_map(|one| self.stop(one)));
        if !active.is_empty() || self.counts.terminating > 0 {
            return;
        }
        finish::set(status, come, "True", &end.reason, &end.message, self.now);
        let event = if end.well {
            status["completionTime"] = json!(stamp(self.now));
            Event::normal(self.job, "Completed", "Job completed")
        } else {
            Event::warning(self.job, &end.reason, end.message.clone())
        };
        work.push(Action::Tell(event));
    }

    fn suspend(&self, status: &mut Value, work: &mut Vec<Action>) {
        let active = self.pods.iter().filter(|one| pod::is_active(one));
        work.extend(active.flat_map(|one| self.stop(one)));
        if let Some(map) = status.as_object_mut() {
            map.remove("startTime");
        }
        if !pod::has_condition(self.job, "Suspended") {
            finish::set(status, "Suspended", "True", "JobSuspended", "Job suspended", self.now);
            work.push(Action::Tell(Event::normal(self.job, "Suspended", "Job suspended")));
        }
    }

    fn resume(&self, status: &mut Value, work: &mut Vec<Action>) {
        if pod::has_condition(self.job, "Suspended") {
            finish::set(status, "Suspended", "False", "JobResumed", "Job resumed", self.now);
            work.push(Action::Tell(Event::normal(self.job, "Resumed", "Job resumed")));
        }
        if !status.has("startTime") {
            status["startTime"] = json!(stamp(self.now));
        }
    }

    /// Takes a pod away without counting it.
    fn stop(&self, pod: &Value) -> Vec<Action> {
        let message = format!("Deleted pod: {}", pod.name());
        let event = Event::normal(self.job, "SuccessfulDelete", message);
        let untracked = pods::is_tracked(pod).then(|| pods::untrack(pod));
        untracked.into_iter().chain([Action::delete(PODS, pod).telling(event)]).collect()
    }

    /// As many pods at work as are wanted.
    fn manage(&self, work: &mut Vec<Action>, plan: &mut Plan) {
        let parallelism = self.job.int("spec/parallelism").unwrap_or(1);
        let counts = self.counts;
        let wanted = match self.job.int("spec/completions") {
            None if counts.succeeded > 0 => counts.active,
            None => parallelism,
            Some(completions) => parallelism.min((completions - counts.succeeded).max(0)),
        };
        let doubles = if self.indexed { self.doubles() } else { Vec::new() };
        let active = counts.active - i64::try_from(doubles.len()).unwrap_or(0);
        work.extend(doubles.iter().flat_map(|one| self.stop(one)));
        if active > wanted {
            self.shrink(usize::try_from(active - wanted).unwrap_or(0), &doubles, work);
            return;
        }
        let only_failed = self.job.text("spec/podReplacementPolicy") == "Failed"
            || self.job.has("spec/podFailurePolicy");
        let taken = if only_failed { active + counts.terminating } else { active };
        let lacking = (wanted - taken).min(BURST);
        if lacking <= 0 {
            return;
        }
        let wait = self.back_off();
        if wait.is_positive() {
            plan.again_in(crate::wait_of(wait));
            return;
        }
        if self.indexed {
            let free = self.free_indexes(only_failed);
            work.extend(
                free.take(usize::try_from(lacking).unwrap_or(0))
                    .map(|index| self.create(Some(index))),
            );
        } else {
            work.extend((0..lacking).map(|_| self.create(None)));
        }
    }

    fn create(&self, index: Option<i64>) -> Action {
        Action::create_told(PODS, pods::make(self.job, index), self.job, TellStyle::Pod)
    }

    fn shrink(&self, many: usize, doubles: &[&Value], work: &mut Vec<Action>) {
        let mut active: Vec<&Value> =
            self.pods.iter().copied().filter(|one| pod::is_active(one)).collect();
        active.retain(|one| !doubles.iter().any(|double| double.uid() == one.uid()));
        let neighbours = std::collections::HashMap::new();
        active.sort_by(|a, b| crate::replica_set::first_to_go(a, b, &neighbours, self.now));
        work.extend(active.into_iter().take(many).flat_map(|one| self.stop(one)));
    }

    /// Active pods that nobody needs: their index is done, out of range, or somebody older is at it.
    fn doubles(&self) -> Vec<&'a Value> {
        let completions = self.job.int("spec/completions").unwrap_or(0);
        let mut seen = BTreeSet::new();
        let mut active: Vec<&Value> =
            self.pods.iter().copied().filter(|one| pod::is_active(one)).collect();
        active.sort_by_key(|one| one.text("metadata/creationTimestamp"));
        active.retain(|one| {
            let index = pods::index(one).filter(|index| (0..completions).contains(index));
            index.is_none_or(|index| self.done.contains(&index) || !seen.insert(index))
        });
        active
    }

    fn free_indexes(&self, only_failed: bool) -> impl Iterator<Item = i64> {
        let at_work = |one: &&&Value| {
            pod::is_active(one) || (only_failed && one.is_terminating() && !pod::is_finished(one))
        };
        let mut taken: BTreeSet<i64> =
            self.pods.iter().filter(at_work).filter_map(|one| pods::index(one)).collect();
        taken.extend(&self.done);
        let completions = self.job.int("spec/completions").unwrap_or(0);
        (0..completions).filter(move |index| !taken.contains(index))
    }

    /// How long to wait for the next pod: longer with each that failed since the last that did not.
    fn back_off(&self) -> SignedDuration {
        let ended = |phase: &str| -> Vec<Timestamp> {
            let of = self.pods.iter().filter(|one| pod::phase(one) == phase);
            of.filter_map(|one| pods::finished_at(one)).collect()
        };
        let success = ended("Succeeded").into_iter().max();
        let failures: Vec<Timestamp> = ended("Failed")
            .into_iter()
            .filter(|at| success.is_none_or(|success| *at > success))
            .collect();
        let Some(last) = failures.iter().max() else { return SignedDuration::ZERO };
        let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(16);
        let wait = FIRST_BACK_OFF.saturating_mul(1 << doublings).min(LONGEST_BACK_OFF);
        last.checked_add(wait).unwrap_or(*last).duration_since(self.now)
    }
}
