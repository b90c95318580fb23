//! What is looked at, and whether it is as it should be: a function of what was seen.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A statement about the workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Check {
    /// So many pods are ready.
    Ready {
        /// This many or more.
        #[serde(default, rename = "atLeast", skip_serializing_if = "Option::is_none")]
        at_least: Option<usize>,
        /// This many or fewer.
        #[serde(default, rename = "atMost", skip_serializing_if = "Option::is_none")]
        at_most: Option<usize>,
    },
    /// So many pods are not ready that are there.
    NotReady {
        /// This many or more.
        #[serde(rename = "atLeast")]
        at_least: usize,
    },
    /// So many pods of the beginning are gone.
    Gone {
        /// This many or more.
        #[serde(rename = "atLeast")]
        at_least: usize,
    },
    /// Containers have restarted since the beginning.
    Restarts {
        /// So often or more, all together.
        #[serde(rename = "atLeast")]
        at_least: i32,
    },
    /// A request to pods.
    Http {
        /// The request.
        request: Request,
        /// Of which pods it must be true.
        #[serde(default)]
        pods: Pods,
        /// The status code that the answer must have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// No answer may come: the connection is cut, or time passes.
        #[serde(default)]
        fails: bool,
        /// The answer must take at least so many times as long as it did at the beginning.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slower: Option<f64>,
        /// The Deployment whose pods are asked; by default the one that is hit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
    /// Pods use so much CPU, as the metrics API has it and `kubectl top` shows it.
    Cpu {
        /// Of which pods it must be true.
        #[serde(default)]
        pods: Pods,
        /// Thousandths of a core, or more.
        #[serde(rename = "atLeastMilli")]
        at_least_milli: f64,
    },
    /// A metric of pods, summed over its labels.
    Metric {
        /// Its name.
        name: String,
        /// The port of the page `/metrics`.
        #[serde(default = "default_port")]
        port: u16,
        /// Of which pods it must be true.
        #[serde(default)]
        pods: Pods,
        /// So much or more.
        #[serde(default, rename = "atLeast", skip_serializing_if = "Option::is_none")]
        at_least: Option<f64>,
        /// So much or less.
        #[serde(default, rename = "atMost", skip_serializing_if = "Option::is_none")]
        at_most: Option<f64>,
        /// Whether a request that is answered between two looks changes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moves: Option<bool>,
        /// The page must answer, and not have it.
        #[serde(default)]
        absent: bool,
        /// Judge not its value but what it grew by since the beginning, for each one that this metric grew by.
        /// Judged once that are 20 or more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        per: Option<String>,
        /// The Deployment whose pods are asked; by default the one that is hit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
}

/// Below so many of the other metric a rate says nothing: the first retries of a budget come out of what it saved.
const MIN_SAMPLE: f64 = 20.0;

fn default_port() -> u16 {
    8000
}

/// Of which pods a statement must be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pods {
    /// Of every ready one.
    #[default]
    Every,
    /// Of one ready one or more.
    Some,
}

/// A request to a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The path.
    pub path: String,
    /// A JSON body; with one, it is a POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// What came of a request to one pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// An answer.
    Came {
        /// Its status code.
        status: u16,
        /// How long it took.
        took: Duration,
        /// What it says.
        body: String,
    },
    /// None, and why.
    Failed(String),
}

/// A metric of one pod: port, name, pod.
pub type MetricKey = (u16, String, String);

/// What was seen at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    /// The pods by name.
    pub pods: BTreeMap<String, PodView>,
    /// Answers by request and pod.
    pub answers: BTreeMap<Request, BTreeMap<String, Answer>>,
    /// Metrics, before and after the requests.
    pub metrics: BTreeMap<MetricKey, (Option<f64>, Option<f64>)>,
    /// Thousandths of a core that pods use, where that was asked for and is known.
    pub cpu_milli: BTreeMap<String, f64>,
    /// The same of other Deployments, by name.
    pub others: BTreeMap<String, View>,
}

/// A pod as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodView {
    /// Its identity.
    pub uid: String,
    /// Whether it is ready, and not being deleted.
    pub ready: bool,
    /// How often its containers restarted.
    pub restarts: i32,
}

impl View {
    /// How many pods are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.pods.values().filter(|pod| pod.ready).count()
    }

    /// A metric of a pod by port, name and pod, before and after the requests.
    fn metric(&self, (port, name, pod): (u16, &str, &str)) -> Result<(Option<f64>, f64), String> {
        let key = (port, name.to_owned(), pod.to_owned());
        let (before, after) = self.metrics.get(&key).copied().unwrap_or_default();
        Ok((before, after.ok_or_else(|| format!("{pod} has no metric {name}"))?))
    }

    fn moves(&self, at: (u16, &str, &str), wanted: bool) -> Result<(), String> {
        let (before, value) = self.metric(at)?;
        let moved = before != Some(value);
        if moved == wanted {
            return Ok(());
        }
        let what = if moved { "moved" } else { "stayed" };
        Err(format!("{}: {} {what} ({before:?}, then {value})", at.2, at.1))
    }

    /// Whether the page of a pod answered, and had no such metric.
    fn lacks(&self, port: u16, name: &str, pod: &str) -> Result<(), String> {
        match self.metrics.get(&(port, name.to_owned(), pod.to_owned())) {
            Some((_, None)) => Ok(()),
            Some((_, Some(value))) => Err(format!("{pod}: {name} is there: {value}")),
            None => Err(format!("{pod}: its page of metrics did not answer")),
        }
    }

    fn took(&self, request: &Request) -> Option<Duration> {
        let answers = self.answers.get(request)?.values();
        let mut times: Vec<Duration> = answers
            .filter_map(|answer| match answer {
                Answer::Came { took, .. } => Some(*took),
                Answer::Failed(_) => None,
            })
            .collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }
}

impl Check {
    /// The request that it needs an answer to.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        match self {
            Self::Http { request, .. } => Some(request),
            _ => None,
        }
    }

    /// The metrics that it needs, and on which port.
    pub fn metrics(&self) -> impl Iterator<Item = (u16, &str)> {
        let names = match self {
            Self::Metric { name, port, per, .. } => {
                [Some((*port, name.as_str())), per.as_deref().map(|per| (*port, per))]
            }
            _ => [None, None],
        };
        names.into_iter().flatten()
    }

    /// The Deployment that it asks, where that is not the one that is hit.
    #[must_use]
    pub fn of(&self) -> Option<&str> {
        match self {
            Self::Http { of, .. } | Self::Metric { of, .. } => of.as_deref(),
            _ => None,
        }
    }

    /// Whether it is true of what is seen `now`, given what was seen at `first`.
    ///
    /// # Errors
    /// Why it is not, in words.
    pub fn holds(&self, first: &View, now: &View) -> Result<(), String> {
        let (first, now) = match self.of() {
            None => (first, now),
            Some(name) => {
                let other = now.others.get(name);
                let now = other.ok_or_else(|| format!("there is no Deployment {name:?}"))?;
                (first.others.get(name).unwrap_or(now), now)
            }
        };
        match self {
            Self::Ready { at_least, at_most } => {
                let ready = now.ready();
                within("ready pods", ready as f64, at_least.map(float), at_most.map(float))
            }
            Self::NotReady { at_least } => {
                let count = now.pods.len() - now.ready();
                within("pods that are not ready", float(count), Some(float(*at_least)), None)
            }
            Self::Gone { at_least } => {
                let here: Vec<&str> = now.pods.values().map(|pod| pod.uid.as_str()).collect();
                let gone = first.pods.values().filter(|pod| !here.contains(&pod.uid.as_str()));
                within("pods gone", float(gone.count()), Some(float(*at_least)), None)
            }
            Self::Restarts { at_least } => {
                let total = |view: &View| view.pods.values().map(|pod| pod.restarts).sum::<i32>();
                let restarts = total(now) - total(first);
                within("restarts", f64::from(restarts), Some(f64::from(*at_least)), None)
            }
            Self::Http { request, pods, status, fails, slower, .. } => {
                let answers = now.answers.get(request);
                let limit = slower.zip(first.took(request));
                pods.judge(now, |pod| {
                    let answer = answers.and_then(|all| all.get(pod));
                    judge(request, answer, *status, *fails, limit)
                })
            }
            Self::Cpu { pods, at_least_milli } => pods.judge(now, |pod| {
                let used = now.cpu_milli.get(pod);
                let used = used.ok_or_else(|| format!("nobody knows yet what CPU {pod} uses"))?;
                let what = format!("thousandths of a core that {pod} uses");
                within(&what, *used, Some(*at_least_milli), None)
            }),
            Self::Metric { name, port, pods, absent: true, .. } => {
                pods.judge(now, |pod| now.lacks(*port, name, pod))
            }
            Self::Metric { name, port, pods, at_least, at_most, moves, per, .. } => {
                pods.judge(now, |pod| {
                    let at = (*port, name.as_str(), pod);
                    let (what, value) = match per {
                        None => (format!("{pod}: {name}"), now.metric(at)?.1),
                        Some(per) => {
                            let others = growth(first, now, (*port, per, pod))?;
                            if others < MIN_SAMPLE {
                                return Ok(());
                            }
                            (format!("{pod}: {name} per {per}"), growth(first, now, at)? / others)
                        }
                    };
                    within(&what, value, *at_least, *at_most)?;
                    moves.map_or(Ok(()), |wanted| now.moves(at, wanted))
                })
            }
        }
    }
}

/// What a counter of a pod grew by since the beginning; all of it where the pod, or the counter, was not there then.
fn growth(first: &View, now: &View, at: (u16, &str, &str)) -> Result<f64, String> {
    let (_, value) = now.metric(at)?;
    let then = first.metric(at).map_or(0.0, |(_, value)| value);
    Ok(if value < then { value } else { value - then })
}

fn float(count: impl TryInto<u32>) -> f64 {
    f64::from(count.try_into().unwrap_or(u32::MAX))
}

fn within(what: &str, value: f64, low: Option<f64>, high: Option<f64>) -> Result<(), String> {
    match (low, high) {
        (Some(low), _) if value < low => Err(format!("{what}: {value}, expected {low} or more")),
        (_, Some(high)) if value > high => Err(format!("{what}: {value}, expected {high} or less")),
        _ => Ok(()),
    }
}

fn judge(
    request: &Request,
    answer: Option<&Answer>,
    status: Option<u16>,
    fails: bool,
    slower: Option<(f64, Duration)>,
) -> Result<(), String> {
    let path = &request.path;
    match (answer, fails) {
        (None, _) => Err(format!("{path} was not asked for")),
        (Some(Answer::Failed(_)), true) => Ok(()),
        (Some(Answer::Failed(why)), false) => Err(format!("{path}: {why}")),
        (Some(Answer::Came { status, .. }), true) => {
            Err(format!("{path} was answered with {status}"))
        }
        (Some(Answer::Came { status: code, took, .. }), false) => {
            if let Some(wanted) = status.filter(|wanted| wanted != code) {
                return Err(format!("{path}: status {code}, expected {wanted}"));
            }
            match slower {
                Some((ratio, healthy)) if took.as_secs_f64() < ratio * healthy.as_secs_f64() => {
                    let times = took.as_secs_f64() / healthy.as_secs_f64().max(1e-6);
                    Err(format!("{path} takes {times:.1} times as long, expected {ratio} or more"))
                }
                _ => Ok(()),
            }
        }
    }
}

impl Pods {
    /// Whether it is true of the ready pods it must be true of.
    fn judge(self, now: &View, each: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
        let ready = now.pods.iter().filter(|(_, pod)| pod.ready).map(|(name, _)| name.as_str());
        let results: Vec<Result<(), String>> = ready.map(each).collect();
        let none = || Err("no pod is ready".to_owned());
        match self {
            _ if results.is_empty() => none(),
            Self::Every => results.into_iter().find(Result::is_err).unwrap_or(Ok(())),
            Self::Some if results.iter().any(Result::is_ok) => Ok(()),
            Self::Some => results.into_iter().next().unwrap_or_else(none),
        }
    }
}
