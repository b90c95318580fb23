//! Looks at a workload through the API server: objects, and requests by port-forward.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::check::{Answer, Check, PodView, Request, View};

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
    namespace: String,
    name: String,
}

impl Workload {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), name: name.to_owned() }
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
            let other = Self::new(self.client.clone(), &self.namespace, name);
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
        let ready: Vec<String> = view
            .pods
            .iter()
            .filter(|(_, pod)| pod.ready)
            .map(|(name, _)| name.clone())
            .take(MAX_ASKED)
            .collect();
        let metrics: BTreeSet<(u16, &str)> =
            checks.iter().flat_map(|check| check.metrics()).collect();
        let requests: BTreeSet<&Request> =
            checks.iter().filter_map(|check| check.request()).collect();
        let before = self.scrape(&ready, &metrics).await;
        let all = ready.iter().flat_map(|pod| requests.iter().map(move |request| (pod, *request)));
        let answers = all.map(|(pod, request)| async move {
            (request.clone(), pod.clone(), self.ask(pod, request).await)
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
        pods: &[String],
        metrics: &BTreeSet<(u16, &str)>,
    ) -> BTreeMap<(u16, String, String), Option<f64>> {
        let mut values = BTreeMap::new();
        let ports: BTreeSet<u16> = metrics.iter().map(|(port, _)| *port).collect();
        for port in ports {
            let request = Request { port, path: "/metrics".to_owned(), body: None };
            let pages = join_all(pods.iter().map(|pod| self.ask(pod, &request))).await;
            for (pod, page) in pods.iter().zip(pages) {
                let Answer::Came { body, .. } = page else { continue };
                for (_, name) in metrics.iter().filter(|(each, _)| *each == port) {
                    values.insert((port, (*name).to_owned(), pod.clone()), total(&body, name));
                }
            }
        }
        values
    }

    /// One request, from this process to the pod through the API server.
    async fn ask(&self, pod: &str, request: &Request) -> Answer {
        let began = Instant::now();
        match timeout(REQUEST_LIMIT, self.exchange(pod, request)).await {
            Ok(Ok((status, body))) => Answer::Came { status, took: began.elapsed(), body },
            Ok(Err(why)) => Answer::Failed(why),
            Err(_) => Answer::Failed(format!("no answer within {} s", REQUEST_LIMIT.as_secs())),
        }
    }

    async fn exchange(&self, pod: &str, request: &Request) -> Result<(u16, String), String> {
        let mut forward = self
            .pods_api()
            .portforward(pod, &[request.port])
            .await
            .map_err(|error| error.to_string())?;
        let mut stream = forward.take_stream(request.port).ok_or("no stream")?;
        // HTTP/1.0: the answer comes in one piece and ends with the connection.
        let text = match &request.body {
            None => format!("GET {} HTTP/1.0\r\nHost: {pod}\r\n\r\n", request.path),
            Some(body) => format!(
                "POST {} HTTP/1.0\r\nHost: {pod}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                request.path,
                body.len()
            ),
        };
        let broken = |error: std::io::Error| error.to_string();
        stream.write_all(text.as_bytes()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let mut answer = Vec::new();
        (&mut stream).take(MAX_ANSWER).read_to_end(&mut answer).await.map_err(broken)?;
        drop(stream);
        forward.abort();
        parse(&answer).ok_or_else(|| "the connection was closed without an answer".to_owned())
    }
}

/// An answer's status code and body.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
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
    fn an_answer_is_a_status_and_a_body() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(parse(answer), Some((503, "no".to_owned())));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"garbage\r\n\r\n"), None);
    }
}
