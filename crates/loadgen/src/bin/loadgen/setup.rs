//! From what was typed to a plan.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use loadgen::{BodyOptions, Description, Endpoint, Limits, Pace, Plan, PromptForm, Source, Target};
use workload::{ArrivalProcess, Lengths, MAX_REQUESTS, Mix, Trace};

use crate::args::Args;

/// A plan, in full and in words.
pub(crate) struct Setup {
    pub(crate) plan: Plan,
    pub(crate) warmup: Option<Plan>,
    pub(crate) description: Description,
}

/// Asks the server which model it has, reads files, draws the schedule.
pub(crate) fn setup(args: &Args) -> Result<Setup> {
    let target = Target::parse(&args.url)?;
    let endpoint = Endpoint::from(args.endpoint);
    check(args, endpoint)?;
    let mix = Mix {
        input: lengths(&args.input, true, args.seed).context("--input")?,
        output: lengths(&args.output, false, args.seed).context("--output")?,
        shared_prefix: args.shared_prefix,
    };
    let (pace, source, load) = load(args, &mix)?;
    let headers = headers(args);
    let address = target.find()?;
    let model = match args.model.as_str() {
        "auto" if endpoint == Endpoint::Get => String::new(),
        "auto" => target.first_model(address, &headers)?,
        name => name.to_owned(),
    };
    let form = PromptForm::TokenIds(args.vocabulary.clone());
    let options = BodyOptions {
        endpoint,
        model,
        prompt: if args.prompt_token_ids { form } else { PromptForm::Words },
        stream: !args.no_stream && endpoint != Endpoint::Get,
        continuous_usage: args.continuous_usage,
        ignore_eos: args.ignore_eos,
        extra: args.extra_body.clone(),
        headers,
    };
    let limits = Limits {
        timeout: args.timeout,
        max_in_flight: args.max_concurrency,
        threads: args.threads,
        keep_alive: !args.no_keepalive,
    };
    let mut description = describe(args, &target, &options, load);
    description.scheduled = match &pace {
        Pace::Open(times) => times.len(),
        Pace::Closed { requests, .. } => *requests,
    };
    let plan = Plan::new(&target, address, pace, source, &options, limits)?;
    let warmup = (args.warmup > 0).then(|| {
        // Other prompts than the measured ones, or the prefix cache knows them.
        let source = Source::Mix(mix, !args.seed);
        let one = std::num::NonZeroUsize::MIN;
        let pace = Pace::Closed { concurrency: one, requests: args.warmup, until: None };
        Plan::new(&target, address, pace, source, &options, Limits { threads: 1, ..limits })
    });
    Ok(Setup { plan, warmup: warmup.transpose()?, description })
}

fn check(args: &Args, endpoint: Endpoint) -> Result<()> {
    let slo = args.slo.unwrap_or_default();
    let unary = args.no_stream || endpoint == Endpoint::Get;
    if unary && slo.needs_stream() {
        bail!("--slo ttft and tpot need streamed answers: leave --no-stream out, or limit e2e");
    }
    if args.fail_on.is_some_and(|limits| limits.goodput.is_some()) && !slo.is_any() {
        bail!("--fail-on goodput needs --slo");
    }
    Ok(())
}

/// When requests leave and what they ask for; the loop's kind, and both in words.
fn load(args: &Args, mix: &Mix) -> Result<(Pace, Source, Load)> {
    let mixed = |pace, load| Ok((pace, Source::Mix(mix.clone(), args.seed), load));
    if let Some(concurrency) = args.closed {
        let (requests, until) = (args.requests, args.duration);
        if requests.is_none() && until.is_none() {
            bail!("say how many requests (--requests 200) or for how long (--duration 30s)");
        }
        let requests = requests.unwrap_or(MAX_REQUESTS);
        let words = format!("closed loop, {concurrency} always in flight");
        let load = Load { kind: "closed", words, rate: None, cv: None };
        return mixed(Pace::Closed { concurrency, requests, until }, load);
    }
    if let Some(path) = &args.trace {
        return replay(args, path);
    }
    let Some(profile) = args.rate.clone() else {
        bail!("say which load: --rate 10, --closed 32 or --trace FILE (see --help)");
    };
    let words = format!("open loop, {} arrivals, {profile} a second", args.arrivals);
    let flat = profile.to_string().parse().ok();
    let process = ArrivalProcess { gaps: args.arrivals, profile };
    let count = match (args.requests, args.duration) {
        (None, None) => bail!("say how many (--requests 200) or for how long (--duration 30s)"),
        (requests, duration) => {
            let within = duration.map_or(usize::MAX, |duration| process.count_within(duration));
            requests.unwrap_or(MAX_REQUESTS).min(within)
        }
    };
    let times = process.schedule(count, args.seed);
    let cv = flat.map(|_: f64| args.arrivals.cv());
    mixed(Pace::Open(times.into()), Load { kind: "open", words, rate: flat, cv })
}

struct Load {
    kind: &'static str,
    words: String,
    rate: Option<f64>,
    cv: Option<f64>,
}

fn replay(args: &Args, path: &Path) -> Result<(Pace, Source, Load)> {
    let mut trace = read_trace(path, args.seed)?.speed_up(args.speedup)?.requests;
    trace.truncate(args.requests.unwrap_or(MAX_REQUESTS));
    let end = args.duration.unwrap_or(Duration::MAX);
    trace.retain(|request| request.at < end);
    let times: Arc<[Duration]> = trace.iter().map(|request| request.at).collect();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let words = format!("open loop, replay of {name} at {} times its speed", args.speedup);
    let load = Load { kind: "open", words, rate: None, cv: None };
    Ok((Pace::Open(times), Source::Trace(trace.into()), load))
}

fn read_trace(path: &Path, seed: u64) -> Result<Trace> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Trace::read(BufReader::new(file), seed).with_context(|| path.display().to_string())
}

/// Lengths as they are written, or those of a file: a number a line, or a trace's.
fn lengths(text: &str, input: bool, seed: u64) -> Result<Lengths> {
    let Some(path) = text.strip_prefix("file:") else { return Ok(text.parse()?) };
    let path = Path::new(path);
    let content = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines = content.lines().map(str::trim).filter(|line| !line.is_empty());
    let numbers: Result<Vec<u32>, _> = lines.map(str::parse).collect();
    let seen = match numbers {
        Ok(numbers) => numbers,
        Err(_) => {
            let requests = read_trace(path, seed)?.requests.into_iter().map(|timed| timed.request);
            let length = |request: workload::Request| match input {
                true => u32::try_from(request.prompt.tokens()).unwrap_or(u32::MAX),
                false => request.output_tokens,
            };
            requests.map(length).collect()
        }
    };
    Ok(Lengths::empirical(seen)?)
}

fn headers(args: &Args) -> Vec<(String, String)> {
    let mut headers = args.header.clone();
    if let Some(key) = args.api_key.as_deref().filter(|key| !key.is_empty()) {
        headers.push(("Authorization".to_owned(), format!("Bearer {key}")));
    }
    if args.no_keepalive {
        headers.push(("Connection".to_owned(), "close".to_owned()));
    }
    headers
}

fn describe(args: &Args, target: &Target, options: &BodyOptions, load: Load) -> Description {
    let (input, output) = match &args.trace {
        Some(_) => ("as traced".to_owned(), "as traced".to_owned()),
        None => (args.input.clone(), args.output.clone()),
    };
    let prefix = args.shared_prefix.map(|p| {
        format!("{} + prefix groups={},tokens={},skew={}", args.input, p.groups, p.tokens, p.skew)
    });
    Description {
        url: format!("http://{}", target.host),
        model: if options.model.is_empty() { "-".to_owned() } else { options.model.clone() },
        path: target.path(options.endpoint),
        stream: options.stream,
        r#loop: load.kind,
        load: load.words,
        input: prefix.unwrap_or(input),
        output,
        scheduled: 0,
        asked_rate: load.rate,
        asked_cv: load.cv,
        seed: args.seed,
        slo: args.slo.map(|slo| slo.to_string()),
        timeout_s: args.timeout.as_secs_f64(),
        threads: args.threads,
    }
}
