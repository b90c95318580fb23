//! `bench router`: the course's router beside those of others, before the same backends.
//!
//! What a router costs the machine that it runs on, and what it adds to the times that a client sees. A router runs on a processor of
//! its own; the two backends, the course's sinks, and the generator share the other one. Costs are processor time, which hardly
//! depends on what else runs; times are differences to the same requests sent directly, a moment before.

mod command;
mod contender;

use std::rc::Rc;
use std::time::Duration;

use grader::Stop;

use crate::compare::{Comparison, Contender, Figure};
use crate::result::Goal;
use crate::run::Process;
use crate::sample::Better;
use crate::{BenchError, Installed, Peer, Places, Progress, Source, Task};
use command::Kind;
use contender::{Backends, Router, What};

/// The peers of this bench.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "nginx",
        source: Source::System("nginx"),
        by_default: true,
        about: "a general proxy; knows no prefix",
    },
    Peer {
        name: "haproxy",
        source: Source::System("haproxy"),
        by_default: true,
        about: "a general proxy; knows no prefix",
    },
    Peer {
        name: "vllm-router",
        source: Source::Pip(&["vllm-router==0.1.17"]),
        by_default: true,
        about: "Rust behind a Python package",
    },
    Peer {
        name: "sglang-router",
        source: Source::Pip(&["sglang-router==0.3.2"]),
        by_default: true,
        about: "Rust behind a Python package",
    },
];

/// Rounds, and those of `--quick`.
pub const ROUNDS: [usize; 2] = [3, 1];

/// How long a sink may take to listen, and how long it may live.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
const SINK_LIMIT: Duration = Duration::from_secs(3600);
/// The processor of sinks and generator, and the router's.
const OTHERS_CORE: usize = 0;
const ROUTER_CORE: usize = 1;
/// Backends: enough for a router to have to choose.
const SINKS: usize = 2;
/// Time between two tokens of the sinks whose streams are timed.
const INTERVAL: &str = "2ms";

/// Starts the sinks and builds the router.
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
    let generator = places.build("loadgen", ["--bin", "loadgen"], &[], progress, stop)?;
    let sink = places.build("loadgen", ["--bin", "loadgen-sink"], &[], progress, stop)?;
    let ours =
        places.build("sol02-routing", ["--bin", "sol02-router"], &["live"], progress, stop)?;
    let dir = places.bench().join("router");
    std::fs::create_dir_all(&dir).map_err(BenchError::io(&dir))?;
    let sinks = |interval: &str| -> Result<Backends, BenchError> {
        let mut backends = Backends::default();
        for _ in 0..SINKS {
            let task = Task::new(&sink, SINK_LIMIT).args(["--port", "0", "--interval", interval]);
            let process = Process::start(&task.on_core(OTHERS_CORE))?;
            backends.add(process.announced("listening on ", LISTEN_LIMIT, stop)?, process);
        }
        Ok(backends)
    };
    let at_once = Rc::new(sinks("0s")?);
    let paced = Rc::new(sinks(INTERVAL)?);

    let share = if quick { 4 } else { 1 };
    let comparison = |what: What, backends: &Rc<Backends>| {
        let contender = |kind, title: &str, program| -> Box<dyn Contender> {
            Box::new(Router {
                kind,
                title: title.to_owned(),
                program,
                generator: generator.clone(),
                dir: dir.clone(),
                backends: backends.clone(),
                what,
                share,
            })
        };
        let others = peers.iter().filter_map(|(peer, here)| {
            let kind = Kind::of_peer(peer.name)?;
            Some(contender(kind, &here.title, kind.program(here)))
        });
        Comparison {
            figures: figures(what),
            rounds: None,
            ours: contender(Kind::Ours, "ours", ours.clone()),
            peers: others.collect(),
        }
    };
    Ok(vec![
        comparison(What::Unary, &at_once),
        comparison(What::LongPrompts, &at_once),
        comparison(What::Streams, &at_once),
        comparison(What::Times, &paced),
    ])
}

/// What a measurement finds, in its order.
fn figures(what: What) -> Vec<Figure> {
    let figure = |name: &str, unit, better, goal: Option<f64>| Figure {
        name: name.to_owned(),
        unit,
        better,
        goal: goal.map(|ratio| Goal { peer: "nginx".to_owned(), ratio }),
    };
    match what {
        What::Unary => vec![
            figure("unary request", "us CPU", Better::Lower, Some(1.0)),
            figure("requests on one core", "/s", Better::Higher, Some(1.0)),
            figure("most memory", "MB", Better::Lower, None),
        ],
        What::LongPrompts => {
            vec![figure("32 KB prompt, prefix-aware", "us CPU", Better::Lower, Some(1.0 / 1.5))]
        }
        What::Streams => vec![figure("relayed token", "us CPU", Better::Lower, None)],
        What::Times => vec![
            figure("added to a unary request, p50", "us", Better::Lower, None),
            figure("added to a unary request, p99", "us", Better::Lower, None),
            figure("added to the first token, p50", "us", Better::Lower, None),
            figure("added to the last token, p50", "us", Better::Lower, None),
        ],
    }
}

/// What a reader must know.
#[must_use]
pub fn notes() -> Vec<String> {
    let pinned =
        crate::can_pin() && std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    let place = if pinned {
        "The router has a processor of its own; two backends and the generator share another"
    } else {
        "Router, backends and generator share the processors"
    };
    vec![
        format!(
            "{place}. Costs are the router's own processor time, user and system, of all its threads and processes, over \
             the requests or tokens that went through; 32 requests are in flight."
        ),
        "32 KB prompts: our policy that weighs prefixes against load, `cache_aware` of vllm-router and sglang-router, and round robin of nginx \
         and haproxy, which know none."
            .to_owned(),
        "What is added is the difference to the same requests sent directly, measured a moment before, one request at a time; \
         streams have a token every 2 ms. A negative figure is noise. haproxy runs with `http-no-delay`, nginx with \
         `proxy_buffering off`."
            .to_owned(),
    ]
}
