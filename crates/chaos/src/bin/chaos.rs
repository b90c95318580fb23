//! Faults from the command line: what `cargo xtask fault` starts.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use chaos::experiment::{self, Event, Experiment, Options, Verdict};
use clap::{Parser, Subcommand};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};

/// How long `clear` waits for each fault to be undone.
const CLEAR_PATIENCE: Duration = Duration::from_secs(60);

/// Faults for a cluster, and experiments that prove that they bite and always clean up.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  cargo xtask fault list
  cargo xtask fault run hung-engine            the whole experiment; 0 it held, 1 it broke, 2 it says nothing
  cargo xtask fault run ./my-experiment.yaml -n serving --json
  cargo xtask fault inject slow-link           make the fault and leave it
  cargo xtask fault clear                      remove all faults that experiments made
  cargo xtask fault clear --on kind            the same on another cluster
  cargo xtask fault crds --apply               where our own executor runs instead of Chaos Mesh")]
#[command(name = "fault", bin_name = "cargo xtask fault")]
struct Args {
    /// embedded, kind, or a context of your kubeconfig; by default the embedded cluster if it is up, else the one that kubectl uses
    #[arg(long, global = true, value_name = "CLUSTER")]
    on: Option<String>,
    /// A kubeconfig; by default the one that kubectl uses
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; by default its current one
    #[arg(long, global = true)]
    context: Option<String>,
    /// The workload's namespace; by default the context's
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the course's own experiments
    List,
    /// Run an experiment: baseline, inject, prove, hold, recover, clean up
    Run(Which),
    /// Make an experiment's fault, prove that it bites, and leave it there
    Inject(Which),
    /// Read files of experiments, and say what is wrong with them; needs no cluster
    Check {
        /// Files, or folders of them
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Remove all faults that experiments made in the namespace
    Clear,
    /// Print the definitions of Chaos Mesh's kinds
    Crds {
        /// Apply them instead
        #[arg(long)]
        apply: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Its name, or the path of its file
    experiment: String,
    /// The Deployment to hit instead of the one it names
    #[arg(long)]
    workload: Option<String>,
}

impl Which {
    fn find(&self) -> Result<Experiment> {
        let mut experiment = experiment::find(&self.experiment)?;
        if let Some(workload) = &self.workload {
            experiment.workload.clone_from(workload);
        }
        Ok(experiment)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match go(Args::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn go(args: Args) -> Result<u8> {
    let out = &mut std::io::stdout();
    match &args.command {
        Command::List => list(args.json, out).map(|()| 0),
        Command::Check { paths } => check(paths, out).map(|()| 0),
        Command::Crds { apply: false } => {
            write!(out, "{}", chaos::crds::manifest()?)?;
            Ok(0)
        }
        Command::Crds { apply: true } => {
            let (client, _) = connect(&args).await?;
            apply(client, out).await.map(|()| 0)
        }
        Command::Clear => {
            let (client, options) = connect(&args).await?;
            let cleared = experiment::clear(&client, &options.namespace, CLEAR_PATIENCE).await?;
            if args.json {
                writeln!(out, "{}", serde_json::to_string_pretty(&cleared)?)?;
            } else {
                let all = cleared.faults.iter().chain(&cleared.engines);
                all.clone().try_for_each(|name| writeln!(out, "removed {name}"))?;
                let forced = cleared.forced.iter();
                forced
                    .clone()
                    .try_for_each(|name| writeln!(out, "removed {name}, but nobody undid it"))?;
                if all.count() + forced.count() == 0 {
                    writeln!(out, "no experiment left anything")?;
                }
            }
            Ok(u8::from(!cleared.forced.is_empty()))
        }
        Command::Run(which) => {
            let experiment = which.find()?;
            let (client, options) = connect(&args).await?;
            let report = experiment::run(client, &experiment, &options, stopped()).await;
            if args.json {
                writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
            } else {
                report
                    .left_behind
                    .iter()
                    .try_for_each(|name| writeln!(out, "left behind: {name}"))?;
                writeln!(out, "{}", report.verdict.line())?;
            }
            Ok(report.verdict.exit_code())
        }
        Command::Inject(which) => inject(&args, which, out).await,
    }
}

async fn inject(args: &Args, which: &Which, out: &mut impl Write) -> Result<u8> {
    let experiment = which.find()?;
    let (client, options) = connect(args).await?;
    let injected = tokio::select! {
        injected = experiment::inject(client.clone(), &experiment, &options) => injected,
        () = stopped() => {
            experiment::clear(&client, &options.namespace, CLEAR_PATIENCE).await?;
            Err(Verdict::Unknown("it was stopped".to_owned()))
        }
    };
    let (code, text) = match &injected {
        Ok(injected) => match &injected.trouble {
            None => (0, "it is there until `cargo xtask fault clear`".to_owned()),
            Some(trouble) => (2, format!("it is there until `cargo xtask fault clear`; {trouble}")),
        },
        Err(verdict) => (verdict.exit_code(), verdict.line()),
    };
    if args.json {
        let value =
            serde_json::json!({ "experiment": experiment.name, "code": code, "text": text });
        writeln!(out, "{value:#}")?;
    } else {
        writeln!(out, "{text}")?;
    }
    Ok(code)
}

fn list(json: bool, out: &mut impl Write) -> Result<()> {
    let all = experiment::builtin()?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    all.iter().try_for_each(|each| writeln!(out, "{:<16}{}", each.name, each.title))?;
    Ok(())
}

/// Reads every file, and every `*.yaml` of every folder.
fn check(paths: &[PathBuf], out: &mut impl Write) -> Result<()> {
    for path in paths {
        let mut files = vec![path.clone()];
        if path.is_dir() {
            let entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
            files = entries.into_iter().map(|entry| entry.path()).collect();
            files.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
            files.sort();
        }
        anyhow::ensure!(!files.is_empty(), "{} has no *.yaml", path.display());
        for file in files {
            let experiment = experiment::find(&file.to_string_lossy())?;
            writeln!(out, "{:<28}{}", experiment.name, experiment.title)?;
        }
    }
    Ok(())
}

async fn apply(client: Client, out: &mut impl Write) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let params = PatchParams::apply("llm-lab");
    for crd in chaos::crds::all() {
        api.patch(&crd.name_any(), &params, &Patch::Apply(&crd)).await?;
        writeln!(out, "applied {}", crd.name_any())?;
    }
    Ok(())
}

async fn connect(args: &Args) -> Result<(Client, Options)> {
    if let (Some(on), None, None) = (&args.on, &args.kubeconfig, &args.context) {
        anyhow::bail!(
            "`cargo xtask fault --on {on}` knows where that is; this program alone does not"
        );
    }
    let config =
        kube_connect::config(args.kubeconfig.as_deref(), args.context.as_deref()).await.context(
            "no cluster: `cargo xtask cluster up` brings one up, or set KUBECONFIG to one of yours",
        )?;
    // Standard output may be somebody's JSON.
    match (&args.on, &args.context) {
        (Some(on), _) => eprintln!("on {on}"),
        (None, Some(context)) => eprintln!("on context {context} of your kubeconfig"),
        (None, None) => eprintln!("on the cluster that kubectl uses: {}", config.cluster_url),
    }
    let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let quiet = args.json;
    let progress = move |event: &Event| {
        if !quiet {
            println!("{:>7.1} s  {}", event.at_ms as f64 / 1e3, event.text);
        }
    };
    Ok((kube_connect::client(config)?, Options { namespace, progress: Box::new(progress) }))
}

/// Ready when somebody wants the program to end: Ctrl-C, or SIGTERM.
async fn stopped() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
