//! A namespace with engines as pods. It goes with the check, whatever happens to it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::{Cluster, Faults, Manifests, Page, PodSeen, cluster, unknown};

use super::clients::get;
use super::machine::Machine;
use super::picker::PICKERS;
use super::router::ROUTERS;

/// How long something may take that a cluster does by itself.
pub(super) const LIMIT: Duration = Duration::from_secs(40);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Where engines listen.
const ENGINE_PORT: u16 = 8000;
/// Engines, by their labels.
const ENGINES: &str = "app=engine";

/// Lab 1's engines, shorter of patience than those of lab 1's manifests, and the Service whose slices name them. Each calls its
/// model by its pod's name, so that every event of a stream says who made it; a request that names no model is served by all.
const ENGINE: &str = r#"
apiVersion: v1
kind: Service
metadata: { name: engine }
spec:
  selector: { app: engine }
  ports: [{ name: http, port: 8000, targetPort: http }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: engine }
spec:
  selector: { matchLabels: { app: engine, tier: first } }
  strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } }
  template:
    metadata: { labels: { app: engine, tier: first } }
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 30
      containers:
        - name: engine
          image: llm-lab/engine
          args:
            - --host=$(POD_IP)
            - --port=8000
            - --sim=h100:qwen2.5-7b
            - --served-model-name=$(POD_NAME)
            - --debug-faults=/opt/llm-lab-faults
          env:
            - { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
            - { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
          ports: [{ name: http, containerPort: 8000 }]
          readinessProbe:
            httpGet: { path: /health, port: http }
            periodSeconds: 1
            failureThreshold: 3
            timeoutSeconds: 5
          # Routers hear of an end only after the node does.
          lifecycle: { preStop: { sleep: { seconds: 2 } } }
          volumeMounts: [{ name: faults, mountPath: /opt/llm-lab-faults, readOnly: true }]
      volumes:
        - name: faults
          downwardAPI:
            items: [{ path: active, fieldRef: { fieldPath: "metadata.annotations['llm-lab/faults']" } }]
"#;

/// Whether `holds` within so much time.
pub(super) fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// A namespace with engines, and perhaps a router or a picker.
pub(super) struct Place {
    pub(super) cluster: Cluster,
    /// Of the engines: a rollout changes them.
    manifests: RefCell<Manifests>,
    machine: Machine,
}

// === impl Place ===

impl Place {
    /// Without any pod.
    pub(super) fn empty() -> Self {
        let manifests = RefCell::new(Manifests::yaml(ENGINE));
        Self { cluster: cluster(), manifests, machine: Machine::watched() }
    }

    /// With so many engines, which may still be on their way.
    pub(super) fn with_engines(count: u32) -> Self {
        let place = Self::empty();
        place.start_engines(count);
        place
    }

    pub(super) fn start_engines(&self, count: u32) {
        self.change("/spec/replicas", json!(count));
    }

    fn change(&self, pointer: &str, value: Value) {
        let mut manifests = self.manifests.borrow_mut();
        *manifests = manifests.clone().set("Deployment/engine", pointer, value);
        self.cluster.apply(&manifests);
    }

    /// A pod that is an engine by its labels and answers like one, and that Kubernetes never calls ready.
    pub(super) fn start_unready_engine(&self) {
        let probe = "/spec/template/spec/containers/0/readinessProbe/httpGet/path";
        self.cluster.apply(&second("unready").set("Deployment/unready", probe, "/nowhere"));
    }

    /// An engine of another version: of the second tier.
    pub(super) fn start_canary_engine(&self) {
        self.cluster.apply(&second("canary"));
    }

    /// Waits until all engines are there, and are of the newest template.
    pub(super) fn engines_ready(&self) {
        self.cluster.ready("Deployment/engine");
    }

    /// Another generation of engines, one after the other, as `kubectl rollout restart` makes it.
    pub(super) fn restart_engines(&self) {
        let annotation = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";
        self.change(annotation, json!("now"));
        self.engines_ready();
    }

    /// So many from now on.
    pub(super) fn scale_engines(&self, count: u32) {
        self.cluster.scale("Deployment/engine", count);
    }

    /// The engines that are there and not about to go, by name.
    pub(super) fn engines(&self) -> Vec<PodSeen> {
        let mut pods = self.cluster.pods(ENGINES);
        pods.retain(|pod| !pod.ending && pod.ip.is_some());
        pods
    }

    /// The same, once the cluster shows so many of them.
    pub(super) fn all_engines(&self, count: u32) -> Vec<PodSeen> {
        let mut pods = Vec::new();
        let all = within(LIMIT, || {
            pods = self.engines();
            pods.len() == count as usize
        });
        if !all {
            unknown(format!("the cluster shows {} engines, not {count}", pods.len()));
        }
        pods
    }

    /// The engines that Kubernetes calls ready: names, and where each listens in the cluster.
    pub(super) fn ready_engines(&self) -> BTreeMap<String, String> {
        let mut pods = self.engines();
        pods.retain(|pod| pod.ready);
        let place = |pod: PodSeen| pod.ip.map(|ip| (pod.name, format!("{ip}:{ENGINE_PORT}")));
        pods.into_iter().filter_map(place).collect()
    }

    /// Where an engine listens.
    pub(super) fn engine(&self, pod: &PodSeen) -> SocketAddr {
        address(&self.cluster.pod_url(&pod.name, ENGINE_PORT))
    }

    /// A figure of an engine's page, summed over its labels. An engine that does not tell it is no fault of the learner's.
    pub(super) fn figure(&self, pod: &PodSeen, name: &str) -> f64 {
        let (engine, mut figure) = (self.engine(pod), None);
        within(LIMIT, || {
            figure = metric(engine, name);
            figure.is_some()
        });
        figure.unwrap_or_else(|| unknown(format!("engine {} does not tell {name}", pod.name)))
    }

    /// Switches an engine's own faults; see [`Cluster::engine_faults`].
    pub(super) fn break_engine(&self, pod: &PodSeen, fault: &str) {
        self.cluster.engine_faults(&pod.name, fault);
    }

    /// Kills an engine at once, with all that it works on, and waits until the cluster says that it is gone.
    pub(super) fn kill_engine(&self, name: &str) -> Faults<'_> {
        let kill = "
            apiVersion: chaos-mesh.org/v1alpha1
            kind: PodChaos
            metadata: { name: kill }
            spec:
              action: pod-kill
              mode: all
              gracePeriod: 0
              selector: { fieldSelectors: { metadata.name: POD } }
            ";
        let killed = self.cluster.inject(&Manifests::yaml(kill.replace("POD", name)));
        if !within(LIMIT, || self.cluster.pods(ENGINES).iter().all(|pod| pod.name != name)) {
            unknown(format!("pod {name} was to be killed, and is still there"));
        }
        killed
    }

    /// Who the router and the picker are.
    pub(super) fn apply_identity(&self) {
        let identity = Manifests::deploy("identity");
        self.cluster.apply(&identity.clone().only("ServiceAccount/router"));
        // A cluster without roles refuses them, and nobody there asks for one.
        let _no_roles =
            self.cluster.try_apply(&identity.only("Role/router").only("RoleBinding/router"));
    }

    /// The first pod with these labels that runs, or did so before its program ended.
    pub(super) fn running(&self, selector: &str) -> Option<PodSeen> {
        let mut found = None;
        within(LIMIT, || {
            let mut pods = self.cluster.pods(selector);
            pods.retain(|pod| pod.phase == "Running" && pod.ip.is_some() && !pod.ending);
            found = pods.into_iter().next();
            found.is_some()
        });
        found
    }
}

/// A Deployment of this name with an engine of the second tier.
fn second(name: &str) -> Manifests {
    let deployment = format!("Deployment/{name}");
    Manifests::yaml(ENGINE.replace("name: engine }", &format!("name: {name} }}")))
        .only(&deployment)
        .set(&deployment, "/spec/selector/matchLabels/tier", "second")
        .set(&deployment, "/spec/template/metadata/labels/tier", "second")
}

impl Drop for Place {
    /// Of a check that has failed the logs are told before they go. It has no verdict where what failed was the machine, or an engine.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let learners = [ROUTERS, PICKERS].map(|pods| self.cluster.tell_logs(pods));
        if learners.contains(&true) {
            return;
        }
        if let Some(stood) = self.machine.stood_still() {
            unknown(format!("the machine stood still for {stood:.1?} meanwhile: it is too busy"));
        }
        let engines = self.cluster.try_pods(ENGINES).unwrap_or_default();
        if let Some(engine) = engines.iter().find(|engine| engine.restarts > 0) {
            unknown(format!("engine {} had ended by itself, and was started again", engine.name));
        }
    }
}

/// A figure of a page, summed over its labels.
pub(super) fn metric(address: SocketAddr, name: &str) -> Option<f64> {
    let (_, text) = get(address, "/metrics").filter(|(status, _)| *status == 200)?;
    Page::parse(&text).ok()?.total(name)
}

/// The address in the URL of a pod.
pub(super) fn address(url: &str) -> SocketAddr {
    match url.trim_start_matches("http://").parse() {
        Ok(address) => address,
        Err(error) => unknown(format!("{url} is no address: {error}")),
    }
}
