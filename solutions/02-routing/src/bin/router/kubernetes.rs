//! Replicas from Kubernetes: what can be typed about them, and how they reach whoever routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use discovery::{Event, Family, Source};
use proxy::{Member, Membership};
use sol02_routing::slices::{EndpointTable, Replica, Wanted, in_zone};
use tokio::sync::mpsc::Receiver;

/// Where the cluster is asked for replicas.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Kubernetes")]
pub(crate) struct Kubernetes {
    /// Route to the replicas of this Service, as its EndpointSlices say
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "endpoints")]
    service: Option<String>,
    /// The Service's port, by its name
    #[arg(long, value_name = "NAME", default_value = "http")]
    service_port: String,
    /// Route to the pods with these labels, as an InferencePool does
    #[arg(long, value_name = "NAMESPACE/LABEL=VALUE,...", conflicts_with_all = ["endpoints", "service"])]
    pool: Option<String>,
    /// The pool's target ports
    #[arg(long, value_name = "PORT", value_delimiter = ',', default_value = "8000")]
    pool_port: Vec<u16>,
    /// The zone of this router, where zone hints shall be followed
    #[arg(long, env = "NODE_ZONE")]
    pub(crate) zone: Option<String>,
    /// The cluster; without it the one around this pod, or kubectl's
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Choose for a proxy that speaks Envoy's external processing, instead of serving requests; 9002 by custom
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) picker: Option<SocketAddr>,
    /// With --picker: the priority of an InferenceObjective; below 0 it is shed where all are saturated
    #[arg(long = "objective", value_name = "NAME=PRIORITY", value_parser = objective)]
    pub(crate) objectives: Vec<(String, i32)>,
}

// === impl Kubernetes ===

impl Kubernetes {
    /// Whether the cluster is asked at all.
    pub(crate) fn is_asked(&self) -> bool {
        self.service.is_some() || self.pool.is_some()
    }

    /// What of each slice is a replica.
    pub(crate) fn wanted(&self) -> Wanted {
        let port = self.service.as_ref().map(|_| self.service_port.clone());
        Wanted { port, family: Family::Ipv4 }
    }

    /// Begins to watch.
    pub(crate) async fn watch(&self) -> Result<Receiver<Event>> {
        let client = discovery::client(self.kubeconfig.as_deref()).await?;
        Ok(discovery::watch(client, self.source()?))
    }

    fn source(&self) -> Result<Source> {
        if let Some(service) = &self.service {
            let (namespace, name) = halves(service)?;
            return Ok(Source::Service { namespace, name });
        }
        let pool = self.pool.as_deref().context("--service or --pool says which replicas")?;
        let (namespace, labels) = halves(pool)?;
        let pair = |label: &str| {
            let (name, value) = label.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        let labels: Option<BTreeMap<_, _>> = labels.split(',').map(pair).collect();
        let labels =
            labels.with_context(|| format!("a pool has labels NAME=VALUE, not {pool:?}"))?;
        Ok(Source::Pool { namespace, labels, ports: self.pool_port.clone() })
    }
}

/// At the first slash: labels have some, too.
fn halves(text: &str) -> Result<(String, String)> {
    let halves = text.split_once('/').filter(|(left, right)| !left.is_empty() && !right.is_empty());
    let (left, right) =
        halves.with_context(|| format!("NAMESPACE/NAME is needed, not {text:?}"))?;
    Ok((left.to_owned(), right.to_owned()))
}

fn objective(text: &str) -> Result<(String, i32), String> {
    let (name, priority) = text.split_once('=').ok_or("NAME=PRIORITY is needed")?;
    let priority = priority.parse().map_err(|_| format!("{priority:?} is no priority"))?;
    Ok((name.to_owned(), priority))
}

/// Tells a router who is there, for as long as both live.
pub(crate) async fn follow(
    mut events: Receiver<Event>,
    wanted: Wanted,
    zone: Option<String>,
    members: Membership,
) {
    let mut table = EndpointTable::new(wanted);
    let mut told = None;
    while let Some(event) = events.recv().await {
        table.apply(event);
        // Before the first list has ended, nobody is there because nobody was asked.
        if !table.is_synced() {
            continue;
        }
        let found = found(&table, zone.as_deref());
        if told.as_ref() != Some(&found) {
            eprintln!("{} replicas", found.iter().filter(|member| member.takes_requests).count());
            members.set(found.clone());
            told = Some(found);
        }
    }
}

/// Everyone of a table. Who starts or drains gets no requests, and is remembered all the same; a pod's successor is somebody else.
fn found(table: &EndpointTable, zone: Option<&str>) -> Vec<Member> {
    let near: BTreeSet<_> =
        in_zone(table.ready().collect(), zone).iter().map(|replica| replica.id).collect();
    let member = |replica: &Replica| Member {
        id: replica.id,
        address: replica.seen.address,
        takes_requests: near.contains(&replica.id),
    };
    table.replicas().iter().map(member).collect()
}
