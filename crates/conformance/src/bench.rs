//! How fast a cluster answers, for any cluster: so that two can be measured in one run.
//!
//! The client is one thread. A figure of this program says nothing by itself; beside a peer's of the same run it does.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::live::{pod, probe, server};
use crate::place::Place;
use crate::resource::{CONFIG_MAPS, DEPLOYMENTS};
use crate::unmet::{Met, Unmet};
use crate::watch::Watch;

/// What to measure, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How long reads are measured, and then writes.
    pub each: Duration,
    /// Requests that are under way at the same time.
    pub at_once: usize,
    /// Changes whose way to a watcher is timed.
    pub changes: usize,
}

/// The figures of one cluster.
///
/// # Errors
/// [`Unmet::Fail`] when the cluster refuses what is measured.
pub async fn run(at: &Place, load: Load) -> Met<Value> {
    for number in 0..load.at_once {
        at.config_map(&format!("n{number}"), json!({"turn": "0"})).await?;
    }
    let reads = rate(at, load, |_, path| (Method::GET, path, None)).await?;
    let writes = rate(at, load, |turn, path| {
        (Method::PATCH, path, Some(json!({"data": {"turn": turn.to_string()}})))
    })
    .await?;
    let (to_event, after_answer) = latencies(at, load.changes).await?;
    let ready = match at.settings.live_node {
        Some(_) => Some(apply_to_ready(at).await?.as_secs_f64() * 1e3),
        None => None,
    };
    Ok(json!({
        "reads_per_second": reads, "writes_per_second": writes,
        "write_to_event_ms": percentiles(to_event), "answer_to_event_ms": percentiles(after_answer),
        "apply_to_three_ready_ms": ready, "requests_at_once": load.at_once,
    }))
}

/// Requests a second that `load.at_once` loops reach together.
async fn rate(
    at: &Place,
    load: Load,
    make: impl Fn(usize, String) -> (Method, String, Option<Value>),
) -> Met<f64> {
    let until = Instant::now() + load.each;
    let started = Instant::now();
    let loops = (0..load.at_once).map(|number| {
        let make = &make;
        async move {
            let path = at.path(CONFIG_MAPS, &format!("n{number}"));
            let mut done = 0_usize;
            while Instant::now() < until {
                let (method, target, body) = make(done, path.clone());
                let mut call = at.call(method, target);
                if let Some(body) = body {
                    call = call.body("application/merge-patch+json", body.to_string());
                }
                call.send().await?.ok()?;
                done += 1;
            }
            Ok::<usize, Unmet>(done)
        }
    });
    let done: usize = futures_util::future::try_join_all(loops).await?.into_iter().sum();
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

/// For each change: the time from its request to its event, and from its answer to its event (0 when that came first).
async fn latencies(at: &Place, changes: usize) -> Met<(Vec<Duration>, Vec<Duration>)> {
    let target = format!("{}?watch=true", at.collection(CONFIG_MAPS));
    let response = at.call(Method::GET, target).open().await?;
    let watch = &mut Watch::new(response.into_body());
    let (mut to_event, mut after_answer) = (Vec::new(), Vec::new());
    for turn in 0..changes {
        let value = format!("change {turn}");
        let body = json!({"data": {"turn": value}}).to_string();
        let call = at.call(Method::PATCH, at.path(CONFIG_MAPS, "n0"));
        let call = call.body("application/merge-patch+json", body);
        let begun = Instant::now();
        let write = async { call.send().await?.ok().map(|_| Instant::now()) };
        let event = async {
            while watch.next().await?.object["data"]["turn"] != value {}
            Ok::<Instant, Unmet>(Instant::now())
        };
        let (answered, told) = futures_util::future::try_join(write, event).await?;
        to_event.push(told - begun);
        after_answer.push(told.saturating_duration_since(answered));
    }
    Ok((to_event, after_answer))
}

/// Median and 99th percentile in milliseconds, by nearest rank.
fn percentiles(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |share: f64| {
        let rank = (share * times.len() as f64).ceil() as usize;
        times.get(rank.max(1) - 1).map(|time| time.as_secs_f64() * 1e3)
    };
    json!({"median": at(0.5), "p99": at(0.99)})
}

/// The time from the apply of a Deployment of three to three ready pods, seen by a watch.
async fn apply_to_ready(at: &Place) -> Met<Duration> {
    let mut container = server(at);
    container["readinessProbe"] = probe("/readyz");
    let mut template = pod("bench", container, json!({}));
    if let Some(metadata) = template["metadata"].as_object_mut() {
        metadata.remove("name");
    }
    let deployment = json!({"metadata": {"name": "bench"}, "spec": {"replicas": 3,
        "selector": {"matchLabels": {"app": "bench"}}, "template": template}});
    let mut watch = at.watch(DEPLOYMENTS, "").await?;
    let begun = Instant::now();
    at.apply(DEPLOYMENTS, "bench", deployment).await?;
    loop {
        if watch.next().await?.object["status"]["readyReplicas"] == 3 {
            return Ok(begun.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentiles(times), json!({"median": 50.0, "p99": 99.0}));
        assert_eq!(percentiles(Vec::new())["median"], Value::Null);
    }
}
