//! Who asks what, and when.

use std::io::BufReader;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab02_routing::published::{
    ANSWER_TOKENS, OWN_TOKENS, PREFIX_TOKENS, PREFIXES, PROMPTS, Stage, WARM_UP, ladder,
};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use simulation::{Arrival, Prompt};
use workload::{
    ArrivalProcess, Gaps, Mix, RateProfile, Request, Segment, TimedRequest, Trace, mooncake,
    scramble,
};

use crate::args::{Args, WorkloadKind};

/// Between two stages: longer than any policy needs to answer all.
const PAUSE: Duration = Duration::from_secs(900);

/// Requests in the order of their times, and which of them belong together.
pub(crate) struct Workload {
    pub(crate) arrivals: Vec<Arrival>,
    /// What figures are taken over, one after the other; what comes before them all warms caches.
    pub(crate) parts: Vec<Part>,
}

/// Requests that are looked at together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// Their places among the arrivals.
    pub(crate) requests: std::ops::Range<usize>,
    /// The stage of the published ladder that they are.
    pub(crate) stage: Option<Stage>,
}

impl Workload {
    pub(crate) fn of(args: &Args) -> Result<Self> {
        if let Some(path) = &args.trace {
            let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
            let trace = Trace::read(BufReader::new(file), args.seed)
                .with_context(|| path.display().to_string())?;
            let requests = trace.requests.into_iter().take(args.requests);
            return Ok(Self::in_one(requests.map(Arrival::from).collect()));
        }
        match args.workload {
            WorkloadKind::SharedPrefix => stages(args),
            WorkloadKind::Conversations => Ok(Self::in_one(conversations(args)?)),
            WorkloadKind::Mix => mix(args).map(Self::in_one),
        }
    }

    /// All requests, for whoever replays them elsewhere.
    pub(crate) fn trace(&self) -> String {
        let timed = self.arrivals.iter().filter_map(|arrival| match &arrival.prompt {
            Prompt::Segments(prompt) => {
                let output_tokens = u32::try_from(arrival.output_tokens).unwrap_or(u32::MAX);
                let request = Request { prompt: prompt.clone(), output_tokens };
                Some(TimedRequest { at: arrival.at, request })
            }
            // Every workload here is made of segments.
            _ => None,
        });
        mooncake(&timed.collect::<Vec<_>>())
    }

    fn in_one(arrivals: Vec<Arrival>) -> Self {
        let parts = vec![Part { requests: 0..arrivals.len(), stage: None }];
        Self { arrivals, parts }
    }
}

fn mix(args: &Args) -> Result<Vec<Arrival>> {
    let profile: RateProfile = args.rate.parse()?;
    let gaps: Gaps = args.arrivals.parse()?;
    let times = ArrivalProcess { gaps, profile }.schedule(args.requests, args.seed);
    let mix = Mix {
        input: args.input.parse()?,
        output: args.output.parse()?,
        shared_prefix: args.shared_prefix.as_deref().map(str::parse).transpose()?,
    };
    let requests = times.into_iter().zip(mix.requests(args.seed));
    Ok(requests.map(|(at, request)| TimedRequest { at, request }.into()).collect())
}

/// The published ladder: prompts in one shuffled order, over and over, as inference-perf sends them.
fn stages(args: &Args) -> Result<Workload> {
    let mut rng = StdRng::seed_from_u64(args.seed);
    let mut order: Vec<u64> = (0..PREFIXES * PROMPTS).collect();
    order.shuffle(&mut rng);
    let mut prompts = order.into_iter().cycle();
    let wanted = |stage: &Stage| args.rates.is_empty() || args.rates.contains(&stage.rate);
    let ladder: Vec<Stage> = ladder().into_iter().filter(wanted).collect();
    if ladder.is_empty() {
        bail!("the ladder has no such rate; see `src/published.rs`");
    }
    let mut workload = Workload { arrivals: Vec::new(), parts: Vec::new() };
    let mut begins = Duration::ZERO;
    for (index, stage) in [WARM_UP].into_iter().chain(ladder).enumerate() {
        let process = ArrivalProcess::poisson(stage.rate.into())?;
        let times = process.schedule(stage.requests(), args.seed + index as u64);
        let first = workload.arrivals.len();
        let arrivals = times.into_iter().zip(&mut prompts);
        workload.arrivals.extend(arrivals.map(|(at, prompt)| asked(begins + at, prompt)));
        if index > 0 {
            let requests = first..workload.arrivals.len();
            workload.parts.push(Part { requests, stage: Some(stage) });
        }
        begins += stage.duration() + PAUSE;
    }
    Ok(workload)
}

/// One of the ladder's prompts.
fn asked(at: Duration, prompt: u64) -> Arrival {
    let segments = vec![
        Segment { id: scramble(1, prompt / PROMPTS), tokens: PREFIX_TOKENS },
        Segment { id: scramble(2, prompt), tokens: OWN_TOKENS },
    ];
    let prompt = Prompt::Segments(workload::Prompt { segments });
    Arrival { prompt, ..Arrival::new(at, 1, ANSWER_TOKENS as usize) }
}

/// Applications, each with a system prompt of its own.
const APPLICATIONS: u64 = 8;
/// Tokens of a system prompt.
const SYSTEM_TOKENS: u32 = 800;
/// Turns of a session, on average.
const TURNS: f64 = 6.0;
/// Time from one question of a session to the next, on average.
const THINK: Duration = Duration::from_secs(20);
/// How irregularly sessions begin: the coefficient of variation of the gaps. 1 would be a Poisson process.
const BURSTINESS: f64 = 3.0;

/// Sessions that begin in bursts. Each turn sends all turns before it, as chat clients do. What the engine itself
/// generated is not found again in its cache here, as its tokens are made up by the simulator.
fn conversations(args: &Args) -> Result<Vec<Arrival>> {
    let rate: f64 = args.rate.parse().context("--rate: requests a second")?;
    let profile = RateProfile::flat(rate / TURNS)?;
    let sessions = (args.requests as f64 / TURNS).ceil() as usize;
    let begin = ArrivalProcess { gaps: Gaps::gamma(BURSTINESS)?, profile };
    let mut rng = StdRng::seed_from_u64(args.seed);
    let mut arrivals = Vec::new();
    for (session, begins) in begin.schedule(sessions, args.seed).into_iter().enumerate() {
        let mut at = begins;
        let mut segments = vec![Segment {
            id: scramble(3, rng.random_range(0..APPLICATIONS)),
            tokens: SYSTEM_TOKENS,
        }];
        for turn in 0u64.. {
            let id = |part| scramble(scramble(4, session as u64), 2 * turn + part);
            segments.push(Segment { id: id(0), tokens: rng.random_range(20..400) });
            let answer = rng.random_range(50..500);
            let prompt = Prompt::Segments(workload::Prompt { segments: segments.clone() });
            arrivals.push(Arrival { prompt, ..Arrival::new(at, 1, answer as usize) });
            if rng.random_bool(1.0 / TURNS) {
                break;
            }
            segments.push(Segment { id: id(1), tokens: answer });
            at += THINK.mul_f64(-(1.0 - rng.random::<f64>()).ln());
        }
    }
    arrivals.sort_by_key(|arrival| arrival.at);
    arrivals.truncate(args.requests);
    Ok(arrivals)
}
