//! Reads the metrics pages of pods that ask for it, as a Prometheus beside a real cluster does, by the same annotations.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apimachinery::Key;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use object_store::{Selection, Store};
use protocol::scrape::Page;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::readings::Readings;

/// A pod with this annotation, set to `true`, is read.
const SCRAPE: &str = "prometheus.io/scrape";
/// The port; otherwise the first that the pod declares.
const PORT: &str = "prometheus.io/port";
/// The path; otherwise `/metrics`.
const PATH: &str = "prometheus.io/path";

/// Time between two rounds. An autoscaler looks every 15 seconds.
const EVERY: Duration = Duration::from_secs(5);
/// The longest that a page may take.
const PAGE_WITHIN: Duration = Duration::from_secs(2);
/// Pages that are read at the same time.
const AT_ONCE: usize = 16;
/// Bytes of a page.
const LONGEST_PAGE: usize = 4 << 20;

/// What was read last, for all who ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<Readings>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Readings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a pod's page is.
#[derive(Clone, Debug, PartialEq)]
struct Target {
    pod: Key,
    address: SocketAddr,
    path: String,
}

/// Reads until `stop` is ready.
pub(crate) async fn run(store: Store, readings: Shared, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let round = async {
            round(&store, &readings).await;
            tokio::time::sleep(EVERY).await;
        };
        tokio::select! {
            () = &mut stop => return,
            () = round => {}
        }
    }
}

/// Reads all pages once. A pod whose page cannot be read has no metrics until it can.
async fn round(store: &Store, readings: &Shared) {
    let pods = store.select(&store.kind("", "pods"), &Selection::default());
    let targets: Vec<Target> = pods.iter().filter_map(|pod| target(pod.value())).collect();
    let pages = stream::iter(targets).map(|target| async move {
        let page = tokio::time::timeout(PAGE_WITHIN, page(&target)).await;
        let why = match page {
            Ok(Ok(page)) => return Some((target.pod, page)),
            Ok(Err(why)) => why,
            Err(_) => format!("no answer within {PAGE_WITHIN:?}"),
        };
        tracing::debug!(pod = %target.pod, why, "its metrics cannot be read");
        None
    });
    let pages: Vec<_> =
        pages.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    let at = store.now();
    let there: HashSet<&Key> = pages.iter().map(|(pod, _)| pod).collect();
    let mut readings = readings.lock();
    readings.retain(|pod| there.contains(pod));
    for (pod, page) in &pages {
        readings.take(pod.clone(), page, at);
    }
}

/// Where a pod wants to be read, if it does.
fn target(pod: &Value) -> Option<Target> {
    let asked = |name: &str| pod["metadata"]["annotations"][name].as_str();
    if asked(SCRAPE) != Some("true") || pod["status"]["phase"] != "Running" {
        return None;
    }
    let ip: IpAddr = pod["status"]["podIP"].as_str()?.parse().ok()?;
    let declared = || {
        let containers = pod["spec"]["containers"].as_array()?.iter();
        let mut ports = containers.flat_map(|one| one["ports"].as_array().into_iter().flatten());
        u16::try_from(ports.next()?["containerPort"].as_u64()?).ok()
    };
    let port = match asked(PORT) {
        Some(port) => port.parse().ok()?,
        None => declared()?,
    };
    let path = asked(PATH).unwrap_or("/metrics");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Some(Target { pod: Key::of(pod), address: SocketAddr::new(ip, port), path })
}

async fn page(target: &Target) -> Result<Page, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(target.address).await.map_err(|error| told(&error))?;
    let request = http::Request::get(&target.path)
        .header(http::header::HOST, target.address.to_string())
        .header(http::header::ACCEPT, "text/plain;version=0.0.4")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| told(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| told(&error))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| told(&error))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("status {status}"));
        }
        let body = Limited::new(answer.into_body(), LONGEST_PAGE).collect().await;
        Ok(body.map_err(|error| told(&error))?.to_bytes())
    };
    let mut exchange = std::pin::pin!(exchange);
    let body = tokio::select! {
        body = &mut exchange => body?,
        // Its end may be seen before what came with it.
        _ = connection => exchange.await?,
    };
    Page::parse(&String::from_utf8_lossy(&body)).map_err(|error| told(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(annotations: Value) -> Value {
        json!({
            "metadata": {"name": "a", "namespace": "b", "annotations": annotations},
            "spec": {"containers": [{"ports": [{"containerPort": 8000}]}]},
            "status": {"phase": "Running", "podIP": "127.16.0.1"},
        })
    }

    #[test]
    fn a_pod_is_read_where_its_annotations_say() {
        let at = |annotations: Value| {
            target(&pod(annotations)).map(|one| format!("{}{}", one.address, one.path))
        };
        assert_eq!(at(json!({})), None);
        assert_eq!(at(json!({SCRAPE: "false"})), None);
        assert_eq!(at(json!({SCRAPE: "true"})).as_deref(), Some("127.16.0.1:8000/metrics"));
        let all = json!({SCRAPE: "true", PORT: "9", PATH: "stats"});
        assert_eq!(at(all).as_deref(), Some("127.16.0.1:9/stats"));
        assert_eq!(at(json!({SCRAPE: "true", PORT: "http"})), None);
    }

    #[test]
    fn a_pod_that_does_not_run_is_not_read() {
        let mut pod = pod(json!({SCRAPE: "true"}));
        pod["status"]["phase"] = json!("Pending");
        assert_eq!(target(&pod), None);
    }
}
