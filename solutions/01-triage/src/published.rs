//! Published measurements of vLLM, and the same runs through this lab's scheduler, pool and
//! roofline. Given.
//!
//! `sol01-published` prints the table of the book. The runs themselves are in `published/rows.rs`.

mod rows;

use std::fmt::Write;
use std::time::Duration;

use serving::SchedulerLimits;
use simulation::{
    Arrival, Fleet, FleetError, Limit, Replica, ReplicaSpec, Report, RequestRecord, RoundRobin,
};

use crate::{ContinuousScheduler, Naming, PagedPool, Roofline, binding};

pub use rows::{h100_share_gpt, h100_shared_prefix, others, rtx4090, runs};

/// vLLM's block size.
const BLOCK_SIZE: usize = 16;
/// What people compare; what a source does not say is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Requests served a second.
    pub requests_per_s: Option<f64>,
    /// Mean time to the first token, in milliseconds.
    pub ttft_ms: Option<f64>,
    /// Mean time per output token after the first, in milliseconds.
    pub tpot_ms: Option<f64>,
}

/// How requests come.
#[derive(Debug, Clone, PartialEq)]
pub enum Traffic {
    /// At given moments, whatever becomes of the earlier ones.
    Open(Vec<Arrival>),
    /// So many clients, each of which sends its next request when it has its last answer.
    Closed {
        /// How many.
        clients: usize,
        /// Tokens in and out of each request, in the order in which they are sent.
        requests: Vec<(usize, usize)>,
    },
}

/// One published measurement, and all that is needed to repeat it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Which system: device, model, engine.
    pub system: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// What was sent.
    pub load: String,
    /// What was measured.
    pub measured: Figures,
    /// Whether requests came faster than they could be served.
    pub saturated: bool,
    /// The device and the model.
    pub roofline: Roofline,
    /// The engine's limits.
    pub limits: SchedulerLimits,
    /// `gpu_memory_utilization`.
    pub utilization: f64,
    /// Whether the engine looks for cached prefixes.
    pub prefix_caching: bool,
    /// The requests.
    pub traffic: Traffic,
    /// The first so many requests only warm the server up.
    pub warm_up: usize,
}

/// What this lab's engine predicts for a [`Run`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// The same figures.
    pub figures: Figures,
    /// What bound most steps, and the part of all steps that it bound.
    pub binds: (Limit, f64),
}

impl Run {
    /// Serves the run's requests in virtual time.
    ///
    /// # Errors
    /// [`FleetError`] where the scheduler gets stuck.
    pub fn predict(&self) -> Result<Prediction, FleetError> {
        let report = match &self.traffic {
            Traffic::Open(arrivals) => self.serve(arrivals)?,
            Traffic::Closed { clients, requests } => self.serve_closed(*clients, requests)?,
        };
        Ok(Prediction { figures: self.figures(&report), binds: binds(&report) })
    }

    /// One replica with this lab's scheduler, pool and roofline.
    fn serve(&self, arrivals: &[Arrival]) -> Result<Report, FleetError> {
        let blocks = self.roofline.kv_blocks(self.limits, self.utilization, BLOCK_SIZE);
        let pool = PagedPool::new(blocks, BLOCK_SIZE)
            .with_prefix_caching(self.prefix_caching)
            .with_naming(Naming::Trusting);
        let scheduler = ContinuousScheduler::new(self.limits, pool);
        let spec = ReplicaSpec::new(self.limits, BLOCK_SIZE);
        let replica =
            Replica::new(spec, Box::new(scheduler), self.roofline.clone()).with_binding(binding);
        let fleet = Fleet::new(vec![replica], RoundRobin::default());
        fleet.run(self.through_the_frontend(arrivals), Duration::MAX)
    }

    /// A fleet wants to know its arrivals beforehand, and in a closed loop they depend on its
    /// answers. So it is run with a guess, and again with what follows from it. What comes later
    /// changes nothing that came before: each time the guess is right for one request more, at
    /// least, and mostly for as many as there are clients.
    fn serve_closed(
        &self,
        clients: usize,
        requests: &[(usize, usize)],
    ) -> Result<Report, FleetError> {
        let host = &self.roofline.device().host;
        let mut sent = vec![Duration::ZERO; requests.len()];
        loop {
            let arrival = |(&at, &(input, output)): (&Duration, &(usize, usize))| {
                Arrival::new(at, input, output)
            };
            let arrivals: Vec<Arrival> = sent.iter().zip(requests).map(arrival).collect();
            let report = self.serve(&arrivals)?;
            let answered = |request: &RequestRecord| {
                request.e2e.map(|e2e| request.arrived + e2e + host.request / 2)
            };
            let mut answers: Vec<Duration> = report.requests.iter().filter_map(answered).collect();
            answers.sort();
            let next: Vec<Duration> = std::iter::repeat_n(Duration::ZERO, clients)
                .chain(answers)
                .take(requests.len())
                .collect();
            if next == sent {
                return Ok(report);
            }
            sent = next;
        }
    }

    /// Requests at the moments when they reach the scheduler: half of `Host::request` is on the
    /// way in, with all of the tokenizing.
    fn through_the_frontend(&self, arrivals: &[Arrival]) -> Vec<Arrival> {
        let host = &self.roofline.device().host;
        let enter = |arrival: &Arrival| {
            let way = host.frontend(arrival.prompt.len()) - host.request / 2;
            Arrival { at: arrival.at + way, ..arrival.clone() }
        };
        let mut entered: Vec<Arrival> = arrivals.iter().map(enter).collect();
        entered.sort_by_key(|arrival| arrival.at);
        entered
    }

    fn figures(&self, report: &Report) -> Figures {
        let host = &self.roofline.device().host;
        let requests = &report.requests[self.warm_up..];
        let ttft = requests
            .iter()
            .filter_map(|request| Some(request.ttft? + host.frontend(request.prompt_tokens)));
        let tpot = requests.iter().filter_map(|request| request.tpot);
        let first = requests.iter().map(|request| request.arrived).min().unwrap_or_default();
        let duration = (report.duration - first + host.request).as_secs_f64();
        Figures {
            requests_per_s: Some(requests.len() as f64 / duration),
            ttft_ms: mean(ttft).map(ms),
            tpot_ms: mean(tpot).map(ms),
        }
    }
}

fn mean(times: impl Iterator<Item = Duration>) -> Option<Duration> {
    let (count, sum) = times.fold((0, Duration::ZERO), |(n, sum), time| (n + 1, sum + time));
    (count > 0).then(|| sum / count)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What bound most steps of the one replica.
fn binds(report: &Report) -> (Limit, f64) {
    let bound_by = report.replicas.iter().flat_map(|replica| &replica.bound_by);
    let steps: u64 = report.replicas.iter().map(|replica| replica.steps).sum();
    let most = bound_by.max_by_key(|(_, steps)| **steps);
    most.map_or((Limit::HostOverhead, 0.0), |(limit, most)| (*limit, *most as f64 / steps as f64))
}

/// The table of the book: measured, predicted, and the error in percent.
///
/// # Errors
/// As [`Run::predict`].
pub fn table() -> Result<String, FleetError> {
    let columns = ["req/s", "TTFT, ms", "TPOT, ms"].map(|figure| format!("{figure:>20}"));
    let mut table = format!("{:<42}{}  most steps\n", "", columns.concat());
    let mut system = "";
    for run in runs() {
        if run.system != system {
            system = run.system;
            let _ = writeln!(table, "\n{system}\n({})", run.source);
        }
        let prediction = run.predict()?;
        let (measured, predicted) = (run.measured, prediction.figures);
        let _ = writeln!(
            table,
            "  {:<40}{}{}{}  {}",
            run.load,
            cell(measured.requests_per_s, predicted.requests_per_s, 2),
            cell(measured.ttft_ms, predicted.ttft_ms, 0),
            cell(measured.tpot_ms, predicted.tpot_ms, 1),
            word(prediction.binds.0),
        );
    }
    Ok(table)
}

/// `measured predicted error`, or only the prediction.
fn cell(measured: Option<f64>, predicted: Option<f64>, digits: usize) -> String {
    let Some(predicted) = predicted else { return format!("{:>20}", "") };
    match measured {
        Some(measured) => {
            // Adding 0 makes a zero of either sign a positive one.
            let error = ((predicted / measured - 1.0) * 100.0).round() + 0.0;
            format!("{measured:>7.digits$}{predicted:>7.digits$}{error:>+5}%")
        }
        None => format!("{:>7}{predicted:>7.digits$}{:>6}", "", ""),
    }
}

fn word(limit: Limit) -> &'static str {
    match limit {
        Limit::MemoryBandwidth => "memory",
        Limit::Compute => "compute",
        Limit::HostOverhead => "host",
        Limit::KvCapacity => "KV blocks",
        Limit::Queue => "places",
    }
}
