//! `cargo xtask`: the course's one command line. A thin dispatcher: it reads arguments, asks the crates that know,
//! and starts the programs that are heavy to build.

mod answers;
mod ci;
mod cli;
mod doctor;
mod fault;
mod lab;
mod map;
mod on_cluster;
mod programs;
mod repo;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use grader::{GradeError, Stop};

use cli::{Cli, Command};

/// Exit status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;
/// Exit status of trouble that is nobody's wrong answer.
const TROUBLE: u8 = 2;

fn main() -> ExitCode {
    grader::sandbox::maybe_run_supervisor();
    let cli = Cli::parse();
    let stop = Stop::new();
    let handler = {
        let stop = stop.clone();
        move || {
            // The second one does not wait for anything.
            if stop.is_set() {
                std::process::exit(i32::from(INTERRUPTED));
            }
            stop.set();
        }
    };
    let outcome = match ctrlc::set_handler(handler) {
        Ok(()) => run(cli, &stop),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let stopped = matches!(error.downcast_ref(), Some(GradeError::Interrupted));
            anstream::eprintln!("{error:#}");
            ExitCode::from(if stopped || stop.is_set() { INTERRUPTED } else { TROUBLE })
        }
    }
}

fn run(cli: Cli, stop: &Stop) -> anyhow::Result<u8> {
    let root = repo::root()?;
    match cli.command {
        None => map::show(&root),
        Some(Command::Lab(args)) => lab::run(&root, args, stop),
        Some(Command::Doctor { on: None, json }) => doctor::run(&root, json),
        Some(Command::Doctor { on: Some(on), json }) => {
            programs::cluster_doctor(&root, &on, json, stop)
        }
        Some(Command::Model(command)) => programs::model(&root, &command, stop),
        Some(Command::Load { arguments }) => programs::load(&root, &arguments, stop),
        Some(Command::Book { open, port }) => programs::book(&root, open, port, stop),
        Some(Command::Bench { args }) => programs::bench(&root, &args, stop),
        Some(Command::Simulate { lab, solution, arguments }) => {
            programs::simulate(&root, lab, solution, &arguments, stop)
        }
        Some(Command::Cluster { args }) => programs::cluster(&root, &args, stop),
        Some(Command::Fault { args }) => fault::run(&root, &args, stop),
        Some(Command::Conform { args }) => programs::conform(&root, &args, stop),
        Some(Command::Test(args)) => ci::run(&root, &args, stop),
        Some(Command::Author { args }) => programs::author(&root, &args, stop),
    }
}
