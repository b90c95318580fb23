//! Replicas from Kubernetes: what can be typed about them, and how they reach whoever routes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use discovery::{Client, Event, Family, Priorities, Source};
use proxy::{Member, Membership};
use routing::EndpointId;
use sol02_routing::Capable;
use sol02_routing::slices::{EndpointTable, Key, Replica, Wanted, in_zone};
use sol02_routing::split::Version;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;

use crate::canary::{self, Rolling};
use crate::catalogue::Deployed;

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
    pub(crate) async fn followed(&self, canary: &Rolling) -> Result<Replicas> {
        let mut replicas = Replicas::new(Vec::new());
        if canary.canary_service.is_some() || canary.canary_pool.is_some() {
            let of = Self {
                service: canary.canary_service.clone(),
                pool: canary.canary_pool.clone(),
                inference_pool: None,
                ..self.clone()
            };
            // First: replicas that are in both are new.
            let id = |number| canary::id(Version::Canary, number);
            replicas.follow(&of, "of the canary", id).await?;
        }
        replicas.follow(self, "", |number| canary::id(Version::Stable, number)).await?;
        Ok(replicas)
    }

    /// Begins to watch the Services of a catalogue.
    pub(crate) async fn deployed(&self, deployed: &Deployed) -> Result<Replicas> {
        let mut replicas = Replicas::new(deployed.fixed());
        for (at, service) in deployed.services() {
            let of = Self { service: Some(service.to_owned()), ..self.clone() };
            let id = move |number| Capable::id(at, number);
            replicas.follow(&of, &format!("of {service}"), id).await?;
        }
        Ok(replicas)
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

/// Events that wait to be taken up, of all watches.
const EVENTS: usize = 64;

/// Some replicas, as a watch tells them.
struct Followed {
    /// Of which they are, for people.
    whose: String,
    id: Box<dyn Fn(u32) -> EndpointId + Send>,
    table: EndpointTable,
}

/// All replicas. Those that several watches tell of are the first one's.
pub(crate) struct Replicas {
    /// That nobody watches.
    fixed: Vec<Member>,
    all: Vec<Followed>,
    /// Whose news it is, and what: `None` where there will be none any more.
    events: Receiver<(usize, Option<Event>)>,
    sender: Sender<(usize, Option<Event>)>,
}

/// Tells a router who is there, for as long as both live.
pub(crate) async fn follow(mut replicas: Replicas, zone: Option<String>, members: Membership) {
    let (mut told, mut said) = (None, None);
    while replicas.hear().await {
        let Some(found) = replicas.found(zone.as_deref()) else { continue };
        if told.as_ref() != Some(&found) {
            let count = replicas.count(&found);
            if said.as_ref() != Some(&count) {
                eprintln!("{count}");
                said = Some(count);
            }
            members.set(found.clone());
            told = Some(found);
        }
    }
}

// === impl Followed ===

impl Followed {
    /// Its replicas, but for those that another watch has. Who starts or drains gets no requests, and is remembered all the same;
    /// a pod's successor is somebody else.
    fn found(&self, zone: Option<&str>, others: &BTreeSet<&Key>) -> Vec<Member> {
        let own = |replica: &&Replica| !others.contains(&replica.key);
        let near = in_zone(self.table.ready().filter(own).collect(), zone);
        let near: BTreeSet<_> = near.iter().map(|replica| replica.id).collect();
        let member = |replica: &Replica| Member {
            id: (self.id)(replica.id.0),
            address: replica.seen.address,
            takes_requests: near.contains(&replica.id),
        };
        self.table.replicas().iter().filter(own).map(member).collect()
    }
}

// === impl Replicas ===

impl Replicas {
    fn new(fixed: Vec<Member>) -> Self {
        let (sender, events) = channel(EVENTS);
        Self { fixed, all: Vec::new(), events, sender }
    }

    /// Begins to watch some more.
    async fn follow(
        &mut self,
        of: &Kubernetes,
        whose: &str,
        id: impl Fn(u32) -> EndpointId + Send + 'static,
    ) -> Result<()> {
        let mut watch = of.watch().await?;
        let (at, sender) = (self.all.len(), self.sender.clone());
        let (id, table) = (Box::new(id), EndpointTable::new(of.wanted()));
        self.all.push(Followed { whose: whose.to_owned(), id, table });
        tokio::spawn(async move {
            loop {
                let event = watch.recv().await;
                let is_last = event.is_none();
                if sender.send((at, event)).await.is_err() || is_last {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Waits for news. `false`: there will be none of some.
    async fn hear(&mut self) -> bool {
        let Some((at, Some(event))) = self.events.recv().await else { return false };
        if let Some(followed) = self.all.get_mut(at) {
            followed.table.apply(event);
        }
        true
    }

    /// Everyone. `None` before the first lists have ended: nobody is there because nobody was asked.
    fn found(&self, zone: Option<&str>) -> Option<Vec<Member>> {
        let mut all = self.fixed.clone();
        let mut keys = BTreeSet::new();
        for followed in &self.all {
            all.extend(followed.table.is_synced().then(|| followed.found(zone, &keys))?);
            keys.extend(followed.table.replicas().iter().map(|replica| &replica.key));
        }
        Some(all)
    }

    /// How many may get requests, for people: those that were named last come first.
    fn count(&self, found: &[Member]) -> String {
        let mut said = String::new();
        for followed in self.all.iter().rev() {
            let ids: BTreeSet<EndpointId> = followed
                .table
                .replicas()
                .iter()
                .map(|replica| (followed.id)(replica.id.0))
                .collect();
            let ready = |member: &&Member| member.takes_requests && ids.contains(&member.id);
            let count = found.iter().filter(ready).count();
            let whose = &followed.whose;
            said += &match (said.is_empty(), whose.is_empty()) {
                (true, true) => format!("{count} replicas"),
                (true, false) => format!("{count} replicas {whose}"),
                (false, _) => format!(", and {count} {whose}"),
            };
        }
        said
    }
}
