//! What the API server gives on one core: `cargo run --release -p api-server --example bench`.
//!
//! Server and store run on one thread with their objects on disk, clients on others. Prints reads and acknowledged writes
//! a second, and the time from a write to the watch event at a client.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_server::{Certificates, Config, NoNodes};
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{PostParams, WatchParams};
use object_store::{Store, System, bootstrap};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Requests under way at once.
const CLIENTS: usize = 32;
/// How long reads and writes are counted.
const SPAN: Duration = Duration::from_secs(3);
/// Watch events that are timed.
const EVENTS: usize = 300;
/// The token.
const TOKEN: &str = "bench";

fn main() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(&folder.path().join("objects.redb"), System)?;
    let certificates = Certificates::generate(&[])?;
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    bootstrap(&store, Ipv4Addr::LOCALHOST, address.port())?;
    let config = Config::new(TOKEN, certificates.clone());
    std::thread::spawn(move || -> Outcome<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            let never = std::future::pending();
            Ok(api_server::serve(listener, store, config, Arc::new(NoNodes), never).await?)
        })
    });
    let server = format!("https://{address}").parse()?;
    let client = kube_connect::by_token(server, &certificates.authority, TOKEN)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(client))
}

async fn measure(config: kube::Config) -> Outcome<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(kube_connect::client(config.clone())?);
    maps.create(&PostParams::default(), &named("first")).await?;
    let mut reads = JoinSet::new();
    for _ in 0..CLIENTS {
        let maps: Api<ConfigMap> = Api::default_namespaced(kube_connect::client(config.clone())?);
        reads.spawn(async move { count(|_| maps.get("first")).await });
    }
    println!("reads/s   {:.0}", rate(reads).await?);
    let mut writes = JoinSet::new();
    for client in 0..CLIENTS {
        let maps: Api<ConfigMap> = Api::default_namespaced(kube_connect::client(config.clone())?);
        writes.spawn(async move {
            count(|index| {
                let maps = maps.clone();
                let map = named(&format!("w-{client}-{index}"));
                async move { maps.create(&PostParams::default(), &map).await }
            })
            .await
        });
    }
    println!("writes/s  {:.0}  (each on disk when it is acknowledged)", rate(writes).await?);
    let list = maps.list_metadata(&kube::api::ListParams::default().limit(1)).await?;
    let version = list.metadata.resource_version.unwrap_or_default();
    let mut events = maps.watch(&WatchParams::default(), &version).await?.boxed();
    let mut times = Vec::with_capacity(EVENTS);
    for index in 0..EVENTS {
        let begun = Instant::now();
        let map = named(&format!("e-{index}"));
        let params = PostParams::default();
        let write = maps.create(&params, &map);
        let (written, seen) =
            tokio::join!(write, async { events.try_next().await.map(|_| begun.elapsed()) });
        written?;
        times.push(seen?);
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("watch     {:?} at the median, {:?} at 99 %", at(0.5), at(0.99));
    Ok(())
}

fn named(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map.data = Some([("key".to_owned(), "value".repeat(20))].into());
    map
}

async fn count<T, F>(ask: impl Fn(usize) -> F) -> Outcome<usize>
where
    F: Future<Output = kube::Result<T>>,
{
    let begun = Instant::now();
    let mut done = 0;
    while begun.elapsed() < SPAN {
        ask(done).await?;
        done += 1;
    }
    Ok(done)
}

async fn rate(mut tasks: JoinSet<Outcome<usize>>) -> Outcome<f64> {
    let mut total = 0;
    while let Some(done) = tasks.join_next().await {
        total += done??;
    }
    Ok(total as f64 / SPAN.as_secs_f64())
}
