//! `author sync|check`: the maintainers' program. `cargo xtask author` builds it when it is first needed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use author::{AuthorError, CheckArgs, SyncArgs, run_check, run_sync};
use clap::Parser;
use grader::Stop;

/// Exit status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;
/// Exit status of trouble that is no finding.
const TROUBLE: u8 = 2;

/// For maintainers: regenerates the starters, proves the checks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask author", version)]
struct Cli {
    /// Folder of the course; found from the current folder upwards otherwise.
    #[arg(long, global = true)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Regenerate labs/ from solutions/.
    Sync(SyncArgs),
    /// Prove that the checks pass what is right and reject what is wrong.
    Check(CheckArgs),
}

fn main() -> ExitCode {
    grader::sandbox::maybe_run_supervisor();
    let cli = Cli::parse();
    let stop = Stop::new();
    let handler = {
        let stop = stop.clone();
        move || stop.set()
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        anstream::eprintln!("{error}");
        return ExitCode::from(TROUBLE);
    }
    match run(cli, &stop) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            anstream::eprintln!("{error}");
            ExitCode::from(if stop.is_set() { INTERRUPTED } else { TROUBLE })
        }
    }
}

fn run(cli: Cli, stop: &Stop) -> Result<u8, AuthorError> {
    let root = cli.root.or_else(course_root).ok_or(AuthorError::NoCourse)?;
    let out = &mut anstream::stdout();
    match cli.command {
        Command::Sync(args) => run_sync(&root, &args, out),
        Command::Check(args) => run_check(&root, &args, stop, out),
    }
}

/// The current folder or the nearest above it that has a course.
fn course_root() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    let is_root = |dir: &&Path| dir.join("Cargo.toml").is_file() && dir.join("solutions").is_dir();
    here.ancestors().find(is_root).map(Path::to_owned)
}
