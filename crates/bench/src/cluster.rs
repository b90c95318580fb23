//! `bench cluster`: the embedded cluster beside the figures that it should reach.
//!
//! The goals stand in a peer's place, and beside them a real control plane where somebody has built one, which takes Go. The
//! client is `conformance bench`, which knows no cluster of ours, and measures whatever a kubeconfig names. Rates are
//! those of a cluster that is kept on one processor, while the client has another.

mod control_plane;

use std::path::{Path, PathBuf};
use std::time::Duration;

use grader::Stop;
use serde_json::Value;

use crate::compare::{Comparison, Contender, Figure, Measured};
use crate::result::Goal;
use crate::run::{Process, run};
use crate::sample::Better;
use crate::{BenchError, Peer, Places, Progress, Task};

use control_plane::{ControlPlane, Programs};

/// The peers of this bench: none that can be installed.
pub const PEERS: &[Peer] = &[];

/// Rounds, and those of `--quick`.
pub const ROUNDS: [usize; 2] = [3, 1];

/// What is measured, and what it should come to.
const GOALS: [(&str, &str, Better, f64); FIGURES] = [
    ("up to first API answer", "ms", Better::Lower, 150.0),
    ("three pods Ready after apply", "ms", Better::Lower, 500.0),
    ("reads on one core", "/s", Better::Higher, 5_000.0),
    ("writes on one core", "/s", Better::Higher, 1_000.0),
    ("watch event to client, median", "ms", Better::Lower, 5.0),
    ("memory, idle", "MB", Better::Lower, 40.0),
];
const FIGURES: usize = 6;
/// How the goals are called among the peers.
const GOAL: &str = "the goal";

/// The processor of a cluster whose rates are measured, and the client's.
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// Milliseconds of reads, and then of writes, where rates are measured, and where they are not.
const RATES: [&str; 2] = ["--each-ms", "3000"];
const NO_RATES: [&str; 2] = ["--each-ms", "1"];
/// Changes whose way to a watcher is timed, where that is measured, and where it is not.
const CHANGES: [&str; 2] = ["--changes", "500"];
const NO_CHANGES: [&str; 2] = ["--changes", "1"];
/// How long a cluster may take to be up, and one measurement of it.
const UP_LIMIT: Duration = Duration::from_secs(60);
const MEASURE_LIMIT: Duration = Duration::from_secs(120);
/// How long a cluster may live.
const LIMIT: Duration = Duration::from_secs(600);
/// KiB in a million bytes.
const KIB_IN_MB: f64 = 1024.0 / 1e6;

/// Builds our cluster and the client. `control_plane`: the folder of a real one to measure beside it.
///
/// # Errors
/// Those of building; [`BenchError::ControlPlane`] when there is none in the folder.
pub fn prepare(
    control_plane: Option<&Path>,
    places: &Places,
    progress: &Progress,
    stop: &Stop,
) -> Result<Vec<Comparison>, BenchError> {
    let real = control_plane.map(Programs::in_folder).transpose()?;
    let built = |package: &str, program: &str| {
        places.build(package, ["--bin", program], &[], progress, stop)
    };
    let program = built("embedded-cluster", "embedded-cluster")?;
    built("stub", "stub")?;
    let client = Client { program: built("conformance", "conformance")? };
    let dir = places.bench().join("cluster");
    let config = places.root.join("clusters/embedded/cluster.toml");
    let mut peers: Vec<Box<dyn Contender>> = vec![Box::new(Stated)];
    if let Some(programs) = real {
        peers.push(Box::new(ControlPlane::new(programs, places, &client)));
    }
    let ours = Ours { program, config, state: dir.join("ours"), client };
    let figures = GOALS.map(|(name, unit, better, _)| Figure {
        name: name.to_owned(),
        unit,
        better,
        goal: Some(Goal { peer: GOAL.to_owned(), ratio: 1.0 }),
    });
    Ok(vec![Comparison { figures: figures.into(), rounds: None, ours: Box::new(ours), peers }])
}

/// What a reader must know. `control_plane`: whether a real one is measured.
#[must_use]
pub fn notes(control_plane: bool) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let place = if crate::can_pin() && cores > 1 {
        "Rates are of a cluster that is kept on one core; the client has another."
    } else {
        "Cluster and client share their cores here, so rates are too low."
    };
    vec![
        "Each round starts an empty cluster of four nodes three times: until it answers, for pods, watches and memory, and for rates. \
         A write is answered once it is on disk."
            .to_owned(),
        format!("{place} One client sends 16 requests at a time over TLS; it is part of what is measured."),
        match control_plane {
            true => "Kubernetes is etcd, kube-apiserver, kube-controller-manager and kube-scheduler together, and no node: it \
                     runs no pods. Its memory is that of all four.",
            false => "No real control plane was measured: `--control-plane FOLDER` measures one that crates/conformance/peer has built.",
        }
        .to_owned(),
        "Ready pods are a Deployment of three stubs with readiness probes. The memory is the cluster's own, without its pods."
            .to_owned(),
    ]
}

/// The goals themselves: what they say is the same in every round.
struct Stated;

impl Contender for Stated {
    fn name(&self) -> String {
        GOAL.to_owned()
    }

    fn measure(&mut self, _stop: &Stop) -> Result<Measured, BenchError> {
        Ok(GOALS.iter().map(|(.., figure)| Some(*figure)).collect())
    }
}

/// The program that asks.
#[derive(Debug, Clone)]
struct Client {
    program: PathBuf,
}

/// What the client found out about a running cluster.
#[derive(Debug, Default)]
struct Asked {
    ready_ms: Option<f64>,
    reads: Option<f64>,
    writes: Option<f64>,
    event_ms: Option<f64>,
    idle_mb: Option<f64>,
}

impl Client {
    /// Asks the cluster behind `kubeconfig`, whose process is `id`.
    fn bench(
        &self,
        kubeconfig: &Path,
        id: u32,
        rates: bool,
        stop: &Stop,
    ) -> Result<Asked, BenchError> {
        let id = id.to_string();
        let task =
            Task::new(&self.program, MEASURE_LIMIT).args(["--kubeconfig"]).args([kubeconfig]);
        let task = task.args(["bench", "--pid", &id]);
        let task = match rates {
            true => task.args(RATES).args(NO_CHANGES).on_core(CLIENT_CORE),
            false => task.args(NO_RATES).args(CHANGES),
        };
        let said = self.json(&task, stop)?;
        let at = |path: &str| said.pointer(path).and_then(Value::as_f64);
        Ok(Asked {
            ready_ms: at("/apply_to_three_ready_ms"),
            reads: at("/reads_per_second"),
            writes: at("/writes_per_second"),
            event_ms: at("/write_to_event_ms/median"),
            idle_mb: at("/before/memory_kib").map(|kib| kib * KIB_IN_MB),
        })
    }

    /// Starts a cluster by a command, and returns how long it took to answer, in milliseconds.
    fn first_answer(
        &self,
        kubeconfig: &Path,
        command: &[&Path],
        stop: &Stop,
    ) -> Result<Option<f64>, BenchError> {
        let task =
            Task::new(&self.program, MEASURE_LIMIT).args(["--kubeconfig"]).args([kubeconfig]);
        let said = self.json(&task.args(["up", "--"]).args(command), stop)?;
        Ok(said["first_answer_ms"].as_f64())
    }

    fn json(&self, task: &Task, stop: &Stop) -> Result<Value, BenchError> {
        let done = run(task, stop)?;
        serde_json::from_str(&done.stdout).map_err(|error| BenchError::Output {
            program: task.name(),
            what: format!("{error}, in {}", done.stdout),
        })
    }
}

/// Makes a folder for a cluster, without what another has left in it.
fn clear(folder: &Path) -> Result<(), BenchError> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(BenchError::io(folder))?;
    }
    std::fs::create_dir_all(folder).map_err(BenchError::io(folder))
}

/// Our cluster.
struct Ours {
    program: PathBuf,
    config: PathBuf,
    state: PathBuf,
    client: Client,
}

impl Ours {
    fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    fn task(&self) -> Task {
        let task = Task::new(&self.program, LIMIT).args(["run", "--state"]).args([&self.state]);
        task.args(["--config"]).args([&self.config])
    }

    /// Starts a cluster as a task says, and asks it.
    fn asked(&self, task: &Task, rates: bool, stop: &Stop) -> Result<Asked, BenchError> {
        clear(&self.state)?;
        let cluster = Process::start(task)?;
        cluster.announced("ready ", UP_LIMIT, stop)?;
        self.client.bench(&self.kubeconfig(), cluster.id(), rates, stop)
    }
}

impl Contender for Ours {
    fn name(&self) -> String {
        "ours".to_owned()
    }

    fn measure(&mut self, stop: &Stop) -> Result<Measured, BenchError> {
        clear(&self.state)?;
        let run = [
            Path::new("run"),
            Path::new("--state"),
            &self.state,
            Path::new("--config"),
            &self.config,
        ];
        let command = [&[self.program.as_path()][..], &run].concat();
        let up = self.client.first_answer(&self.kubeconfig(), &command, stop)?;
        let free = self.asked(&self.task(), false, stop)?;
        let kept = self.asked(&self.task().on_core(SERVER_CORE), true, stop)?;
        Ok(vec![up, free.ready_ms, kept.reads, kept.writes, free.event_ms, free.idle_mb])
    }
}
