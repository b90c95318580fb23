//! Looks at a workload: objects, through the API server, and requests, over the links of its pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http_body_util::BodyExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::check::{Answer, Check, PodView, Request, View};
use crate::controller::EMBEDDED;

/// How long a request may take before it counts as not answered.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 4 << 20;
/// How many pods are asked; more of a workload are only counted.
const MAX_ASKED: usize = 16;

/// A workload, and how to look at it.
#[derive(Clone)]
pub(super) struct Workload {
    client: Client,
    /// Whether pods are processes of this machine, once that was asked.
    here: Arc<OnceCell<bool>>,
    namespace: String,
    name: String,
}

impl Workload {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        let here = Arc::default();
        Self { client, here, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(super) fn api(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pods_api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn get(&self) -> Result<Option<Deployment>, kube::Error> {
        self.api().get_opt(&self.name).await
    }

    /// The labels that its pods have.
    pub(super) async fn labels(&self) -> Result<BTreeMap<String, String>, kube::Error> {
        let deployment = self.api().get(&self.name).await?;
        let selector = deployment.spec.map(|spec| spec.selector).unwrap_or_default();
        Ok(selector.match_labels.unwrap_or_default())
    }

    /// Its pods.
    pub(super) async fn pods(&self) -> Result<Vec<Pod>, kube::Error> {
        let labels = self.labels().await?;
        let pairs: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let params = ListParams::default().labels(&pairs.join(","));
        Ok(self.pods_api().list(&params).await?.items)
    }

    /// All that these checks need to know, at about one moment.
    pub(super) async fn view(&self, checks: &[&Check]) -> Result<View, kube::Error> {
        let asking = |of: Option<&str>| -> Vec<&Check> {
            checks.iter().copied().filter(|check| check.of() == of).collect()
        };
        let mut view = self.own_view(&asking(None)).await?;
        let others: BTreeSet<&str> = checks.iter().filter_map(|check| check.of()).collect();
        for name in others {
            let other = Self { name: name.to_owned(), ..self.clone() };
            match other.own_view(&asking(Some(name))).await {
                Ok(seen) => drop(view.others.insert(name.to_owned(), seen)),
                // What is not there is told by the check that misses it.
                Err(kube::Error::Api(error)) if error.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(view)
    }

    /// What these checks need to know of this workload.
    async fn own_view(&self, checks: &[&Check]) -> Result<View, kube::Error> {
        let pods = self.pods().await?;
        let mut view = View::default();
        for pod in &pods {
            view.pods.insert(pod.name_any(), pod_view(pod));
        }
        if checks.iter().any(|check| matches!(check, Check::Cpu { .. })) {
            view.cpu_milli = self.cpu().await?;
        }
        let direct = self.pods_are_here().await?;
        let door = |pod: &Pod| Door {
            pod: pod.name_any(),
            address: pod
                .status
                .as_ref()
                .and_then(|status| status.pod_ip.clone())
                .filter(|_| direct),
        };
        let is_ready = |pod: &&Pod| view.pods.get(&pod.name_any()).is_some_and(|pod| pod.ready);
        let ready: Vec<Door> = pods.iter().filter(is_ready).map(door).take(MAX_ASKED).collect();
        let metrics: BTreeSet<(u16, &str)> =
            checks.iter().flat_map(|check| check.metrics()).collect();
        let requests: BTreeSet<&Request> =
            checks.iter().filter_map(|check| check.request()).collect();
        let before = self.scrape(&ready, &metrics).await;
        let all =
            ready.iter().flat_map(|door| requests.iter().map(move |request| (door, *request)));
        let answers = all.map(|(door, request)| async move {
            (request.clone(), door.pod.clone(), self.ask(door, request).await)
        });
        for (request, pod, answer) in join_all(answers).await {
            view.answers.entry(request).or_default().insert(pod, answer);
        }
        let mut after = self.scrape(&ready, &metrics).await;
        for (key, value) in before {
            let then = after.remove(&key).flatten();
            view.metrics.insert(key, (value, then));
        }
        Ok(view)
    }

    async fn scrape(
        &self,
        doors: &[Door],
        metrics: &BTreeSet<(u16, &str)>,
    ) -> BTreeMap<(u16, String, String), Option<f64>> {
        let mut values = BTreeMap::new();
        let ports: BTreeSet<u16> = metrics.iter().map(|(port, _)| *port).collect();
        for port in ports {
            let request = Request { port, path: "/metrics".to_owned(), body: None };
            let pages = join_all(doors.iter().map(|door| self.ask(door, &request))).await;
            for (door, page) in doors.iter().zip(pages) {
                let Answer::Came { body, .. } = page else { continue };
                for (_, name) in metrics.iter().filter(|(each, _)| *each == port) {
                    let key = (port, (*name).to_owned(), door.pod.clone());
                    values.insert(key, total(&body, name));
                }
            }
        }
        values
    }

    /// What pods of the namespace use, in thousandths of a core. Where there is no metrics API, nobody knows.
    async fn cpu(&self) -> Result<BTreeMap<String, f64>, kube::Error> {
        let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
        let resource = ApiResource::from_gvk_with_plural(&kind, "pods");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let used = match api.list(&ListParams::default()).await {
            Ok(used) => used.items,
            Err(kube::Error::Api(error)) if error.code == 404 => Vec::new(),
            Err(error) => return Err(error),
        };
        let of = |pod: &DynamicObject| -> f64 {
            let containers = pod.data["containers"].as_array().into_iter().flatten();
            let cpu = containers.filter_map(|one| milli(one["usage"]["cpu"].as_str()?));
            cpu.sum()
        };
        Ok(used.iter().map(|pod| (pod.name_any(), of(pod))).collect())
    }

    /// Whether pods are processes of this machine, with addresses that lead to them from here.
    async fn pods_are_here(&self) -> Result<bool, kube::Error> {
        let asked = async || {
            let version = self.client.apiserver_version().await?.git_version;
            Ok(version.ends_with(EMBEDDED))
        };
        self.here.get_or_try_init(asked).await.copied()
    }

    /// One request, over the pod's own link: a fault of that link is seen.
    async fn ask(&self, door: &Door, request: &Request) -> Answer {
        let began = Instant::now();
        let exchange = async {
            match &door.address {
                Some(address) => direct(address, request).await,
                None => self.proxied(&door.pod, request).await,
            }
        };
        match timeout(REQUEST_LIMIT, exchange).await {
            Ok(Ok((status, body))) => Answer::Came { status, took: began.elapsed(), body },
            Ok(Err(why)) => Answer::Failed(why),
            Err(_) => Answer::Failed(format!("no answer within {} s", REQUEST_LIMIT.as_secs())),
        }
    }

    /// Through the API server, which connects to the pod's address. A forwarded port would not do: it comes out inside the pod, behind
    /// everything that Chaos Mesh does to its links.
    async fn proxied(&self, pod: &str, request: &Request) -> Result<(u16, String), String> {
        let Request { port, path, body } = request;
        let uri = format!("/api/v1/namespaces/{}/pods/{pod}:{port}/proxy{path}", self.namespace);
        let method = if body.is_some() { "POST" } else { "GET" };
        let built = kube::client::Body::from(body.clone().unwrap_or_default().into_bytes());
        let built = http::Request::builder()
            .method(method)
            .uri(uri)
            .header("Content-Type", "application/json")
            .body(built)
            .map_err(|error| error.to_string())?;
        let answer = self.client.send(built).await.map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        relayed(parts.status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    }
}

/// How a pod is asked.
struct Door {
    pod: String,
    /// Its address, where that leads to it from this machine.
    address: Option<String>,
}

/// One request from here to a pod.
async fn direct(address: &str, request: &Request) -> Result<(u16, String), String> {
    let broken = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect((address, request.port)).await.map_err(broken)?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    let text = match &request.body {
        None => format!("GET {} HTTP/1.0\r\nHost: {address}\r\n\r\n", request.path),
        Some(body) => format!(
            "POST {} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            request.path,
            body.len()
        ),
    };
    stream.write_all(text.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    (&mut stream).take(MAX_ANSWER).read_to_end(&mut answer).await.map_err(broken)?;
    parse(&answer).ok_or_else(|| "the connection was closed without an answer".to_owned())
}

/// Tells a pod's answer from the API server's own, which says that it could not reach the pod.
fn relayed(status: u16, body: String) -> Result<(u16, String), String> {
    let of_the_server = status >= 500
        && serde_json::from_str::<serde_json::Value>(&body)
            .is_ok_and(|value| value["kind"] == "Status" && value["apiVersion"] == "v1");
    if of_the_server { Err(body) } else { Ok((status, body)) }
}

/// An answer's status code and body.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Thousandths of a core: `12345n`, `250m`, `2`.
fn milli(text: &str) -> Option<f64> {
    let units = [("n", 1e-6), ("u", 1e-3), ("m", 1.0)];
    let unit = units.iter().find_map(|(unit, each)| Some((text.strip_suffix(unit)?, *each)));
    let (number, each) = unit.unwrap_or((text, 1e3));
    number.parse::<f64>().ok().map(|number| number * each)
}

/// A metric's value on a page of Prometheus' text format, summed over its labels.
fn total(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.chars().next()? {
            '{' => rest.rsplit_once('}')?.1,
            ' ' => rest,
            _ => return None,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

fn pod_view(pod: &Pod) -> PodView {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let ready = conditions.iter().any(|each| each.type_ == "Ready" && each.status == "True");
    let restarts = status.container_statuses.unwrap_or_default();
    PodView {
        uid: pod.uid().unwrap_or_default(),
        ready: ready && pod.metadata.deletion_timestamp.is_none(),
        restarts: restarts.iter().map(|container| container.restart_count).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let page =
            "# TYPE a counter\na{x=\"1\"} 2\na{x=\"}\"} 3.5\nab 7\na_total 9\nb 1 1700000000\n";
        assert_eq!(total(page, "a"), Some(5.5));
        assert_eq!(total(page, "b"), Some(1.0));
        assert_eq!(total(page, "c"), None);
    }

    #[test]
    fn cpu_is_read_in_the_units_of_metrics_servers() {
        let all = ["1500000n", "2u", "250m", "2", "many"].map(milli);
        assert_eq!(all, [Some(1.5), Some(0.002), Some(250.0), Some(2000.0), None]);
    }

    #[test]
    fn an_answer_of_the_api_server_is_none_of_the_pod() {
        let own = r#"{"kind":"Status","apiVersion":"v1","code":503,"message":"error trying to reach service"}"#;
        assert!(relayed(503, own.to_owned()).is_err());
        assert_eq!(relayed(503, "busy".to_owned()), Ok((503, "busy".to_owned())));
        assert_eq!(relayed(200, own.to_owned()), Ok((200, own.to_owned())));
    }

    #[test]
    fn an_answer_is_a_status_and_a_body() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(parse(answer), Some((503, "no".to_owned())));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"garbage\r\n\r\n"), None);
    }
}
