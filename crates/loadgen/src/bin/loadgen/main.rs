//! The load generator's command line.

mod args;
mod setup;

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use loadgen::{Record, Summary, Tally, report, run};

use args::{Args, FailOn};
use setup::{Setup, setup};

/// A limit was broken.
const BROKEN: u8 = 1;
/// Trouble that says nothing about the server.
const TROUBLE: u8 = 2;
/// Ended by Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    match load(&args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            anstream::eprintln!("{error:#}");
            ExitCode::from(TROUBLE)
        }
    }
}

fn load(args: &Args) -> Result<u8> {
    let stop = stop_on_ctrl_c()?;
    let Setup { plan, warmup, description } = setup(args)?;
    let mut records = args.records.as_deref().map(create).transpose()?;
    // Files that cannot be written are trouble before a long run, not after it.
    let html = args.html.as_deref().map(create).transpose()?;
    let json = args.json.as_deref().filter(|p| *p != Path::new("-")).map(create).transpose()?;
    if let Some(warmup) = &warmup {
        run(warmup, &stop, |_| {}, |_| {})?;
    }
    let bar =
        progress(args, args.requests.or(args.closed.is_none().then_some(description.scheduled)));
    let tally = std::cell::RefCell::new(Tally::new(args.slo.unwrap_or_default()));
    let mut unwritten = None;
    let outcome = run(
        &plan,
        &stop,
        |record| {
            tally.borrow_mut().add(&record);
            if let Some(file) = &mut records
                && let Err(error) = write_record(file, &record)
            {
                unwritten.get_or_insert(error);
            }
        },
        |in_flight| {
            let (ended, failed) = tally.borrow().ended();
            bar.set_position(ended as u64);
            bar.set_message(format!("{in_flight} in flight, {failed} failed"));
        },
    )?;
    bar.finish_and_clear();
    if let Some(mut file) = records {
        let flushed = file.flush();
        unwritten.map_or(flushed, Err).context("the records could not be written")?;
    }
    let summary = tally.into_inner().finish(description, &outcome);
    show(args, &summary, json, html)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(INTERRUPTED);
    }
    Ok(verdict(&summary, args.fail_on.unwrap_or_default()))
}

fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        // The second one does not wait for a summary.
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    })?;
    Ok(stop)
}

fn progress(args: &Args, scheduled: Option<usize>) -> ProgressBar {
    let length = scheduled.map(|scheduled| scheduled as u64);
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
    let style = match length {
        Some(_) => "{elapsed} [{bar:30}] {pos}/{len}  {per_sec}  {msg}",
        None => "{elapsed} {spinner} {pos}  {per_sec}  {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    if std::io::stderr().is_terminal() && !args.quiet {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    bar
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    Ok(BufWriter::new(file))
}

fn write_record(file: &mut BufWriter<File>, record: &Record) -> std::io::Result<()> {
    serde_json::to_writer(&mut *file, record)?;
    file.write_all(b"\n")
}

fn show(
    args: &Args,
    summary: &Summary,
    json: Option<BufWriter<File>>,
    html: Option<BufWriter<File>>,
) -> Result<()> {
    if let Some(mut file) = json {
        serde_json::to_writer_pretty(&mut file, summary)?;
        file.write_all(b"\n")?;
        file.flush()?;
    }
    if let Some(mut file) = html {
        file.write_all(report::html(summary).as_bytes())?;
        file.flush()?;
    }
    if args.json.as_deref() == Some(Path::new("-")) {
        anstream::println!("{}", serde_json::to_string_pretty(summary)?);
        if !args.quiet {
            anstream::eprint!("{}", report::table(summary));
        }
    } else if !args.quiet {
        anstream::print!("{}", report::table(summary));
    }
    Ok(())
}

fn verdict(summary: &Summary, limits: FailOn) -> u8 {
    let counts = &summary.requests;
    let ended = (counts.ok + counts.failed).max(1) as f64;
    let errors = counts.failed as f64 / ended;
    let good = counts.good.unwrap_or(0) as f64 / ended;
    let mut status = if counts.ok == 0 { BROKEN } else { 0 };
    if let Some(limit) = limits.errors.filter(|limit| errors > *limit) {
        status = BROKEN;
        anstream::eprintln!("{:.2} % errors, above {:.2} %", 100.0 * errors, 100.0 * limit);
    }
    if let Some(limit) = limits.goodput.filter(|limit| good < *limit) {
        status = BROKEN;
        anstream::eprintln!("{:.2} % good requests, below {:.2} %", 100.0 * good, 100.0 * limit);
    }
    status
}
