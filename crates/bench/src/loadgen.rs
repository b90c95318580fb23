//! `bench loadgen`: the course's load generator beside those of others.
//!
//! What a generator costs the machine that it runs on, and whether requests leave when they should. The server is
//! the course's sink, on a processor of its own; arrivals are timed by a server of this crate, since a generator
//! is a poor witness of itself.

mod command;
mod generator;
mod recorder;

use std::rc::Rc;
use std::time::Duration;

use grader::Stop;

use crate::compare::{Comparison, Contender, Figure, Measured};
use crate::run::{Process, run};
use crate::sample::Better;
use crate::{BenchError, Installed, Peer, Places, Progress, Source, Task};
use generator::{Generator, Work};
use recorder::{Recorder, rate_and_variation};

/// The peers of this bench.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "wrk",
        source: Source::System("wrk"),
        by_default: true,
        about: "unary requests only",
    },
    Peer {
        name: "oha",
        source: Source::Cargo("oha", "1.16.0"),
        by_default: true,
        about: "unary requests only; compiles for some minutes",
    },
    Peer {
        name: "aiperf",
        source: Source::Pip(&["aiperf==0.13.0"]),
        by_default: true,
        about: "1.2 GB of packages",
    },
    Peer {
        name: "guidellm",
        source: Source::Pip(&["guidellm==0.8.1"]),
        by_default: false,
        about: "6 GB of packages, PyTorch among them",
    },
    Peer {
        name: "vllm-bench",
        source: Source::Pip(&["vllm==0.32.0"]),
        by_default: false,
        about: "`vllm bench serve`: all of vLLM, 8.4 GB of packages",
    },
];

/// Rounds, and those of `--quick`.
pub const ROUNDS: [usize; 2] = [3, 1];

/// How long the sink may take to listen, and how long it may live.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
const SINK_LIMIT: Duration = Duration::from_secs(3600);
/// Requests in flight, where a generator keeps their number.
const CONCURRENCY: usize = 32;
/// The sink's processor, and the generator's.
const SINK_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;
/// Arrival rates, and how many arrivals of each are timed.
const ARRIVALS: [(f64, usize); 2] = [(10.0, 200), (200.0, 2000)];
/// What `--quick` divides numbers of requests by.
const QUICK: usize = 4;

/// Starts the sink and builds our generator.
///
/// # Errors
/// Those of building and starting.
pub fn prepare(
    quick: bool,
    peers: &[(Peer, Installed)],
    places: &Places,
    progress: &Progress,
    stop: &Stop,
) -> Result<Vec<Comparison>, BenchError> {
    let ours = places.build("loadgen", ["--bin", "loadgen"], &[], progress, stop)?;
    let sink = places.build("loadgen", ["--bin", "loadgen-sink"], &[], progress, stop)?;
    let sink = Task::new(sink, SINK_LIMIT).args(["--port", "0"]).on_core(SINK_CORE);
    let sink = Process::start(&sink)?;
    let address = sink.announced("listening on ", LISTEN_LIMIT, stop)?;
    let sink = Rc::new(Sink { url: format!("http://{address}"), _process: sink });
    let recorder = Rc::new(Recorder::start()?);

    let dir = places.bench().join("loadgen");
    let mut generators = vec![Generator::ours(ours, &dir)];
    generators
        .extend(peers.iter().filter_map(|(peer, here)| Generator::peer(peer.name, here, &dir)));
    for generator in &generators {
        progress.say(&format!("preparing {}", generator.title));
        if let Some(task) = generator.set_up(&places.root.join("crates/bench/peers"))? {
            run(&task, stop)?;
        }
    }
    let share = if quick { QUICK } else { 1 };
    let unary = |requests| Work::Unary { concurrency: CONCURRENCY, requests: requests / share };
    let streams = |requests| Work::Streams { concurrency: CONCURRENCY, requests: requests / share };
    let mut comparisons = vec![
        cost(
            figure("unary request", "us CPU", Better::Lower),
            &generators,
            [unary(20_000), unary(100_000)],
            &sink,
        ),
        cost(
            figure("streams of 16 tokens", "/s and core", Better::Higher),
            &generators,
            [streams(400), streams(2400)],
            &sink,
        ),
    ];
    for (rate, requests) in ARRIVALS {
        comparisons.push(arrivals(rate, requests / share, &generators, &recorder));
    }
    Ok(comparisons)
}

/// What a reader must know.
#[must_use]
pub fn notes() -> Vec<String> {
    let pinned =
        crate::can_pin() && std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    let place = if pinned { "on processors of their own" } else { "on the same processors" };
    vec![
        format!(
            "Sink and generator run {place}. Costs are the generator's own processor time, user and system: the \
             difference between a long and a short run over the difference of their requests, so that starting up \
             costs nothing."
        ),
        "Arrivals are timed by the server. Of n arrivals of a Poisson process, rate and variation are off by about \
         100/sqrt(n) % by chance: 7 % of 200, 2 % of 2,000."
            .to_owned(),
    ]
}

fn figure(name: &str, unit: &'static str, better: Better) -> Figure {
    Figure { name: name.to_owned(), unit, better, goal: None }
}

/// The server under load; it ends with the last contender.
struct Sink {
    url: String,
    _process: Process,
}

/// Compares those generators that can do the work.
fn cost(figure: Figure, generators: &[Generator], works: [Work; 2], sink: &Rc<Sink>) -> Comparison {
    let inverse = figure.better == Better::Higher;
    let able = generators.iter().filter(|generator| generator.task(works[0], &sink.url).is_some());
    let mut able = able.cloned().map(|generator| -> Box<dyn Contender> {
        Box::new(Cost { generator, works, inverse, sink: sink.clone() })
    });
    let ours = able.next().unwrap_or_else(|| unreachable!("ours can do all"));
    Comparison { figures: vec![figure], rounds: None, ours, peers: able.collect() }
}

/// Processor time a request, or requests for a second of it.
struct Cost {
    generator: Generator,
    works: [Work; 2],
    inverse: bool,
    sink: Rc<Sink>,
}

impl Contender for Cost {
    fn name(&self) -> String {
        self.generator.title.clone()
    }

    fn measure(&mut self, stop: &Stop) -> Result<Measured, BenchError> {
        let mut used = [(0, Duration::ZERO); 2];
        for (work, used) in self.works.iter().zip(&mut used) {
            let Some(task) = self.generator.task(*work, &self.sink.url) else {
                return Ok(vec![None]);
            };
            self.generator.forget();
            let done = run(&task.on_core(GENERATOR_CORE), stop)?;
            *used = (self.generator.answered(*work, &done)?, done.cpu());
        }
        let [short, long] = used;
        Ok(vec![
            seconds_each(short, long)
                .map(|each| if self.inverse { 1.0 / each } else { each * 1e6 }),
        ])
    }
}

/// What one more request costs, of two runs with a number of requests and a processor time each.
pub(crate) fn seconds_each(short: (usize, Duration), long: (usize, Duration)) -> Option<f64> {
    let requests = long.0.checked_sub(short.0).filter(|&requests| requests > 0)?;
    let time = long.1.checked_sub(short.1).filter(|time| !time.is_zero())?;
    Some(time.as_secs_f64() / requests as f64)
}

/// Compares when requests arrive with when they should.
fn arrivals(
    rate: f64,
    requests: usize,
    generators: &[Generator],
    recorder: &Rc<Recorder>,
) -> Comparison {
    let work = Work::Arrivals { rate, requests };
    let url = recorder.url();
    let able = generators.iter().filter(|generator| generator.task(work, &url).is_some());
    let mut able = able.cloned().map(|generator| -> Box<dyn Contender> {
        Box::new(Arrivals { generator, work, recorder: recorder.clone() })
    });
    let ours = able.next().unwrap_or_else(|| unreachable!("ours can do all"));
    let figures = vec![
        figure(&format!("arrivals, {rate}/s asked"), "/s", Better::Nearest(rate)),
        figure(&format!("variation of gaps, {rate}/s asked"), "CV", Better::Nearest(1.0)),
    ];
    Comparison { figures, rounds: None, ours, peers: able.collect() }
}

/// When requests reach a server.
struct Arrivals {
    generator: Generator,
    work: Work,
    recorder: Rc<Recorder>,
}

impl Contender for Arrivals {
    fn name(&self) -> String {
        self.generator.title.clone()
    }

    fn measure(&mut self, stop: &Stop) -> Result<Measured, BenchError> {
        // What somebody asked for to see whether the server is there.
        self.recorder.take();
        let Some(task) = self.generator.task(self.work, &self.recorder.url()) else {
            return Ok(vec![None, None]);
        };
        self.generator.forget();
        let done = run(&task.on_core(GENERATOR_CORE), stop)?;
        self.generator.answered(self.work, &done)?;
        let mut arrivals = self.recorder.take();
        // A generator may ask once before it begins.
        let early = arrivals.len().saturating_sub(self.work.requests());
        arrivals.drain(..early);
        let measured = rate_and_variation(&arrivals);
        Ok(vec![measured.map(|(rate, _)| rate), measured.map(|(_, variation)| variation)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_up_costs_nothing() {
        let ms = Duration::from_millis;
        assert_eq!(seconds_each((100, ms(1100)), (300, ms(1300))), Some(0.001));
        assert_eq!(seconds_each((100, ms(1100)), (100, ms(1300))), None, "nothing more was done");
        assert_eq!(
            seconds_each((100, ms(1100)), (300, ms(1000))),
            None,
            "start-up outweighs the work"
        );
    }
}
