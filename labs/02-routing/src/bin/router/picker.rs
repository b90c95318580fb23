//! The same policies behind Envoy: replicas from Kubernetes or from a list, load from their metrics pages, choices over gRPC.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use discovery::{Conditions, Event, Family, Slice, SliceEndpoint, SlicePort};
use lab02_routing::ext_proc::Shared;
use lab02_routing::picker_metrics::page;
use lab02_routing::pool_picker::PoolPicker;
use lab02_routing::slices::Wanted;
use protocol::features::Outline;
use proxy::{CacheReport, KvListening, Looks, Member, Watching, hear_members};
use routing::{EndpointId, KvEvent, Policy, Scrape};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::watch;

use crate::kubernetes::Kubernetes;
use crate::timed::Timed;

type Picking = PoolPicker<Timed<Box<dyn Policy>>>;

/// Events of a fixed list: one for each end of it, and one for each endpoint, which all fit.
const ENDS: usize = 2;

/// What can be typed about a picker.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Endpoint picker")]
pub(crate) struct PickerArgs {
    /// Choose for a proxy that speaks Envoy's external processing, instead of serving requests; 9002 by custom
    #[arg(
        long,
        value_name = "ADDRESS",
        conflicts_with_all = ["canary_endpoints", "canary_service", "canary_pool"]
    )]
    pub(crate) picker: Option<SocketAddr>,
    /// Where the picker's own metrics are: GET /metrics
    #[arg(long, value_name = "ADDRESS", requires = "picker")]
    metrics_listen: Option<SocketAddr>,
    /// Endpoints that the proxy may try when the one that was picked fails
    #[arg(long, value_name = "N", default_value_t = 2, requires = "picker")]
    fallbacks: usize,
    /// The priority of an objective, where there are no InferenceObjectives, or until they are known; below 0 it is shed where all are saturated
    #[arg(long = "objective", value_name = "NAME=PRIORITY", value_parser = objective, requires = "picker")]
    objectives: Vec<(String, i32)>,
}

fn objective(text: &str) -> Result<(String, i32), String> {
    let (name, priority) = text.split_once('=').ok_or("NAME=PRIORITY is needed")?;
    let priority = priority.parse().map_err(|_| format!("{priority:?} is no priority"))?;
    Ok((name.to_owned(), priority))
}

/// Who picks, and among whom.
pub(crate) struct Setup<'a> {
    pub(crate) args: &'a PickerArgs,
    pub(crate) kubernetes: &'a Kubernetes,
    /// The endpoints, where no cluster is asked.
    pub(crate) endpoints: Vec<SocketAddr>,
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) watching: Watching,
    /// How replicas are heard that tell of their KV caches.
    pub(crate) listening: Option<KvListening>,
}

/// Serves on `listen` until `shutdown`.
pub(crate) async fn serve(
    listen: SocketAddr,
    setup: Setup<'_>,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let Setup { args, kubernetes, endpoints, policy, watching, listening } = setup;
    let (events, wanted) = if kubernetes.is_asked() {
        (kubernetes.watch().await?, kubernetes.wanted())
    } else {
        (fixed(&endpoints).await?, Wanted { port: None, family: Family::Ipv4 })
    };
    let objectives: BTreeMap<String, i32> = args.objectives.iter().cloned().collect();
    let picker = PoolPicker::new(Timed::new(policy), wanted, kubernetes.zone.clone());
    let mut picker = picker.with_fallbacks(args.fallbacks);
    picker.set_objectives(objectives.clone());
    let picker = Arc::new(Mutex::new(picker));
    let (members, told) = watch::channel(Vec::new());
    tokio::spawn(follow(Arc::clone(&picker), events, members));
    let caches = listening.map(|listening| heard(Arc::clone(&picker), told, listening));
    if let Some(told) = kubernetes.objectives().await? {
        tokio::spawn(weigh(Arc::clone(&picker), objectives, told));
    }
    // The service's clock starts with it, so the scrapes' must start here, too.
    let began = Instant::now();
    tokio::spawn(scrape(Arc::clone(&picker), watching, began));
    let mut metrics = String::new();
    if let Some(address) = args.metrics_listen {
        let listener = bound(address).await?;
        metrics = format!(", metrics on http://{}", listener.local_addr()?);
        tokio::spawn(publish(listener, Arc::clone(&picker), caches, began));
    }
    let listener = bound(listen).await?;
    println!("picking on {}{metrics}", listener.local_addr()?);
    let shared = Arc::new(Shared::new(picker, |body| Outline::of(body).prompt().to_vec()));
    endpoint_picker::serve(listener, shared, shutdown).await?;
    Ok(())
}

async fn bound(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{address}"))
}

/// A list that never changes, as a watch would tell it.
async fn fixed(endpoints: &[SocketAddr]) -> Result<Receiver<Event>> {
    let (events, receiver) = mpsc::channel(endpoints.len() + ENDS);
    events.send(Event::ListBegins).await?;
    for address in endpoints {
        let endpoint = SliceEndpoint {
            addresses: vec![address.ip().to_string()],
            conditions: Conditions { ready: Some(true), ..Conditions::default() },
            pod: None,
            zone: None,
            for_zones: Vec::new(),
        };
        let slice = Slice {
            name: address.to_string(),
            family: if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 },
            ports: vec![SlicePort { name: String::new(), number: Some(address.port()) }],
            endpoints: vec![endpoint],
        };
        events.send(Event::Listed(slice)).await?;
    }
    events.send(Event::ListEnds).await?;
    Ok(receiver)
}

/// Tells the picker who is there, and whoever listens to them.
async fn follow(
    picker: Arc<Mutex<Picking>>,
    mut events: Receiver<Event>,
    members: watch::Sender<Vec<Member>>,
) {
    while let Some(event) = events.recv().await {
        let mut picker = lock(&picker);
        picker.apply(event);
        // Heard whether it is ready or not: what it tells meanwhile is true as well.
        let replicas = picker.table().replicas().iter();
        members.send_replace(
            replicas
                .map(|replica| Member {
                    id: replica.id,
                    address: replica.seen.address,
                    takes_requests: true,
                })
                .collect(),
        );
    }
    // Without a watch there is nobody new: those who are there are heard on.
    members.closed().await;
}

/// Hears replicas that tell of their KV caches: whose is empty, the policy is told.
fn heard(
    picker: Arc<Mutex<Picking>>,
    told: watch::Receiver<Vec<Member>>,
    listening: KvListening,
) -> Arc<Mutex<CacheReport>> {
    let caches = Arc::default();
    let emptied = move |id| lock(&picker).kv_event(id, &KvEvent::Cleared);
    tokio::spawn(hear_members(Arc::clone(&caches), emptied, told, listening));
    caches
}

/// Tells the picker what objectives are worth: an object counts before a flag.
async fn weigh(
    picker: Arc<Mutex<Picking>>,
    flags: BTreeMap<String, i32>,
    mut told: tokio::sync::watch::Receiver<discovery::Priorities>,
) {
    while told.changed().await.is_ok() {
        let mut all = flags.clone();
        all.extend(told.borrow_and_update().clone());
        eprintln!("{} objectives", all.len());
        lock(&picker).set_objectives(all);
    }
}

/// Looks at every ready replica, again and again, at each in its own time: nobody waits for one that hangs.
async fn scrape(picker: Arc<Mutex<Picking>>, watching: Watching, began: Instant) {
    let mut looks = Looks::<EndpointId, (EndpointId, Option<Scrape>)>::every(watching.every);
    loop {
        if let Some((id, scrape)) = looks.next().await {
            scrape.into_iter().for_each(|scrape| lock(&picker).scraped(id, scrape));
            continue;
        }
        let ready: Vec<(EndpointId, SocketAddr)> = {
            let picker = lock(&picker);
            picker.table().ready().map(|replica| (replica.id, replica.seen.address)).collect()
        };
        for (id, address) in ready {
            let watching = watching.clone();
            looks.begin(id, async move {
                let signals = proxy::signals(address, &watching).await;
                (id, signals.map(|signals| Scrape { signals, at: began.elapsed() }))
            });
        }
    }
}

/// Serves what was counted.
async fn publish(
    listener: TcpListener,
    picker: Arc<Mutex<Picking>>,
    caches: Option<Arc<Mutex<CacheReport>>>,
    began: Instant,
) {
    let said = move || {
        let mut text = {
            let picker = lock(&picker);
            page(&picker, began.elapsed()) + &picker.policy().page()
        };
        for family in caches.iter().flat_map(|caches| lock(caches).families("llm_picker")) {
            text.push_str(&family.to_string());
        }
        std::future::ready(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text))
    };
    if let Err(error) = axum::serve(listener, Router::new().route("/metrics", get(said))).await {
        eprintln!("no metrics any more: {error}");
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
