//! Runs behaviours side by side, each in a namespace of its own, within a bound, and cleans up however they end.
//!
//! It knows neither a behaviour nor a terminal.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt, stream};
use kube::Client;
use tokio::sync::watch;

use crate::behaviour::{Behaviour, Group};
use crate::place::{Place, Settings};
use crate::unmet::{Met, Unmet};
use crate::wire::{Exchange, Wire};

/// The longest that a behaviour may take.
pub const BEHAVIOUR_WITHIN: Duration = Duration::from_secs(120);
/// The longest that cleaning up after one may take.
const CLEAN_WITHIN: Duration = Duration::from_secs(20);

/// A behaviour with the group it belongs to.
#[derive(Clone, Copy)]
pub struct Chosen {
    /// The group's name.
    pub group: &'static str,
    /// The behaviour.
    pub behaviour: Behaviour,
}

/// How a behaviour ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The group's name.
    pub group: &'static str,
    /// The behaviour's sentence.
    pub sentence: &'static str,
    /// Whether it held.
    pub met: Met,
    /// What it took, without the cleaning.
    pub took: Duration,
    /// The last exchanges with the server.
    pub exchanges: Vec<Exchange>,
}

/// The behaviours of `groups` whose `group: sentence` contains `filter`, case ignored.
#[must_use]
pub fn choose(groups: &[Group], filter: Option<&str>) -> Vec<Chosen> {
    let wanted = filter.unwrap_or_default().to_lowercase();
    let all = groups.iter().flat_map(|group| {
        let chosen = |behaviour: &Behaviour| Chosen { group: group.name, behaviour: *behaviour };
        group.behaviours.iter().map(chosen)
    });
    all.filter(|chosen| {
        let name = format!("{}: {}", chosen.group, chosen.behaviour.sentence);
        name.to_lowercase().contains(&wanted)
    })
    .collect()
}

/// Runs `chosen`, at most `jobs` at a time, and hands each outcome to `report` in the order of `chosen`.
pub async fn run(
    client: &Client,
    settings: Arc<Settings>,
    chosen: Vec<Chosen>,
    jobs: usize,
    stop: watch::Receiver<bool>,
    mut report: impl FnMut(&Outcome),
) -> Vec<Outcome> {
    let running = stream::iter(chosen).map(|chosen| {
        let (settings, stop) = (settings.clone(), stop.clone());
        one(Wire::over(client), settings, chosen, stop)
    });
    let mut outcomes = Vec::new();
    let mut running = std::pin::pin!(running.buffered(jobs.max(1)));
    while let Some(outcome) = running.next().await {
        report(&outcome);
        outcomes.push(outcome);
    }
    outcomes
}

async fn one(
    wire: Wire,
    settings: Arc<Settings>,
    chosen: Chosen,
    mut stop: watch::Receiver<bool>,
) -> Outcome {
    let started = Instant::now();
    let done = |met, took, wire: &Wire| Outcome {
        group: chosen.group,
        sentence: chosen.behaviour.sentence,
        met,
        took,
        exchanges: wire.exchanges(),
    };
    if *stop.borrow() {
        return done(Err(Unmet::Interrupted), started.elapsed(), &wire);
    }
    let place = match Place::open(wire.clone(), settings).await {
        Ok(place) => place,
        Err(unmet) => return done(Err(unmet), started.elapsed(), &wire),
    };
    let behaviour = AssertUnwindSafe((chosen.behaviour.run)(&place)).catch_unwind();
    let met = tokio::select! {
        met = tokio::time::timeout(BEHAVIOUR_WITHIN, behaviour) => match met {
            Ok(Ok(met)) => met,
            Ok(Err(_)) => Err(Unmet::fail("an answer that the behaviour can read", "a panic")),
            Err(_) => Err(Unmet::fail(format!("an end within {BEHAVIOUR_WITHIN:?}"), "none")),
        },
        _ = stop.wait_for(|stopped| *stopped) => Err(Unmet::Interrupted),
    };
    let outcome = done(met, started.elapsed(), &wire);
    let _ = tokio::time::timeout(CLEAN_WITHIN, place.close()).await;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite;

    #[test]
    fn a_filter_finds_groups_and_words() {
        let all = choose(suite::GROUPS, None);
        let versions = choose(suite::GROUPS, Some("versions:"));
        assert!(!versions.is_empty() && versions.len() < all.len());
        assert!(versions.iter().all(|chosen| chosen.group == "versions"));
        assert_eq!(choose(suite::GROUPS, Some("STALE REPLACE")).len(), 1);
    }

    #[test]
    fn no_two_behaviours_share_a_sentence() {
        let mut seen = std::collections::HashSet::new();
        for chosen in choose(suite::GROUPS, None) {
            let name = (chosen.group, chosen.behaviour.sentence);
            assert!(seen.insert(name), "{name:?} is there twice");
            assert!(!chosen.behaviour.sentence.ends_with('.'));
        }
    }
}
