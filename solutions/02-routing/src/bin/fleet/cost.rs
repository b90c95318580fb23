//! What a choice costs the router, in processor time.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use routing::{EndpointId, EndpointView, Policy, RouteRequest, Scrape, Signals};
use sol02_routing::Limits;
use sol02_routing::policies::PolicyKind;

/// Endpoints to choose from.
const ENDPOINTS: u32 = 16;
/// Bytes of a prompt, and those of it that other prompts share.
const PROMPT: usize = 32 * 1024;
const SHARED: usize = 24 * 1024;
/// Texts that are shared.
const TEXTS: usize = 64;
/// Choices that are timed, after as many that are not.
const CHOICES: usize = 20_000;

/// Prints the cost of a choice by each policy.
pub(crate) fn show(out: &mut dyn Write, kinds: &[PolicyKind], seed: u64) -> Result<()> {
    writeln!(
        out,
        "{ENDPOINTS} endpoints, prompts of {PROMPT} bytes that share {SHARED}: us a choice"
    )?;
    for kind in kinds {
        let each = cost(kind.build(Limits::default(), seed), seed)?;
        writeln!(out, "{:<14}{:>8.2}", kind.name(), each.as_secs_f64() * 1e6)?;
    }
    if cfg!(debug_assertions) {
        writeln!(out, "(without optimisation: build with --release)")?;
    }
    Ok(())
}

fn cost(mut policy: Box<dyn Policy>, seed: u64) -> Result<Duration> {
    let mut rng = StdRng::seed_from_u64(seed);
    let signals = Signals { waiting: 0, running: 8, kv_usage: 0.5 };
    let scrape = Some(Scrape { signals, at: Duration::ZERO });
    let views: Vec<EndpointView> = (0..ENDPOINTS)
        .map(|id| EndpointView { scrape, ..EndpointView::unknown(EndpointId(id)) })
        .collect();
    let mut prompts = vec![vec![0; PROMPT]; TEXTS];
    for prompt in &mut prompts {
        rng.fill_bytes(prompt);
    }
    let mut begun = Duration::ZERO;
    for index in 0..2 * CHOICES {
        if index == CHOICES {
            begun = cpu_time()?;
        }
        // What is not shared is new each time, from its first block on.
        let prompt = &mut prompts[index % TEXTS];
        prompt[SHARED..SHARED + 8].copy_from_slice(&(index as u64).to_le_bytes());
        let request = RouteRequest { prompt, ..RouteRequest::new(index as u64) };
        std::hint::black_box(policy.choose(&request, &views, Duration::ZERO));
    }
    Ok((cpu_time()? - begun) / CHOICES as u32)
}

/// What this process has computed so far: unlike time on the wall, it does not depend on who else does.
fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}
