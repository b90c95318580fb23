//! A long trial: many pods, many rolling updates, random kills; afterwards nothing may be left over.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::host::Holdings;
use crate::live::{pod, probe, server};
use crate::place::Place;
use crate::resource::{DEPLOYMENTS, ENDPOINT_SLICES, PODS, REPLICA_SETS, SERVICES};
use crate::unmet::{Met, Unmet, ensure, items, names};

/// The longest that all pods of one rollout may take.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
/// The longest that removed things may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(120);
/// Seconds that a pod has to answer its probe.
const PROBE_SECONDS: u32 = 5;
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Rollouts of the warm-up, after which the first look at the process is taken.
const WARM_UP_ROLLOUTS: usize = 3;
/// What memory may grow by between two empty clusters: allocators keep some, history of versions is bounded.
const MEMORY_GROWTH: f64 = 1.35;
/// And by that much, in KiB, where the whole is small.
const MEMORY_SLACK_KIB: u64 = 24 << 10;
/// Open files and listening sockets may differ by this much: connections that are about to end.
const FILE_SLACK: usize = 32;

/// How large the trial is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Deployments.
    pub deployments: usize,
    /// Pods of each.
    pub replicas: usize,
    /// Rolling updates in all.
    pub rollouts: usize,
    /// Time between two kills of a random pod.
    pub kill_every: Duration,
    /// Decides which pods are killed and which Deployments roll.
    pub seed: u64,
    /// The cluster's process on this machine, if its holdings are to be looked at.
    pub pid: Option<u32>,
}

/// Runs the trial and returns its figures; `progress` is told of rollouts done.
///
/// # Errors
/// [`Unmet::Fail`] with what did not settle, or what was left over.
pub async fn run(at: &Place, size: Size, mut progress: impl FnMut(usize, &str)) -> Met<Value> {
    progress(0, "warming up");
    trial(at, Size { rollouts: WARM_UP_ROLLOUTS, ..size }, |_| {}).await?;
    clear(at).await?;
    let before = look(size).await?;
    let started = Instant::now();
    let (kills, nodes) = trial(at, size, |done| progress(done, "rolling")).await?;
    let took = started.elapsed();
    progress(size.rollouts, "looking for what is left");
    clear(at).await?;
    let after = look(size).await?;
    let figures = json!({
        "pods": size.deployments * size.replicas, "rollouts": size.rollouts, "kills": kills,
        "nodes": nodes, "took_s": took.as_secs_f64(),
        "before": before.map(Holdings::to_json), "after": after.map(Holdings::to_json),
    });
    if let (Some(before), Some(after)) = (before, after) {
        flat(before, after)?;
    }
    Ok(figures)
}

/// What the process holds once the last pods have ended.
async fn look(size: Size) -> Met<Option<Holdings>> {
    let Some(pid) = size.pid else { return Ok(None) };
    tokio::time::sleep(Duration::from_secs(3)).await;
    let none = || Unmet::fail(format!("process {pid} to be there"), "it is gone");
    Holdings::of(pid).ok_or_else(none).map(Some)
}

fn flat(before: Holdings, after: Holdings) -> Met {
    let seen = format!("{before:?}, then {after:?}");
    ensure(after.descendants <= before.descendants, "no more processes than before", &seen)?;
    ensure(after.files <= before.files + FILE_SLACK, "no more open files than before", &seen)?;
    let sockets = before.listening + FILE_SLACK;
    ensure(after.listening <= sockets, "no more listening sockets than before", &seen)?;
    let memory = (before.memory_kib as f64 * MEMORY_GROWTH) as u64 + MEMORY_SLACK_KIB;
    ensure(after.memory_kib <= memory, "memory as flat as before", &seen)
}

fn deployment(at: &Place, name: &str, replicas: usize) -> Value {
    let mut container = server(at);
    container["readinessProbe"] = probe("/readyz");
    // A machine that is busy with something else makes probes late; one late answer is no failure here.
    container["readinessProbe"]["failureThreshold"] = json!(3);
    container["readinessProbe"]["timeoutSeconds"] = json!(PROBE_SECONDS);
    let mut template = pod(name, container, json!({}));
    if let Some(metadata) = template["metadata"].as_object_mut() {
        metadata.remove("name");
    }
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"app": name}}, "template": template}})
}

/// Deployments that roll while pods are killed. Returns the kills, and the nodes that had pods.
async fn trial(at: &Place, size: Size, mut progress: impl FnMut(usize)) -> Met<(usize, usize)> {
    let mut random = StdRng::seed_from_u64(size.seed);
    let all: Vec<String> = (0..size.deployments).map(|number| format!("d{number}")).collect();
    for name in &all {
        at.create(DEPLOYMENTS, deployment(at, name, size.replicas)).await?;
        at.create(SERVICES, crate::fixture::service(name)).await?;
    }
    settle(at, size.replicas).await?;
    let list = at.list(PODS, "").await?;
    let nodes: std::collections::BTreeSet<_> =
        items(&list, "/items").iter().map(|pod| pod["spec"]["nodeName"].to_string()).collect();
    let killing = kill(at, size, StdRng::seed_from_u64(random.random()));
    let rolling = async {
        for turn in 0..size.rollouts {
            let name = all.choose(&mut random).map_or("d0", String::as_str);
            let mark = json!({"soak/turn": format!("{}-{turn}", size.rollouts)});
            let change = json!({"spec": {"template": {"metadata": {"annotations": mark}}}});
            at.merge(DEPLOYMENTS, name, change).await?;
            settle_one(at, name, size.replicas).await?;
            progress(turn + 1);
        }
        Ok::<(), Unmet>(())
    };
    let mut killing = std::pin::pin!(killing);
    let kills = tokio::select! {
        rolled = rolling => { rolled?; None }
        killed = &mut killing => Some(killed),
    };
    if let Some(Err(unmet)) = kills {
        return Err(unmet);
    }
    settle(at, size.replicas).await?;
    let kills = KILLS.swap(0, std::sync::atomic::Ordering::Relaxed);
    Ok((kills, nodes.len()))
}

/// Kills of the trial that is under way.
static KILLS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Deletes a random pod now and then, some of them without grace. Ends only by an error.
async fn kill(at: &Place, size: Size, mut random: StdRng) -> Met {
    loop {
        tokio::time::sleep(size.kill_every).await;
        let pods = names(&at.list(PODS, "?fieldSelector=status.phase%3DRunning").await?);
        let Some(name) = pods.choose(&mut random) else { continue };
        let grace =
            if random.random_bool(0.3) { json!({"gracePeriodSeconds": 0}) } else { json!({}) };
        let answer = at.try_delete(PODS, name, grace).await?;
        ensure(answer.status < 500, "a deletion or 404", answer.seen())?;
        KILLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

fn settled(deployment: &Value, replicas: usize) -> bool {
    let status = &deployment["status"];
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "readyReplicas"]
            .iter()
            .all(|count| status[count].as_u64() == Some(replicas as u64))
}

/// Waits until a rollout has been done; kills go on, so one pod may always be missing.
async fn settle_one(at: &Place, name: &str, replicas: usize) -> Met {
    let started = Instant::now();
    loop {
        let seen = at.get(DEPLOYMENTS, name).await?;
        let status = &seen["status"];
        let updated = status["updatedReplicas"].as_u64().unwrap_or(0) as usize;
        let whole = status["replicas"].as_u64().unwrap_or(0) as usize;
        let observed = status["observedGeneration"] == seen["metadata"]["generation"];
        let ready = status["readyReplicas"].as_u64().unwrap_or(0) as usize + 2 >= replicas;
        if observed && updated == replicas && whole == replicas && ready {
            return Ok(());
        }
        if started.elapsed() > SETTLED_WITHIN {
            let expected = format!("{name} rolled out within {SETTLED_WITHIN:?}");
            return Err(Unmet::fail(expected, status.to_string()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn settle(at: &Place, replicas: usize) -> Met {
    let started = Instant::now();
    loop {
        let list = at.list(DEPLOYMENTS, "").await?;
        let open: Vec<_> =
            items(&list, "/items").iter().filter(|one| !settled(one, replicas)).collect();
        if open.is_empty() {
            return Ok(());
        }
        if started.elapsed() > SETTLED_WITHIN {
            let expected = format!("all Deployments settled within {SETTLED_WITHIN:?}");
            let seen = format!("{} are not: {}", open.len(), open[0]["status"]);
            return Err(Unmet::fail(expected, seen));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Deletes everything, and waits until controllers and nodes have followed.
async fn clear(at: &Place) -> Met {
    for of in [DEPLOYMENTS, SERVICES] {
        for name in names(&at.list(of, "").await?) {
            at.delete(of, &name, json!({"propagationPolicy": "Background"})).await?;
        }
    }
    let started = Instant::now();
    for of in [DEPLOYMENTS, REPLICA_SETS, PODS, ENDPOINT_SLICES] {
        loop {
            let left = names(&at.list(of, "").await?);
            if left.is_empty() {
                break;
            }
            if started.elapsed() > GONE_WITHIN {
                let expected = format!("no {} left within {GONE_WITHIN:?}", of.kind);
                return Err(Unmet::fail(expected, format!("{} left: {left:?}", left.len())));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_the_slack_is_a_leak() {
        let before =
            Holdings { memory_kib: 40_000, files: 50, threads: 4, descendants: 1, listening: 9 };
        assert!(flat(before, before).is_ok());
        assert!(flat(before, Holdings { memory_kib: 60_000, ..before }).is_ok());
        assert!(flat(before, Holdings { memory_kib: 200_000, ..before }).is_err());
        assert!(flat(before, Holdings { descendants: 2, ..before }).is_err());
        assert!(flat(before, Holdings { files: 500, ..before }).is_err());
        assert!(flat(before, Holdings { listening: 500, ..before }).is_err());
    }
}
