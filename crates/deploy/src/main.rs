//! Stages the images of the course's programs, and lends a Docker engine to a command.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use deploy::{Docker, DockerError};

/// The exit status of a step that could not be tried, as in Automake's tests.
const SKIPPED: u8 = 77;

/// Images of the course's programs, and a Docker engine to try them on
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  deploy image                                    build and stage the engine, print the folder
  docker build -t llm-lab/engine $(deploy image)
  docker build -t llm-lab/router $(deploy image router)
  deploy with-docker --install -- cargo test -p deploy --test image -- --ignored")]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Put a program and what it needs into a folder that `docker build` takes
    Image {
        /// Whose image
        #[arg(value_enum, default_value_t = Image::Engine)]
        image: Image,
        /// The program, where it is not the reference's, built when needed
        #[arg(long)]
        program: Option<PathBuf>,
        /// The folder; by default target/images/ and the image's name
        #[arg(long)]
        out: Option<PathBuf>,
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

/// An image that manifests name.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Image {
    /// Lab 1's engine, which simulates: it needs no tensor library
    Engine,
    /// Lab 2's router, which is the endpoint picker too
    Router,
    /// The load generator
    Loadgen,
}

impl Image {
    fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Router => "router",
            Self::Loadgen => "loadgen",
        }
    }

    /// The package, its features, separated by commas, and the program.
    fn reference(self) -> [&'static str; 3] {
        match self {
            Self::Engine => ["sol01-triage", "serve", "sol01-engine"],
            Self::Router => ["sol02-routing", "live", "sol02-router"],
            Self::Loadgen => ["loadgen", "", "loadgen"],
        }
    }
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Task::Image { image, program, out } => stage(image, program, out).map(|()| 0),
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

fn stage(image: Image, program: Option<PathBuf>, out: Option<PathBuf>) -> Result<()> {
    let root = root();
    let out = out.unwrap_or_else(|| Path::new("target/images").join(image.name()));
    let program = match program {
        Some(program) => program,
        None => build(&root, image)?,
    };
    let staged = deploy::stage(&root, &program, &root.join(out))?;
    eprintln!("{} files, {:.1} MB", staged.files.len(), staged.bytes as f64 / 1e6);
    println!("{}", staged.context.display());
    Ok(())
}

/// Builds the image's program: of a lab, the reference's.
fn build(root: &Path, image: Image) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let [package, features, program] = image.reference();
    let args = ["build", "-q", "-p", package, "--features", features, "--bin", program];
    let status = Command::new(cargo).args(args).current_dir(root).status().context("cargo")?;
    anyhow::ensure!(status.success(), "{program} cannot be built");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("debug").join(program))
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
