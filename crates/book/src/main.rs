//! `book build|serve|check|commands`: the course's book, without installing anything.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use book::serve::{Site, listen, router};
use clap::{Parser, Subcommand};

/// Builds, checks and serves the course's book.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Folder of the repository; found from the current folder upwards otherwise.
    #[arg(long, global = true)]
    repo: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build the book as a folder of HTML.
    Build {
        /// Where to; its contents are replaced. Default: target/book.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Serve the book on this machine, and build it again when a source changes.
    Serve {
        /// Port; 0 takes any free one.
        #[arg(long, default_value_t = 3000)]
        port: u16,
        /// Open it in the browser.
        #[arg(long)]
        open: bool,
    },
    /// Find broken links, anchors, includes and pictures without text.
    Check,
    /// List the commands that the book tells a reader to type.
    Commands {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    run(Args::parse()).unwrap_or_else(|error| {
        // The causes in one line; a backtrace tells a reader nothing.
        eprintln!("book: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: Args) -> Result<ExitCode> {
    let repo = args.repo.map_or_else(find_repo, Ok)?;
    let root = repo.join("book");
    match args.action {
        Action::Build { out } => build(&root, &out.unwrap_or_else(|| repo.join("target/book"))),
        Action::Serve { port, open } => serve(&repo, port, open),
        Action::Check => check(&root),
        Action::Commands { json } => list_commands(&root, json),
    }
}

/// The nearest folder upwards that holds `book/book.toml`.
fn find_repo() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = here.ancestors().find(|dir| dir.join("book/book.toml").is_file());
    found.map(Path::to_owned).context("no book/book.toml here or above; give --repo")
}

fn build(root: &Path, out: &Path) -> Result<ExitCode> {
    let started = Instant::now();
    let built = book::build(root, out)?;
    for warning in &built.warnings {
        eprintln!("warning: {warning}");
    }
    println!(
        "{} ({:.1} s)",
        built.out.join("index.html").display(),
        started.elapsed().as_secs_f64()
    );
    Ok(ExitCode::from(u8::from(!built.warnings.is_empty())))
}

fn check(root: &Path) -> Result<ExitCode> {
    let findings = book::check::check(root)?;
    for finding in &findings {
        println!("{finding}");
    }
    let commands = book::commands::commands(root)?.len();
    match findings.len() {
        0 => println!(
            "The book is sound: links, anchors, includes and pictures; {commands} commands."
        ),
        count => println!("{count} found."),
    }
    Ok(ExitCode::from(u8::from(!findings.is_empty())))
}

fn list_commands(root: &Path, json: bool) -> Result<ExitCode> {
    let commands = book::commands::commands(root)?;
    if json {
        // Whoever reads may have seen enough.
        let _ = writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&commands)?);
    } else {
        for command in &commands {
            println!("{}:{}  {}", command.file, command.line, command.command);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[tokio::main(flavor = "current_thread")]
async fn serve(repo: &Path, port: u16, open: bool) -> Result<ExitCode> {
    let listener = listen(port).await?;
    let root = repo.join("book");
    let built = book::build(&root, &repo.join("target/book"))?;
    for warning in &built.warnings {
        eprintln!("warning: {warning}");
    }
    let site = Site::new(built.out, &repo.join(".lab/state.json"));
    site.rebuild_on_change(root, vec![repo.join("crates/serving/src"), repo.join("solutions")]);
    let url = format!("http://{}", listener.local_addr()?);
    println!("listening on {url}");
    if open {
        open_in_browser(&url);
    }
    let until_stopped = async {
        // Without a signal handler the process simply ends on Ctrl-C.
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, router(site)).with_graceful_shutdown(until_stopped).await?;
    Ok(ExitCode::SUCCESS)
}

fn open_in_browser(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    let quiet = command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if quiet.spawn().is_err() {
        eprintln!("cannot open a browser with `{program}`: open {url} yourself");
    }
}
