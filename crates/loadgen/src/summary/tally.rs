//! Takes records one by one, in any order, and forgets them.

use std::collections::BTreeMap;
use std::time::Duration;

use workload::{GapStatistics, scramble};

use super::figures::Latency;
use super::{
    Answers, ArrivalFigures, Counts, Description, Errors, Generator, Latencies, Plots, Point, Rate,
    Second, Summary, Throughput, notes,
};
use crate::{ErrorKind, Outcome, Record, Slo};

/// The most requests that plots show one by one.
const MAX_POINTS: usize = 50_000;
/// The most seconds that plots show one by one: a day.
const MAX_SECONDS: usize = 86_400;
/// Points of a distribution function.
const DISTRIBUTION_STEPS: u32 = 200;
/// Version of the summary's shape.
const SCHEMA: u32 = 1;

/// A run so far.
#[derive(Debug, Clone)]
pub struct Tally {
    slo: Slo,
    counts: Counts,
    good: usize,
    errors: BTreeMap<ErrorKind, Errors>,
    ttft: Latency,
    ttft_from_send: Latency,
    itl: Latency,
    tpot: Latency,
    e2e: Latency,
    e2e_from_send: Latency,
    lateness: Latency,
    scheduled: Vec<Duration>,
    sent: Vec<Duration>,
    last_end: Duration,
    in_flight: Duration,
    input_asked: u64,
    input_tokens: u64,
    output_asked: u64,
    output_tokens: u64,
    pieces: u64,
    coalesced: u64,
    plots: Plots,
    seen: usize,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new(slo: Slo) -> Self {
        Self {
            slo,
            counts: Counts::default(),
            good: 0,
            errors: BTreeMap::new(),
            ttft: Latency::new(),
            ttft_from_send: Latency::new(),
            itl: Latency::new(),
            tpot: Latency::new(),
            e2e: Latency::new(),
            e2e_from_send: Latency::new(),
            lateness: Latency::new(),
            scheduled: Vec::new(),
            sent: Vec::new(),
            last_end: Duration::ZERO,
            in_flight: Duration::ZERO,
            input_asked: 0,
            input_tokens: 0,
            output_asked: 0,
            output_tokens: 0,
            pieces: 0,
            coalesced: 0,
            plots: Plots::default(),
            seen: 0,
        }
    }

    /// Requests that ended so far, and how many of those failed.
    #[must_use]
    pub fn ended(&self) -> (usize, usize) {
        (self.counts.ok + self.counts.failed, self.counts.failed)
    }

    /// One more.
    pub fn add(&mut self, record: &Record) {
        self.last_end = self.last_end.max(record.ended);
        self.lateness.add(record.lateness());
        if let Some(sent) = record.sent {
            self.counts.sent += 1;
            self.scheduled.push(record.scheduled);
            self.sent.push(sent);
            self.in_flight += record.ended.saturating_sub(sent);
        }
        self.counts.retried += usize::from(record.retried);
        self.good += usize::from(self.slo.met_by(record));
        match &record.failure {
            None => self.add_answer(record),
            Some(failure) => {
                self.counts.failed += 1;
                let errors = self.errors.entry(failure.kind).or_default();
                errors.count += 1;
                if record.received.status != 0 {
                    *errors.statuses.entry(record.received.status).or_default() += 1;
                }
                if errors.example.is_empty() {
                    errors.example.clone_from(&failure.detail);
                }
            }
        }
        self.plot(record);
    }

    fn add_answer(&mut self, record: &Record) {
        self.counts.ok += 1;
        self.ttft.add(record.ttft());
        self.ttft_from_send.add(record.ttft_from_send());
        self.tpot.add(record.tpot());
        self.e2e.add(record.e2e());
        self.e2e_from_send.add(record.e2e_from_send());
        record.gaps().for_each(|gap| self.itl.add(Some(gap)));
        self.input_asked += u64::from(record.input_asked);
        self.input_tokens += u64::from(record.input_tokens());
        self.output_asked += u64::from(record.output_asked);
        self.output_tokens += u64::from(record.output_tokens());
        self.pieces += record.received.content_us.len() as u64;
        self.coalesced += u64::from(record.received.coalesced);
    }

    fn plot(&mut self, record: &Record) {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let point = Point {
            due_s: record.scheduled.as_secs_f64(),
            ttft_ms: record.ttft().map(ms),
            e2e_ms: record.e2e().map(ms),
        };
        // A uniform sample of whatever length (Vitter 1985, algorithm R), the same for the same records.
        self.seen += 1;
        if self.plots.points.len() < MAX_POINTS {
            self.plots.points.push(point);
        } else {
            let place = (scramble(record.index as u64, 0) % self.seen as u64) as usize;
            if let Some(old) = self.plots.points.get_mut(place) {
                *old = point;
            }
        }
        self.second(record.scheduled).due += 1;
        if let Some(sent) = record.sent {
            self.second(sent).sent += 1;
        }
        let ended = self.second(record.ended);
        if record.failure.is_none() { ended.ok += 1 } else { ended.failed += 1 }
    }

    fn second(&mut self, time: Duration) -> &mut Second {
        let place = usize::try_from(time.as_secs()).unwrap_or(usize::MAX).min(MAX_SECONDS - 1);
        if self.plots.seconds.len() <= place {
            self.plots.seconds.resize(place + 1, Second::default());
        }
        &mut self.plots.seconds[place]
    }

    /// The whole run.
    #[must_use]
    pub fn finish(mut self, run: Description, outcome: &Outcome) -> Summary {
        let duration_s = self.last_end.as_secs_f64();
        let per_s = |count: u64| if duration_s > 0.0 { count as f64 / duration_s } else { 0.0 };
        let judged = self.slo.is_any();
        let throughput = Throughput {
            requests_per_s: per_s(self.counts.ok as u64),
            input_tokens_per_s: per_s(self.input_tokens),
            output_tokens_per_s: per_s(self.output_tokens),
            goodput_per_s: judged.then(|| per_s(self.good as u64)),
            mean_in_flight: self.in_flight.as_secs_f64() / duration_s.max(f64::MIN_POSITIVE),
        };
        self.counts.unfinished = outcome.workers.iter().map(|worker| worker.unfinished).sum();
        // A closed loop that ends with the time has no count of its own.
        let sent = self.counts.sent + self.counts.unfinished;
        self.counts.scheduled = if run.r#loop == "closed" { sent } else { run.scheduled };
        self.counts.good = judged.then_some(self.good);
        self.plots.points.sort_by(|a, b| a.due_s.total_cmp(&b.due_s));
        self.plots.distributions = self.distributions();
        let mut summary = Summary {
            schema: SCHEMA,
            duration_s,
            requests: self.counts,
            throughput,
            latency_ms: self.latencies(),
            arrivals: self.arrivals(),
            answers: self.answers(),
            generator: self.generator(outcome),
            errors: self.errors.into_iter().map(|(kind, errors)| (kind.name(), errors)).collect(),
            run,
            notes: Vec::new(),
            plots: self.plots,
        };
        summary.notes = notes::of(&summary);
        summary
    }

    fn latencies(&self) -> Latencies {
        Latencies {
            ttft: self.ttft.figures(),
            ttft_from_send: self.ttft_from_send.figures(),
            itl: self.itl.figures(),
            tpot: self.tpot.figures(),
            e2e: self.e2e.figures(),
            e2e_from_send: self.e2e_from_send.figures(),
        }
    }

    fn distributions(&self) -> Vec<(&'static str, Vec<(f64, f64)>)> {
        [("TTFT", &self.ttft), ("ITL", &self.itl), ("TPOT", &self.tpot), ("E2E", &self.e2e)]
            .map(|(name, latency)| (name, latency.distribution(DISTRIBUTION_STEPS)))
            .into_iter()
            .filter(|(_, points)| !points.is_empty())
            .collect()
    }

    fn arrivals(&mut self) -> ArrivalFigures {
        let rate = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            GapStatistics::of(times).map(|seen| Rate { per_s: seen.rate, gap_cv: seen.cv })
        };
        ArrivalFigures {
            scheduled: rate(&mut self.scheduled),
            sent: rate(&mut self.sent),
            lateness_ms: self.lateness.figures(),
        }
    }

    fn answers(&self) -> Answers {
        let ok = self.counts.ok.max(1) as f64;
        Answers {
            input_asked: self.input_asked as f64 / ok,
            input_tokens: self.input_tokens as f64 / ok,
            output_asked: self.output_asked as f64 / ok,
            output_tokens: self.output_tokens as f64 / ok,
            coalesced_share: self.coalesced as f64 / self.pieces.max(1) as f64,
        }
    }

    fn generator(&self, outcome: &Outcome) -> Generator {
        let share = |worker: &crate::WorkerReport| {
            let work = worker.cpu?.saturating_sub(worker.spun);
            Some(work.as_secs_f64() / worker.wall.as_secs_f64().max(f64::MIN_POSITIVE))
        };
        let spun: Duration = outcome.workers.iter().map(|worker| worker.spun).sum();
        let work = outcome.cpu.map(|cpu| cpu.saturating_sub(spun).as_secs_f64());
        Generator {
            cpu_s: outcome.cpu.map(|cpu| cpu.as_secs_f64()),
            spun_s: spun.as_secs_f64(),
            cpu_us_per_request: work.map(|work| work * 1e6 / self.counts.sent.max(1) as f64),
            busiest_worker: outcome.workers.iter().filter_map(share).reduce(f64::max),
            connections: outcome.workers.iter().map(|worker| worker.connections).sum(),
            max_in_flight_lowered_to: outcome.lowered_to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::streamed;
    use crate::{Failure, WorkerReport};

    fn outcome() -> Outcome {
        let cpu = Some(Duration::from_millis(30));
        let wall = Duration::from_secs(2);
        let worker =
            WorkerReport { cpu, spun: Duration::ZERO, wall, connections: 2, unfinished: 1 };
        Outcome { workers: vec![worker], cpu, elapsed: wall, lowered_to: None }
    }

    #[test]
    fn a_run_is_added_up() {
        let mut tally = Tally::new("ttft=115ms".parse().unwrap());
        for (index, first) in [100, 120, 100].into_iter().enumerate() {
            let mut record = streamed(&[first, first + 40]);
            record.scheduled += Duration::from_millis(200 * index as u64);
            record.sent = Some(record.scheduled + Duration::from_millis(10));
            record.ended = record.scheduled + Duration::from_millis(500);
            tally.add(&record);
        }
        let mut refused = streamed(&[]);
        refused.failure = Some(Failure::new(ErrorKind::Status5xx, "full"));
        refused.received.status = 503;
        tally.add(&refused);
        let mut unsent = streamed(&[]);
        unsent.failure = Some(Failure::new(ErrorKind::NotSent, ""));
        unsent.sent = None;
        tally.add(&unsent);

        let run = Description { scheduled: 6, ..Description::default() };
        let summary = tally.finish(run, &outcome());
        let expected = Counts {
            scheduled: 6,
            sent: 4,
            ok: 3,
            failed: 2,
            unfinished: 1,
            good: Some(2),
            retried: 0,
        };
        assert_eq!(summary.requests, expected);
        assert!((summary.duration_s - 1.9).abs() < 1e-9);
        assert!((summary.throughput.requests_per_s - 3.0 / 1.9).abs() < 1e-9);
        assert!((summary.throughput.output_tokens_per_s - 6.0 / 1.9).abs() < 1e-9);
        let ttft = summary.latency_ms.ttft.unwrap();
        assert!((ttft.p50 - 110.0).abs() < 0.2 && (ttft.max - 130.0).abs() < 0.2);
        assert!((summary.latency_ms.ttft_from_send.unwrap().p50 - 100.0).abs() < 0.2);
        assert_eq!(summary.latency_ms.itl.unwrap().count, 3);
        assert!((summary.arrivals.lateness_ms.unwrap().p50 - 10.0).abs() < 0.1);
        assert_eq!(summary.errors["status_5xx"].statuses, BTreeMap::from([(503, 1)]));
        assert_eq!(summary.errors["status_5xx"].example, "full");
        assert_eq!(summary.errors["not_sent"].count, 1);
        assert_eq!(summary.plots.points.len(), 5);
        assert_eq!(summary.plots.seconds.iter().map(|second| second.sent).sum::<u32>(), 4);
    }

    #[test]
    fn an_empty_run_has_no_figures_and_no_nonsense() {
        let summary = Tally::new(Slo::default()).finish(Description::default(), &outcome());
        assert_eq!(summary.latency_ms, Latencies::default());
        let json = serde_json::to_string(&summary).unwrap();
        assert!(!json.contains("NaN") && summary.throughput.requests_per_s == 0.0, "{json}");
    }
}
