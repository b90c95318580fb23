//! Incidents with a known cause, produced by the simulator: an engine of this lab's own parts on a device
//! drawn by seed, eleven quiet seconds, then trouble.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serving::SchedulerLimits;
use simulation::{
    Arrival, Fault, FaultKind, Fleet, LinearCost, Prompt, Replica, ReplicaSpec, RoundRobin,
};

use super::watcher::Watcher;
use crate::{Cause, ContinuousScheduler, Evidence, Naming, PagedPool, Remedy};

/// When trouble begins. One second later somebody complains.
pub(super) const TROUBLE: Duration = Duration::from_secs(11);
/// Since when somebody complains.
pub(super) const SINCE: Duration = Duration::from_secs(12);
/// The end of all evidence.
pub(super) const END: Duration = Duration::from_secs(23);
/// Token slots in a block.
const BLOCK_SIZE: usize = 16;
/// Tokens of the prefix that most prompts share with a quarter of the others.
const PREFIX: usize = 256;

/// What can be wrong, and nothing.
pub(super) const ALL: [Cause; 14] = [
    Cause::Healthy,
    Cause::MetricRenamed,
    Cause::EngineHung,
    Cause::ColdStart,
    Cause::SlowTokenizer,
    Cause::ClientCoalescing,
    Cause::PreemptionThrash,
    Cause::KvStarvation,
    Cause::MaxNumSeqs,
    Cause::Overload,
    Cause::ColdPrefixCache,
    Cause::LongPrefill,
    Cause::SlowSampler,
    Cause::SlowDevice,
];

/// What a client sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic {
    /// Requests a second.
    pub(super) rate: f64,
    /// Tokens of the prompt; one request in `long_every` has `long_prompt` instead.
    pub(super) prompt: usize,
    pub(super) long_every: usize,
    pub(super) long_prompt: usize,
    /// Whether the prompt begins with one of four prefixes.
    pub(super) shared: bool,
    /// Tokens of the answer, more or less.
    pub(super) answer: usize,
}

/// An engine, what it is asked before and after, and what breaks.
#[derive(Debug, Clone)]
pub(super) struct Incident {
    /// What is hidden.
    pub(super) cause: Cause,
    pub(super) max_num_seqs: usize,
    pub(super) max_num_batched_tokens: usize,
    pub(super) blocks: usize,
    pub(super) replicas: usize,
    pub(super) before: Traffic,
    pub(super) after: Traffic,
    /// The device, before.
    pub(super) cost: LinearCost,
    /// By how much the device is slower, after.
    pub(super) slower: f64,
    /// What the host adds to each step, after.
    pub(super) host: Duration,
    /// How long reading a prompt takes, after.
    pub(super) tokenizer: Duration,
    /// Tokens that arrive together at a client, after.
    pub(super) lump: usize,
    /// Whether a metric has another name, after.
    pub(super) renamed: bool,
    /// How long a new process loads its model, after.
    pub(super) loading: Option<Duration>,
    /// Whether the engine stands still, after.
    pub(super) hung: bool,
    /// Where its requests' lengths and times come from.
    seed: u64,
}

impl Incident {
    /// An incident of this cause. Device, traffic and magnitude are drawn.
    pub(super) fn draw(cause: Cause, rng: &mut StdRng) -> Self {
        let scale = rng.random_range(0.7..1.5);
        let time = |ns: f64| Duration::from_nanos((ns * scale) as u64);
        let calm = Traffic {
            rate: rng.random_range(9.0..13.0) / scale,
            prompt: PREFIX + rng.random_range(48..80),
            long_every: usize::MAX,
            long_prompt: 0,
            shared: true,
            answer: rng.random_range(36..48),
        };
        let quiet = Self {
            cause,
            max_num_seqs: 64,
            max_num_batched_tokens: 512,
            blocks: 1024,
            replicas: 1,
            before: calm,
            after: calm,
            // An 8B model in bf16 on an H100, roughly.
            cost: LinearCost { step: time(6e6), token: time(3e4), context_token: time(5e1) },
            slower: 1.0,
            host: Duration::ZERO,
            tokenizer: Duration::ZERO,
            lump: 1,
            renamed: false,
            loading: None,
            hung: false,
            seed: rng.random(),
        };
        quiet.with_trouble(rng)
    }

    /// The quiet engine, with what its cause is.
    fn with_trouble(self, rng: &mut StdRng) -> Self {
        let unique = Traffic { shared: false, ..self.before };
        match self.cause {
            Cause::Healthy => {
                let rate = self.before.rate * rng.random_range(1.2..1.6);
                Self { after: Traffic { rate, ..self.before }, ..self }
            }
            Cause::MetricRenamed => Self { renamed: true, ..self },
            Cause::EngineHung => Self { hung: true, ..self },
            Cause::ColdStart => Self {
                loading: Some(Duration::from_millis(rng.random_range(4_000..8_000))),
                ..self
            },
            Cause::SlowTokenizer => {
                Self { tokenizer: Duration::from_millis(rng.random_range(100..400)), ..self }
            }
            Cause::ClientCoalescing => Self { lump: rng.random_range(4..12), ..self },
            Cause::PreemptionThrash => {
                let after = Traffic { answer: rng.random_range(320..400), ..self.before };
                Self { blocks: rng.random_range(260..320), after, ..self }
            }
            Cause::KvStarvation => {
                let prompt: usize = rng.random_range(1_500..2_200);
                let blocks = 2 * (prompt + 80).div_ceil(BLOCK_SIZE) + 4;
                let rate = self.before.rate / 1.7;
                let after = Traffic { rate, prompt, answer: 56, ..unique };
                Self { blocks, before: unique, after, ..self }
            }
            Cause::MaxNumSeqs => {
                let after = Traffic { answer: 6 * self.before.answer, ..self.before };
                Self { max_num_seqs: rng.random_range(6..9), after, ..self }
            }
            Cause::Overload => {
                let step = self.cost.step + self.cost.token * 512;
                let capacity = 512.0 / step.as_secs_f64();
                let asked = (self.before.prompt + self.before.answer) as f64;
                let rate = capacity / asked * rng.random_range(1.4..1.8);
                let after = Traffic { rate, ..unique };
                Self { blocks: 4096, max_num_seqs: 256, before: unique, after, ..self }
            }
            Cause::ColdPrefixCache => Self { after: unique, ..self },
            Cause::LongPrefill => {
                let long_prompt = rng.random_range(3_000..4_000);
                let after = Traffic { long_every: 5, long_prompt, ..unique };
                Self { max_num_batched_tokens: 8192, blocks: 4096, before: unique, after, ..self }
            }
            Cause::SlowSampler => {
                Self { host: self.cost.step.mul_f64(rng.random_range(1.0..2.0)), ..self }
            }
            Cause::SlowDevice => Self { slower: rng.random_range(1.8..2.6), ..self },
        }
    }

    /// The same, with this remedy: what an operator can turn.
    pub(super) fn with(&self, remedy: Remedy) -> Self {
        let same = self.clone();
        match remedy {
            Remedy::LowerMaxNumSeqs => Self { max_num_seqs: self.max_num_seqs / 8, ..same },
            Remedy::RaiseMaxNumSeqs => Self { max_num_seqs: self.max_num_seqs * 8, ..same },
            Remedy::AddKvMemory => Self { blocks: self.blocks * 8, ..same },
            Remedy::AddReplicas => Self { replicas: 3, ..same },
            Remedy::LowerTokenBudget => Self { max_num_batched_tokens: 256, ..same },
            _ => same,
        }
    }

    /// Lets it happen, and returns what an operator has of it.
    pub(super) fn evidence(&self) -> Evidence {
        let mut watcher = Watcher::new(self);
        let arrivals = self.arrivals();
        let (early, late): (Vec<_>, Vec<_>) =
            arrivals.into_iter().partition(|arrival| arrival.at < TROUBLE);
        if let Some(loading) = self.loading {
            self.run(early, None, TROUBLE, &mut watcher);
            let stall = Fault { from: TROUBLE, until: TROUBLE + loading, kind: FaultKind::Stall };
            watcher.restart(TROUBLE + loading);
            self.run(late, Some(stall), END, &mut watcher);
        } else {
            let far = END * 10;
            let stall = Fault { from: TROUBLE, until: far, kind: FaultKind::Stall };
            let all = early.into_iter().chain(late).collect();
            self.run(all, self.hung.then_some(stall), END, &mut watcher);
        }
        watcher.evidence()
    }

    fn run(
        &self,
        arrivals: Vec<Arrival>,
        fault: Option<Fault>,
        until: Duration,
        watcher: &mut Watcher,
    ) {
        let limits = SchedulerLimits::try_new(self.max_num_seqs, self.max_num_batched_tokens);
        let limits = limits.expect("an incident's limits are possible");
        let replica = |_| {
            let pool = PagedPool::new(self.blocks, BLOCK_SIZE).with_naming(Naming::Trusting);
            let scheduler = Box::new(ContinuousScheduler::new(limits, pool));
            let spec = ReplicaSpec::new(limits, BLOCK_SIZE);
            let replica = Replica::new(spec, scheduler, watcher.device());
            fault.into_iter().fold(replica, Replica::with_fault)
        };
        let fleet = Fleet::new((0..self.replicas).map(replica).collect(), RoundRobin::default());
        fleet.run_observed(arrivals, until, watcher).expect("the fleet serves");
    }

    /// Requests at random times, at the rate of before and then at that of after.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        let mut rng: StdRng = rand::SeedableRng::seed_from_u64(self.seed);
        let mut arrivals = Vec::new();
        let mut at = Duration::ZERO;
        for index in 0_usize.. {
            let traffic = if at < TROUBLE { self.before } else { self.after };
            // Exponential gaps: a Poisson process.
            let gap = -f64::ln(1.0 - rng.random::<f64>()) / traffic.rate;
            at += Duration::from_secs_f64(gap);
            if at >= END {
                break;
            }
            let long = index % traffic.long_every == traffic.long_every - 1;
            let tokens = if long { traffic.long_prompt } else { traffic.prompt };
            let prefix = rng.random_range(0..4);
            let prompt = match traffic.shared {
                true => Prompt::Shared { prefix, prefix_tokens: PREFIX, tokens },
                false => Prompt::Unique(tokens),
            };
            let answer = rng.random_range(traffic.answer * 3 / 4..=traffic.answer * 5 / 4);
            let mut arrival = Arrival::new(at, tokens, answer);
            arrival.prompt = prompt;
            arrivals.push(arrival);
        }
        arrivals
    }
}

/// The book's table of incidents is what the simulator produces.
mod book {
    use std::fmt::Write;
    use std::path::Path;

    use rand::SeedableRng;

    use super::*;

    /// A figure before and after; the same figure once, and nothing where there is none.
    fn pair(before: Option<f64>, after: Option<f64>, scale: f64) -> String {
        let show = |value: Option<f64>| match value.map(|value| value * scale) {
            None => "-".to_owned(),
            Some(value) if value >= 9.95 => format!("{value:.0}"),
            Some(value) => format!("{value:.1}"),
        };
        let (before, after) = (show(before), show(after));
        if before == after { before } else { format!("{before}>{after}") }
    }

    fn table() -> String {
        let mut text = format!(
            "{:<16} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}\n",
            "cause",
            "waiting",
            "running",
            "KV %",
            "hits %",
            "tok/stp",
            "ITL ms",
            "p99 ms",
            "dev ms",
            "dev %"
        );
        for cause in ALL {
            let mut rng = StdRng::seed_from_u64(7);
            let evidence = Incident::draw(cause, &mut rng).evidence();
            let (b, a) = (evidence.before(), evidence.after());
            let row = [
                format!("{cause:?}"),
                pair(b.waiting, a.waiting, 1.0),
                pair(b.running, a.running, 1.0),
                pair(b.kv_usage, a.kv_usage, 100.0),
                pair(b.hit_rate, a.hit_rate, 100.0),
                pair(b.tokens_per_step, a.tokens_per_step, 1.0),
                pair(b.itl, a.itl, 1e3),
                pair(b.itl_p99, a.itl_p99, 1e3),
                pair(b.device_step, a.device_step, 1e3),
                pair(b.device_share, a.device_share, 100.0),
            ];
            let [name, rest @ ..] = row;
            write!(text, "{name:<16}").expect("a string takes it");
            for cell in rest {
                write!(text, " {cell:>7}").expect("a string takes it");
            }
            text.push('\n');
        }
        text
    }

    #[test]
    fn the_books_incidents_are_the_simulators() {
        let path = "../../book/src/lab-1/recordings/incidents.txt";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("UPDATE_RECORDINGS").is_some() {
            std::fs::write(&path, table()).expect("the recording can be written");
        }
        // Where there is no book, as where the grader builds, there is nothing to compare.
        let Ok(recorded) = std::fs::read_to_string(&path) else { return };
        assert_eq!(recorded, table(), "UPDATE_RECORDINGS=1 writes it anew");
    }
}
