//! `bench`: measures the course's programs beside their peers, prints a table, saves JSON and draws a plot.

mod args;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bench::{
    BenchError, BenchResult, BookPage, Comparison, Installed, Machine, Peer, Places, Progress, Row,
    SCHEMA, choose, cluster, engine, install_all, loadgen, markdown, policy, router, simulation,
    svg, terminal, write,
};
use clap::Parser;
use grader::Stop;

use args::{Cli, Command, RunArgs};

/// Exit status when something could not be measured.
const TROUBLE: u8 = 2;
/// Exit status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let stop = Stop::new();
    let handler = stop.clone();
    let outcome = match ctrlc::set_handler(move || handler.set()) {
        Ok(()) => run(cli, &stop),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            anstream::eprintln!("{error:#}");
            let stopped = matches!(error.downcast_ref(), Some(BenchError::Interrupted));
            ExitCode::from(if stopped { INTERRUPTED } else { TROUBLE })
        }
    }
}

fn run(cli: Cli, stop: &Stop) -> Result<u8> {
    match cli.command {
        _ if cli.list => list(),
        None => Ok(0),
        Some(Command::Show { file, markdown: as_markdown, plot }) => {
            let result = BenchResult::load(&file)?;
            if let Some(plot) = plot {
                write(&plot, &svg(&result))?;
            }
            anstream::print!("{}", if as_markdown { markdown(&result) } else { terminal(&result) });
            Ok(0)
        }
        Some(Command::Engine { run, threads, model }) => {
            let settings = engine::Settings { threads, model };
            let bench = Bench {
                name: "engine",
                peers: engine::PEERS,
                rounds: engine::ROUNDS[usize::from(run.quick)],
                notes: engine::notes(&settings),
            };
            measure(&bench, &run, stop, |peers, on| {
                engine::prepare(&settings, peers, on.places, on.progress, stop)
            })
        }
        Some(Command::Simulation { run }) => {
            let bench = Bench {
                name: "simulation",
                peers: simulation::PEERS,
                rounds: simulation::ROUNDS[usize::from(run.quick)],
                notes: simulation::notes(),
            };
            measure(&bench, &run, stop, |peers, on| {
                simulation::prepare(run.quick, peers, on.places, on.progress, stop)
            })
        }
        Some(Command::Policy { quick, live, book }) => policies(quick, live, book, stop),
        Some(Command::Router { run }) => {
            let bench = Bench {
                name: "router",
                peers: router::PEERS,
                rounds: router::ROUNDS[usize::from(run.quick)],
                notes: router::notes(),
            };
            measure(&bench, &run, stop, |peers, on| {
                router::prepare(run.quick, peers, on.places, on.progress, stop)
            })
        }
        Some(Command::Cluster { run, control_plane }) => {
            let bench = Bench {
                name: "cluster",
                peers: cluster::PEERS,
                rounds: cluster::ROUNDS[usize::from(run.quick)],
                notes: cluster::notes(control_plane.is_some()),
            };
            measure(&bench, &run, stop, |_none, on| {
                cluster::prepare(control_plane.as_deref(), on.places, on.progress, stop)
            })
        }
        Some(Command::Loadgen { run }) => {
            let bench = Bench {
                name: "loadgen",
                peers: loadgen::PEERS,
                rounds: loadgen::ROUNDS[usize::from(run.quick)],
                notes: loadgen::notes(),
            };
            measure(&bench, &run, stop, |peers, on| {
                loadgen::prepare(run.quick, peers, on.places, on.progress, stop)
            })
        }
    }
}

/// What differs between benches, but for the programs.
struct Bench {
    name: &'static str,
    peers: &'static [Peer],
    rounds: usize,
    notes: Vec<String>,
}

/// Where a bench runs.
struct On<'a> {
    places: &'a Places,
    progress: &'a Progress,
}

/// Installs, measures, prints and saves. Returns the exit status.
fn measure(
    bench: &Bench,
    args: &RunArgs,
    stop: &Stop,
    prepare: impl FnOnce(&[(Peer, Installed)], &On<'_>) -> Result<Vec<Comparison>, BenchError>,
) -> Result<u8> {
    let places = Places::here();
    let progress = Progress::on_stderr();
    let asked = !args.against.is_empty();
    let chosen = choose(bench.name, bench.peers, &args.against)?;
    let mut trouble = Vec::new();
    let peers = install_all(&chosen, asked, &places, &progress, stop, &mut trouble)?;
    let comparisons = prepare(&peers, &On { places: &places, progress: &progress })?;
    let machine = Machine::here();
    if let Some(warning) = machine.warning() {
        progress.note(&warning);
    }
    let rounds = args.rounds.map_or(bench.rounds, usize::from);
    let mut rows: Vec<Row> = Vec::new();
    for comparison in comparisons {
        let compared = comparison.run(rounds, &progress, stop)?;
        rows.extend(compared.rows);
        trouble.extend(compared.failures);
    }
    drop(progress);
    let rounds = if rounds == 1 { "One round.".to_owned() } else { format!("{rounds} rounds.") };
    let result = BenchResult {
        schema: SCHEMA,
        bench: bench.name.to_owned(),
        date: BenchResult::today(),
        commit: places.commit(stop),
        command: command(),
        machine,
        rows,
        notes: [vec![rounds], bench.notes.clone(), trouble.clone()].concat(),
    };
    let page = BookPage::of(&places.root, bench.name);
    let usual = || places.bench().join(bench.name.to_owned() + ".json");
    let (json, plot) = match args.book {
        true => (page.result.clone(), Some(page.plot.clone())),
        false => (args.json.clone().unwrap_or_else(usual), args.plot.clone()),
    };
    report(&result, &json, plot.as_deref())?;
    if args.book {
        write(&page.table, &markdown(&result))?;
    }
    Ok(if trouble.is_empty() { 0 } else { TROUBLE })
}

/// The policies, in virtual time or in both: no peers, no rounds.
fn policies(quick: bool, live: bool, book: bool, stop: &Stop) -> Result<u8> {
    let places = Places::here();
    let progress = Progress::on_stderr();
    if live {
        let result = policy::measure_live(quick, command(), &places, &progress, stop)?;
        drop(progress);
        let shown = Shown { name: "policy-live", table: result.markdown(), plot: None };
        shown.save(book, &places, |json| result.save(json))?;
    } else {
        let result = policy::measure(quick, command(), &places, &progress, stop)?;
        drop(progress);
        let (table, plot) = (policy::markdown(&result), Some(policy::svg(&result)));
        Shown { name: "policy", table, plot }.save(book, &places, |json| result.save(json))?;
    }
    Ok(0)
}

/// What people see of a result that has a table of its own.
struct Shown {
    name: &'static str,
    table: String,
    plot: Option<String>,
}

impl Shown {
    /// Prints the table and saves the result; in the book, with table and plot.
    fn save(
        &self,
        book: bool,
        places: &Places,
        save: impl FnOnce(&Path) -> Result<(), BenchError>,
    ) -> Result<()> {
        let Self { name, table, plot } = self;
        let page = BookPage::of(&places.root, name);
        let json = if book { page.result } else { places.bench().join(format!("{name}.json")) };
        anstream::print!("{table}");
        save(&json).context("the result could not be saved")?;
        anstream::println!("\nsaved in {}", json.display());
        if book {
            write(&page.table, table)?;
            if let Some(plot) = plot {
                write(&page.plot, plot)?;
            }
        }
        Ok(())
    }
}

fn report(result: &BenchResult, json: &Path, plot: Option<&Path>) -> Result<()> {
    anstream::print!("{}", terminal(result));
    result.save(json).context("the result could not be saved")?;
    anstream::println!("\nsaved in {}", json.display());
    if let Some(plot) = plot {
        write(plot, &svg(result)).context("the plot could not be saved")?;
        anstream::println!("drawn in {}", plot.display());
    }
    Ok(())
}

/// What was typed, as somebody else would type it.
fn command() -> String {
    let args: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask bench {}", args.join(" "))
}

fn list() -> Result<u8> {
    let benches = [
        ("cluster", "up, ready pods, requests and memory, beside their goals", cluster::PEERS),
        ("engine", "prefill and decode", engine::PEERS),
        ("loadgen", "cost of a request, and arrivals on time", loadgen::PEERS),
        ("router", "cost of a request and of a token, and what is added to times", router::PEERS),
        ("simulation", "requests simulated in a second", simulation::PEERS),
    ];
    anstream::println!(
        "policy: lab 2's policies on one simulated fleet, beside a published run; with --live also in real time"
    );
    for (name, about, peers) in benches {
        anstream::println!("{name}: {about}");
        for peer in peers {
            let when = if peer.by_default { "" } else { " (only with --against)" };
            anstream::println!("  {:<14} {}{when}", peer.name, peer.origin());
            anstream::println!("  {:<14} {}", "", peer.about);
        }
    }
    Ok(0)
}
