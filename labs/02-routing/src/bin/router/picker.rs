//! The same policies behind Envoy: replicas from Kubernetes, load from their metrics pages, choices over gRPC.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use lab02_routing::ext_proc::Shared;
use lab02_routing::pool_picker::PoolPicker;
use proxy::{Facts, Watching};
use routing::{EndpointId, Policy, Scrape};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::kubernetes::Kubernetes;

type Picker = Arc<Mutex<PoolPicker<Box<dyn Policy>>>>;

/// Serves until `shutdown`.
pub(crate) async fn serve(
    listen: SocketAddr,
    kubernetes: &Kubernetes,
    policy: Box<dyn Policy>,
    watching: Watching,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let mut events = kubernetes.watch().await?;
    let objectives: BTreeMap<String, i32> = kubernetes.objectives.iter().cloned().collect();
    let picker = PoolPicker::new(policy, kubernetes.wanted(), kubernetes.zone.clone());
    let picker: Picker = Arc::new(Mutex::new(picker.with_objectives(objectives)));
    let told = Arc::clone(&picker);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            told.lock().unwrap_or_else(PoisonError::into_inner).apply(event);
        }
    });
    // The service's clock starts with it, so the scrapes' must start here, too.
    tokio::spawn(scrape(Arc::clone(&picker), watching, Instant::now()));
    let listener = TcpListener::bind(listen).await.with_context(|| format!("{listen}"))?;
    println!("picking on {}", listener.local_addr()?);
    let shared = Arc::new(Shared::new(picker, |body| Facts::of(body).prompt.to_vec()));
    endpoint_picker::serve(listener, shared, shutdown).await?;
    Ok(())
}

/// Looks at every ready replica, again and again.
async fn scrape(picker: Picker, watching: Watching, began: Instant) {
    loop {
        let ready: Vec<(EndpointId, SocketAddr)> = {
            let picker = picker.lock().unwrap_or_else(PoisonError::into_inner);
            picker.table().ready().map(|replica| (replica.id, replica.seen.address)).collect()
        };
        let mut looks = JoinSet::new();
        for (id, address) in ready {
            let (watching, picker) = (watching.clone(), Arc::clone(&picker));
            looks.spawn(async move {
                if let Some(signals) = proxy::signals(address, &watching).await {
                    let scrape = Scrape { signals, at: began.elapsed() };
                    picker.lock().unwrap_or_else(PoisonError::into_inner).scraped(id, scrape);
                }
            });
        }
        looks.join_all().await;
        tokio::time::sleep(watching.every).await;
    }
}
