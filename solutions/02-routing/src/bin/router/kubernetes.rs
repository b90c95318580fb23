//! Replicas from Kubernetes: what can be typed about them, and how they reach whoever routes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use discovery::{Client, Event, Family, Priorities, Source};
use proxy::{Member, Membership};
use sol02_routing::slices::{EndpointTable, Key, Replica, Wanted, in_zone};
use sol02_routing::split::Version;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

use crate::canary::{self, Rolling};

/// Where the cluster is asked for replicas.
#[derive(Debug, Clone, clap::Args)]
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
    /// The ports of --pool
    #[arg(long, value_name = "PORT", value_delimiter = ',', default_value = "8000")]
    pool_port: Vec<u16>,
    /// Route to the pods of this InferencePool: labels, ports and, with --picker, priorities are read from the cluster
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with_all = ["endpoints", "service", "pool"])]
    inference_pool: Option<String>,
    /// The zone of this router, where zone hints shall be followed
    #[arg(long, env = "NODE_ZONE")]
    pub(crate) zone: Option<String>,
    /// The cluster; without it the one around this pod, or kubectl's
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

// === impl Kubernetes ===

impl Kubernetes {
    /// Whether the cluster is asked at all.
    pub(crate) fn is_asked(&self) -> bool {
        self.service.is_some() || self.pool.is_some() || self.inference_pool.is_some()
    }

    /// What of each slice is a replica.
    pub(crate) fn wanted(&self) -> Wanted {
        let port = self.service.as_ref().map(|_| self.service_port.clone());
        Wanted { port, family: Family::Ipv4 }
    }

    /// A client of the cluster.
    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(discovery::client(self.kubeconfig.as_deref()).await?)
    }

    /// Begins to watch.
    pub(crate) async fn watch(&self) -> Result<Receiver<Event>> {
        Ok(discovery::watch(self.client().await?, self.source()?))
    }

    /// Begins to watch each version.
    pub(crate) async fn followed(&self, canary: &Rolling) -> Result<Versions> {
        let stable = Followed::new(Version::Stable, self.wanted(), self.watch().await?);
        let of = match (&canary.canary_service, &canary.canary_pool) {
            (None, None) => return Ok(Versions { stable, canary: None }),
            (service, pool) => Self {
                service: service.clone(),
                pool: pool.clone(),
                inference_pool: None,
                ..self.clone()
            },
        };
        let canary = Followed::new(Version::Canary, of.wanted(), of.watch().await?);
        Ok(Versions { stable, canary: Some(canary) })
    }

    /// Begins to watch what the requests of the InferencePool are worth; `None` where no such pool is named.
    pub(crate) async fn objectives(&self) -> Result<Option<watch::Receiver<Priorities>>> {
        let Some(pool) = &self.inference_pool else { return Ok(None) };
        let (namespace, name) = halves(pool)?;
        let client = self.client().await?;
        Ok(Some(discovery::watch_objectives(&client, &namespace, name)))
    }

    fn source(&self) -> Result<Source> {
        if let Some(service) = &self.service {
            let (namespace, name) = halves(service)?;
            return Ok(Source::Service { namespace, name });
        }
        if let Some(pool) = &self.inference_pool {
            let (namespace, name) = halves(pool)?;
            return Ok(Source::InferencePool { namespace, name });
        }
        let pool = self.pool.as_deref();
        let pool = pool.context("--service, --pool or --inference-pool says which replicas")?;
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

/// The replicas of one version, as a watch tells them.
pub(crate) struct Followed {
    version: Version,
    table: EndpointTable,
    events: Receiver<Event>,
}

/// All replicas. Without a rollout there is one version.
pub(crate) struct Versions {
    stable: Followed,
    canary: Option<Followed>,
}

/// Tells a router who is there, for as long as both live.
pub(crate) async fn follow(mut versions: Versions, zone: Option<String>, members: Membership) {
    let (mut told, mut counted) = (None, None);
    while versions.hear().await {
        let Some(found) = versions.found(zone.as_deref()) else { continue };
        if told.as_ref() != Some(&found) {
            let count = |version| {
                let of = |member: &&Member| member.id == canary::id(version, member.id.0 >> 1);
                found.iter().filter(of).filter(|member| member.takes_requests).count()
            };
            let counts = (count(Version::Stable), count(Version::Canary));
            if counted.replace(counts) != Some(counts) {
                match (&versions.canary, counts) {
                    (Some(_), (old, new)) => eprintln!("{old} replicas, and {new} of the canary"),
                    (None, (old, _)) => eprintln!("{old} replicas"),
                }
            }
            members.set(found.clone());
            told = Some(found);
        }
    }
}

// === impl Followed ===

impl Followed {
    fn new(version: Version, wanted: Wanted, events: Receiver<Event>) -> Self {
        Self { version, table: EndpointTable::new(wanted), events }
    }

    /// Waits for news. `false`: there will be none.
    async fn hear(&mut self) -> bool {
        let event = self.events.recv().await;
        event.map(|event| self.table.apply(event)).is_some()
    }

    /// Its replicas, but for those that another version has. Who starts or drains gets no requests, and is remembered all the same;
    /// a pod's successor is somebody else.
    fn found(&self, zone: Option<&str>, others: &BTreeSet<&Key>) -> Vec<Member> {
        let own = |replica: &&Replica| !others.contains(&replica.key);
        let near = in_zone(self.table.ready().filter(own).collect(), zone);
        let near: BTreeSet<_> = near.iter().map(|replica| replica.id).collect();
        let member = |replica: &Replica| Member {
            id: canary::id(self.version, replica.id.0),
            address: replica.seen.address,
            takes_requests: near.contains(&replica.id),
        };
        self.table.replicas().iter().filter(own).map(member).collect()
    }
}

// === impl Versions ===

impl Versions {
    async fn hear(&mut self) -> bool {
        let canary = async {
            match &mut self.canary {
                Some(canary) => canary.hear().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            hears = self.stable.hear() => hears,
            hears = canary => hears,
        }
    }

    /// Everyone. `None` before the first lists have ended: nobody is there because nobody was asked.
    fn found(&self, zone: Option<&str>) -> Option<Vec<Member>> {
        let mut all = self.stable.table.is_synced().then(Vec::new)?;
        let mut keys = BTreeSet::new();
        if let Some(canary) = &self.canary {
            keys.extend(canary.table.replicas().iter().map(|replica| &replica.key));
            all.extend(canary.table.is_synced().then(|| canary.found(zone, &BTreeSet::new()))?);
        }
        all.extend(self.stable.found(zone, &keys));
        Some(all)
    }
}
