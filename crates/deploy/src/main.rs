//! Stages the engine's image, and lends a Docker engine to a command.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use deploy::{Docker, DockerError};

/// The exit status of a step that could not be tried, as in Automake's tests.
const SKIPPED: u8 = 77;

/// The engine's image, and a Docker engine to try it on
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  deploy image                                    build and stage the engine, print the folder
  docker build -t llm-lab/engine $(deploy image)
  deploy with-docker --install -- cargo test -p deploy --test image -- --ignored")]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Put the engine and what it needs into a folder that `docker build` takes
    Image {
        /// The program; by default the engine that simulates, built when needed
        #[arg(long)]
        engine: Option<PathBuf>,
        /// The folder
        #[arg(long, default_value = "target/images/engine")]
        out: PathBuf,
    },
    /// Run a command with DOCKER_HOST set to an engine that answers; exit 77 where none can be had
    WithDocker {
        /// Install Debian's Docker engine where there is none
        #[arg(long)]
        install: bool,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Task::Image { engine, out } => image(engine, &out).map(|()| 0),
        Task::WithDocker { install, command } => with_docker(install, &command),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("deploy: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    here.canonicalize().unwrap_or(here)
}

fn image(engine: Option<PathBuf>, out: &Path) -> Result<()> {
    let root = root();
    let engine = match engine {
        Some(engine) => engine,
        None => build(&root)?,
    };
    let staged = deploy::stage(&root, &engine, &root.join(out))?;
    eprintln!("{} files, {:.1} MB", staged.files.len(), staged.bytes as f64 / 1e6);
    println!("{}", staged.context.display());
    Ok(())
}

/// Builds the engine that simulates. It needs no tensor library.
fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args =
        ["build", "-q", "-p", "sol01-triage", "--features", "serve", "--bin", "sol01-engine"];
    let status = Command::new(cargo).args(args).current_dir(root).status().context("cargo")?;
    anyhow::ensure!(status.success(), "the engine cannot be built");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("debug/sol01-engine"))
}

fn with_docker(install: bool, command: &[String]) -> Result<u8> {
    let folder = std::env::temp_dir().join(format!("llm-lab-docker-{}", std::process::id()));
    let docker = match Docker::get(&folder, install) {
        Ok(docker) => docker,
        Err(error @ (DockerError::Unavailable(_) | DockerError::NotStarted { .. })) => {
            println!("SKIPPED: {error}");
            return Ok(SKIPPED);
        }
        Err(error) => return Err(error.into()),
    };
    let (program, args) = command.split_first().context("no command")?;
    let status = Command::new(program).args(args).env("DOCKER_HOST", &docker.host).status();
    let status = status.with_context(|| program.clone())?;
    drop(docker);
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
