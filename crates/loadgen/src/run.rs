//! Starts the workers, and takes what they record.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::usage::{process_cpu, raise_descriptors};
use crate::worker::{Batch, Worker, WorkerReport as Report};
use crate::{LoadError, Record};

/// Batches on their way; with a thousand records each, some seconds of work.
const MAX_BATCHES: usize = 64;
/// How long threads have to start before the schedule does.
const LEAD: Duration = Duration::from_millis(20);
/// How often a run says how far it is.
const TICK: Duration = Duration::from_millis(100);

pub use crate::worker::WorkerReport;

/// What a run says at its end, beside its records.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// One a worker.
    pub workers: Vec<WorkerReport>,
    /// Processor time of the whole process, keeping records included; where the system counts it.
    pub cpu: Option<Duration>,
    /// From the start of the schedule to the last answer.
    pub elapsed: Duration,
    /// The most requests in flight that the system allowed, where that is below what was asked.
    pub lowered_to: Option<usize>,
}

/// Runs a plan to its end, or until `stop` is set. Hands over each record as it comes, and now and then how many
/// requests are in flight.
///
/// # Errors
/// Where the system refuses what a worker needs.
pub fn run(
    plan: &Plan,
    stop: &AtomicBool,
    mut on_record: impl FnMut(Record),
    mut on_tick: impl FnMut(usize),
) -> Result<Outcome, LoadError> {
    let threads = plan.limits.threads;
    let allowed =
        raise_descriptors().map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let max_in_flight = plan.limits.max_in_flight.min(allowed).max(threads);
    let lowered_to = (max_in_flight < plan.limits.max_in_flight).then_some(max_in_flight);
    let cpu_before = process_cpu();
    let epoch = Instant::now() + LEAD;
    let (sender, receiver) = sync_channel::<Batch>(MAX_BATCHES);
    let workers = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|number| {
                let sender = sender.clone();
                let share = (max_in_flight + threads - 1 - number) / threads;
                scope.spawn(move || {
                    Worker::new(number, plan, epoch, share, sender).and_then(|w| w.run(stop))
                })
            })
            .collect();
        drop(sender);
        let mut in_flight = vec![0; threads];
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(batch) => {
                    in_flight[batch.worker] = batch.in_flight;
                    batch.records.into_iter().for_each(&mut on_record);
                    on_tick(in_flight.iter().sum());
                }
                Err(RecvTimeoutError::Timeout) => on_tick(in_flight.iter().sum()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let join = |worker: std::thread::ScopedJoinHandle<'_, std::io::Result<Report>>| {
            let report = worker.join().map_err(|_| LoadError::Worker)?;
            report.map_err(|error| LoadError::System { what: "to wait for sockets", error })
        };
        started.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    })?;
    let cpu = cpu_before.zip(process_cpu()).map(|(before, after)| after.saturating_sub(before));
    let elapsed = workers.iter().map(|worker| worker.wall).max().unwrap_or_default();
    Ok(Outcome { workers, cpu, elapsed, lowered_to })
}
