//! The longer trials on the command line: progress, figures, exit status.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use conformance::bench::{self, Load};
use conformance::host::Holdings;
use conformance::place::{Place, Settings};
use conformance::raw::Raw;
use conformance::soak::{self, Size};
use conformance::unmet::{Met, Unmet};
use conformance::wire::Wire;
use conformance::{connect, fuzz};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::cli::{SuiteArgs, Trial};
use crate::{FAILED, INTERRUPTED};

/// Runs a trial in a namespace of its own, which is removed however it ends.
pub(crate) async fn run(
    trial: Trial,
    args: SuiteArgs,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<u8> {
    if let Trial::Up { command } = trial {
        let path =
            args.kubeconfig.context("--kubeconfig names the file that the program writes")?;
        return Ok(tell(conformance::up::run(&path, &command).await));
    }
    let config = connect::config(args.kubeconfig.as_deref()).await?;
    let client = kube_connect::client(config.clone())?;
    let server = connect::server_version(&client).await?;
    let settings = Arc::new(Settings {
        run: uuid::Uuid::new_v4().simple().to_string()[..8].to_owned(),
        image: args.image,
        live_node: connect::live_node(&client).await?,
        kubectl: None,
        config: None,
    });
    let place = Place::open(Wire::over(&client), settings).await?;
    let raw = Raw::of(&config)?;
    let trying = async {
        match trial {
            Trial::Fuzz { cases, seed, strict } => fuzzed(&raw, &place, seed, cases, strict).await,
            Trial::Soak {
                deployments,
                replicas,
                rollouts,
                kill_every_ms,
                seed,
                host_checks: pid,
            } => {
                let kill_every = Duration::from_millis(kill_every_ms);
                soaked(&place, Size { deployments, replicas, rollouts, kill_every, seed, pid })
                    .await
            }
            Trial::Up { .. } => unreachable!("there is a cluster already"),
            Trial::Bench { each_ms, at_once, changes, pid } => {
                let each = Duration::from_millis(each_ms);
                benched(&place, Load { each, at_once, changes }, pid).await
            }
        }
    };
    let met = tokio::select! {
        met = trying => met,
        _ = stop.wait_for(|stopped| *stopped) => Err(Unmet::Interrupted),
    };
    place.close().await;
    let named = |mut figures: Value| {
        figures["server"] = server.into();
        figures
    };
    Ok(tell(met.map(named)))
}

/// Prints figures, or why there are none. Returns the exit status.
fn tell(met: Met<Value>) -> u8 {
    match met {
        Ok(figures) => {
            anstream::println!("{figures:#}");
            0
        }
        Err(Unmet::Interrupted) => INTERRUPTED,
        Err(Unmet::Skip(why)) => {
            anstream::eprintln!("SKIPPED: {why}");
            0
        }
        Err(unmet) => {
            anstream::eprintln!("FAIL: {unmet}");
            FAILED
        }
    }
}

fn bar(length: usize, unit: &str) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    let template = format!("{{bar:30}} {{pos}}/{{len}} {unit}  {{msg}}  {{elapsed}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

async fn fuzzed(raw: &Raw, place: &Place, seed: u64, cases: usize, strict: bool) -> Met<Value> {
    let bar = bar(cases, "requests");
    let outcome = fuzz::run(raw, place, seed, cases, strict, |outcome| {
        bar.set_position(outcome.sent as u64);
        true
    })
    .await
    .map_err(|error| Unmet::fail("a server that takes connections", error.to_string()))?;
    bar.finish_and_clear();
    for finding in &outcome.findings {
        anstream::eprintln!("---\n{}\n=> {:?}", finding.request, finding.reply);
    }
    let answer = place.ask("/healthz").await?;
    conformance::unmet::ensure(answer.status == 200, "a healthy server afterwards", answer.seen())?;
    if !outcome.findings.is_empty() {
        let seen = format!("{} requests got none or a 5xx, see above", outcome.findings.len());
        return Err(Unmet::fail("an answer below 500, or 501, 503, 504, 505, to all", seen));
    }
    Ok(json!({
        "sent": outcome.sent, "statuses": outcome.statuses, "seed": seed,
        "answered_500_with_a_cause": outcome.with_cause,
    }))
}

async fn soaked(place: &Place, size: Size) -> Met<Value> {
    conformance::live::needed(place)?;
    let bar = bar(size.rollouts, "rollouts");
    let figures = soak::run(place, size, |done, doing| {
        bar.set_position(done as u64);
        bar.set_message(doing.to_owned());
    })
    .await;
    bar.finish_and_clear();
    figures
}

async fn benched(place: &Place, load: Load, pid: Option<u32>) -> Met<Value> {
    let before = pid.and_then(Holdings::of);
    let mut figures = bench::run(place, load).await?;
    figures["before"] = json!(before.map(Holdings::to_json));
    figures["after"] = json!(pid.and_then(Holdings::of).map(Holdings::to_json));
    figures["client"] = if cfg!(debug_assertions) { "debug" } else { "release" }.into();
    Ok(figures)
}
