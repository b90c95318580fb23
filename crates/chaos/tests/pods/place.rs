//! Stubs in a namespace of their own, and clients of them: this process, and each other.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::{Cluster, Faults, Manifests, PodSeen};

/// The port that stubs serve.
pub(crate) const PORT: u16 = 8000;
/// Long enough for a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Requests of which the quickest counts. A busy machine delays some; a fault delays all.
const TRIES: usize = 4;
/// What slow links add.
pub(crate) const LATENCY: Duration = Duration::from_millis(500);
/// How late an answer is at least: what a pod sends comes late twice, when it opens or accepts a connection, and when it asks or
/// answers.
pub(crate) const LATE: Duration = Duration::from_millis(1000);
/// The longest that this process waits for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Some stubs.
pub(crate) struct Place {
    pub(crate) cluster: Cluster,
}

/// What came of a request.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Nothing where no answer came.
    pub(crate) status: Option<u16>,
    pub(crate) took: Duration,
    pub(crate) body: String,
    /// Names in lower case, and values.
    pub(crate) headers: Vec<(String, String)>,
}

impl Place {
    /// So many stubs, ready.
    pub(crate) fn of(count: u32) -> Self {
        let cluster = Cluster::from_env().unwrap();
        let place = Self { cluster };
        place.cluster.apply(&Manifests::yaml(stubs(count).to_string()));
        place.cluster.ready("Deployment/stub");
        place
    }

    /// The stubs that are not about to go, by name.
    pub(crate) fn pods(&self) -> Vec<PodSeen> {
        let pods = self.cluster.pods("app=stub").into_iter();
        pods.filter(|pod| !pod.ending).collect()
    }

    pub(crate) fn url(&self, pod: &PodSeen) -> String {
        self.cluster.pod_url(&pod.name, PORT)
    }

    /// Makes a fault. A selector that is left out selects all stubs.
    pub(crate) fn inject(&self, kind: &str, spec: Value) -> Faults<'_> {
        self.cluster.try_inject(&fault(kind, spec)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Why a fault is not made.
    pub(crate) fn refusal(&self, kind: &str, spec: Value) -> String {
        match self.cluster.try_inject(&fault(kind, spec)) {
            Ok(_) => panic!("{kind} was made"),
            Err(error) => error.to_string(),
        }
    }

    /// Waits until something is so.
    pub(crate) fn until(&self, what: &str, mut so: impl FnMut(&[PodSeen]) -> bool) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let pods = self.pods();
            if so(&pods) {
                return;
            }
            assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}; now {pods:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How a request goes from one stub to another, or to any address.
    pub(crate) fn between(&self, from: &PodSeen, to: &PodSeen, path: &str) -> Seen {
        let target = self.url(to);
        let target = target.trim_start_matches("http://");
        let answer = ask("GET", &format!("{}/fetch/{target}/{path}", self.url(from)), &[], "");
        let (line, body) = answer.body.split_once('\n').unwrap();
        let mut words = line.split(' ');
        let status = words.next().unwrap().parse().ok();
        let took: f64 = words.next().unwrap().parse().unwrap();
        let took = Duration::from_secs_f64(took / 1e3);
        Seen { status, took, body: body.to_owned(), headers: Vec::new() }
    }

    /// Whether all of some requests from one stub to another take that long.
    pub(crate) fn is_late_between(&self, from: &PodSeen, to: &PodSeen, by: Duration) -> bool {
        (0..TRIES).all(|_| answered(&self.between(from, to, "")).took >= by)
    }

    /// Whether all of some requests from here take that long.
    pub(crate) fn is_late(&self, pod: &PodSeen, by: Duration) -> bool {
        let url = self.url(pod);
        (0..TRIES).all(|_| answered(&get(&url)).took >= by)
    }

    /// How many of the stubs are that late, asked side by side.
    pub(crate) fn late(&self, by: Duration) -> usize {
        let pods = self.pods();
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                pods.iter().map(|pod| scope.spawn(move || self.is_late(pod, by))).collect();
            asked.into_iter().map(|one| one.join().unwrap()).filter(|late| *late).count()
        })
    }
}

fn answered(seen: &Seen) -> &Seen {
    assert_eq!(seen.status, Some(200), "{seen:?}");
    seen
}

/// A request, and how it goes.
pub(crate) fn ask(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Seen {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent = config.timeout_global(Some(10 * ANSWER_LIMIT)).timeout_connect(Some(ANSWER_LIMIT));
    let agent: ureq::Agent = agent.build().into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let began = Instant::now();
    let answer = agent.run(request.body(body.to_owned()).unwrap()).and_then(|mut answer| {
        let body = answer.body_mut().read_to_string()?;
        Ok((answer, body))
    });
    let took = began.elapsed();
    match answer {
        Err(_) => Seen { status: None, took, body: String::new(), headers: Vec::new() },
        Ok((answer, body)) => {
            let pair = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
                (name.to_string(), value.to_str().unwrap_or_default().to_owned())
            };
            let headers = answer.headers().iter().map(pair).collect();
            Seen { status: Some(answer.status().as_u16()), took, body, headers }
        }
    }
}

/// A plain request.
pub(crate) fn get(url: &str) -> Seen {
    ask("GET", url, &[], "")
}

/// All stubs.
pub(crate) fn all() -> Value {
    json!({ "labelSelectors": { "app": "stub" } })
}

/// One stub.
pub(crate) fn only(pod: &PodSeen) -> Value {
    json!({ "fieldSelectors": { "metadata.name": pod.name } })
}

pub(crate) fn fault(kind: &str, spec: Value) -> Manifests {
    Manifests::yaml(object(kind, "fault", spec).to_string())
}

/// A resource of Chaos Mesh's. Where it says no selector and mode, all stubs are hit.
pub(crate) fn object(kind: &str, name: &str, mut spec: Value) -> Value {
    if !matches!(kind, "Schedule" | "Workflow") {
        complete(&mut spec);
    }
    json!({
        "apiVersion": "chaos-mesh.org/v1alpha1", "kind": kind,
        "metadata": { "name": name }, "spec": spec,
    })
}

/// Fills in a selector and a mode.
pub(crate) fn complete(spec: &mut Value) {
    let spec = spec.as_object_mut().unwrap();
    spec.entry("selector").or_insert_with(all);
    spec.entry("mode").or_insert_with(|| json!("all"));
}

fn stubs(count: u32) -> Value {
    let labels = json!({ "app": "stub" });
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "stub" },
        "spec": {
            "replicas": count, "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "stub", "image": "lab/stub",
                        "args": ["serve", "--host", "$(POD_IP)", "--port", PORT.to_string()],
                        "env": [field("POD_IP", "status.podIP"), field("POD_NAME", "metadata.name")],
                        "ports": [{ "containerPort": PORT }],
                        "readinessProbe": { "httpGet": { "path": "/readyz", "port": PORT }, "periodSeconds": 1 },
                    }],
                },
            },
        },
    })
}
