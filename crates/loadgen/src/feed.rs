//! Which request leaves next, and when: one worker's share of the plan.

use std::sync::Arc;
use std::time::Duration;

use workload::Request;

use crate::plan::{Pace, Plan};

/// When the next request may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// At this time.
    At(Duration),
    /// When an earlier one ends.
    Slot,
    /// There is none.
    Never,
}

/// A worker's share: every `step`-th request.
pub(crate) struct Feed {
    requests: Box<dyn Iterator<Item = Request> + Send>,
    pace: Share,
    /// The place of the next request in the whole schedule.
    index: usize,
    step: usize,
}

enum Share {
    Open(Arc<[Duration]>),
    Closed { slots: usize, requests: usize, until: Option<Duration> },
}

impl Feed {
    /// The share of worker `worker`.
    pub(crate) fn new(plan: &Plan, worker: usize) -> Self {
        let step = plan.limits.threads;
        let pace = match &plan.pace {
            Pace::Open(times) => Share::Open(Arc::clone(times)),
            Pace::Closed { concurrency, requests, until } => {
                // The first workers take what does not divide.
                let slots = (concurrency.get() + step - 1 - worker) / step;
                Share::Closed { slots, requests: *requests, until: *until }
            }
        };
        Self { requests: plan.source.requests(worker, step), pace, index: worker, step }
    }

    /// When the request of this place may leave, with `in_flight` of this worker's on their way.
    pub(crate) fn due(&self, index: usize, now: Duration, in_flight: usize) -> Due {
        match &self.pace {
            Share::Open(times) => times.get(index).map_or(Due::Never, |time| Due::At(*time)),
            Share::Closed { slots, requests, until } => {
                if index >= *requests || *slots == 0 || until.is_some_and(|until| now >= until) {
                    Due::Never
                } else if in_flight < *slots {
                    Due::At(now)
                } else {
                    Due::Slot
                }
            }
        }
    }

    /// Whether requests wait for earlier ones.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.pace, Share::Closed { .. })
    }

    /// Takes the next request, with its place in the schedule.
    pub(crate) fn take(&mut self) -> Option<(usize, Request)> {
        let request = self.requests.next()?;
        let index = self.index;
        self.index += self.step;
        Some((index, request))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use workload::{Lengths, Mix};

    use super::*;
    use crate::plan::Source;
    use crate::{BodyOptions, Endpoint, Limits, PromptForm, Target};

    fn plan(pace: Pace, threads: usize) -> Plan {
        let target = Target::parse("http://127.0.0.1:9").unwrap();
        let options = BodyOptions {
            endpoint: Endpoint::Completions,
            model: "m".into(),
            prompt: PromptForm::Words,
            stream: true,
            continuous_usage: false,
            ignore_eos: false,
            extra: serde_json::Map::new(),
            headers: Vec::new(),
        };
        let limits = Limits {
            timeout: Duration::from_secs(1),
            max_in_flight: 100,
            threads,
            keep_alive: true,
        };
        let lengths = "uniform:min=1,max=9000".parse::<Lengths>().unwrap();
        let mix = Mix { input: lengths.clone(), output: lengths, shared_prefix: None };
        let address = "127.0.0.1:9".parse().unwrap();
        Plan::new(&target, address, pace, Source::Mix(mix, 7), &options, limits).unwrap()
    }

    /// Place, time and length of every request, of all workers together.
    fn shares(threads: usize) -> Vec<(usize, Due, u32)> {
        let times: Vec<_> = (1..=10).map(Duration::from_secs).collect();
        let plan = plan(Pace::Open(times.into()), threads);
        let mut all = Vec::new();
        for worker in 0..threads {
            let mut feed = Feed::new(&plan, worker);
            while let Some((index, request)) = feed.take() {
                let due = feed.due(index, Duration::ZERO, 0);
                if due == Due::Never {
                    break;
                }
                all.push((index, due, request.output_tokens));
            }
        }
        all.sort_by_key(|entry| entry.0);
        all
    }

    #[test]
    fn each_request_has_its_own_time_however_many_workers_share_them() {
        let one = shares(1);
        assert_eq!(one.len(), 10);
        for (index, due, _) in &one {
            assert_eq!(*due, Due::At(Duration::from_secs(*index as u64 + 1)));
        }
        assert_eq!(shares(3), one);
    }

    #[test]
    fn a_closed_loop_has_as_many_slots_as_asked_in_all() {
        let concurrency = NonZeroUsize::new(5).unwrap();
        let until = Some(Duration::from_secs(9));
        let plan = plan(Pace::Closed { concurrency, requests: 20, until }, 3);
        let slots: usize = (0..3)
            .map(|worker| {
                let feed = Feed::new(&plan, worker);
                (0..9)
                    .filter(|n| feed.due(0, Duration::ZERO, *n) == Due::At(Duration::ZERO))
                    .count()
            })
            .sum();
        assert_eq!(slots, 5);
        let feed = Feed::new(&plan, 0);
        assert_eq!(feed.due(0, Duration::ZERO, 2), Due::Slot);
        assert_eq!(feed.due(20, Duration::ZERO, 0), Due::Never);
        assert_eq!(feed.due(0, Duration::from_secs(9), 0), Due::Never);
    }
}
