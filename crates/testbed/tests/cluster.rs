//! A place on a real cluster, from beginning to end: the embedded one, as `cluster up` starts it, with stubs as pods.
//!
//! It needs the cluster's programs, which `cargo test` of this crate does not build: `cargo xtask test --only faults` builds them,
//! says where they are, and runs this.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsString;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use testbed::{Cluster, ClusterError, Manifests};

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

const STUBS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: stub }
spec:
  replicas: 1
  selector: { matchLabels: { app: stub } }
  template:
    metadata: { labels: { app: stub } }
    spec:
      containers:
        - name: stub
          image: mine/stub
          args: ["serve", "--host", "$(POD_IP)", "--port", "8000"]
          env:
            - { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
            - { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
          ports: [{ name: http, containerPort: 8000 }]
          readinessProbe: { httpGet: { path: /readyz, port: http }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: stub }
spec: { selector: { app: stub }, ports: [{ port: 80, targetPort: http }] }
"#;

/// An embedded cluster of this test's own. Ended when dropped.
struct Here {
    folder: tempfile::TempDir,
    programs: PathBuf,
}

impl Here {
    fn up() -> Self {
        let programs = std::env::var_os("CLUSTER_PROGRAMS");
        let programs =
            programs.expect("CLUSTER_PROGRAMS: `cargo xtask test --only faults` sets it");
        let here = Self { folder: tempfile::tempdir().unwrap(), programs: programs.into() };
        let file = Path::new("clusters/embedded/cluster.toml");
        let course = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
        std::fs::create_dir_all(here.root().join(file).parent().unwrap()).unwrap();
        std::fs::copy(course, here.root().join(file)).unwrap();
        assert!(here.cluster(&["up"]).success());
        here
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn cluster(&self, args: &[&str]) -> ExitStatus {
        let mut command = Command::new(self.programs.join("cluster"));
        command.arg("--root").arg(self.root()).arg("--programs").arg(&self.programs);
        command.args(args).stdout(Stdio::null()).status().unwrap()
    }

    fn bed(&self, session: &str) -> Cluster {
        let stub = self.programs.join("stub").display().to_string();
        let images = serde_json::json!({ "mine/stub": stub }).to_string();
        let variables: [(&str, OsString); 6] = [
            ("LAB_ON", "embedded".into()),
            ("LAB_ROOT", self.root().into()),
            ("LAB_PROGRAMS", self.programs.clone().into()),
            ("LAB_SESSION", session.into()),
            ("LAB_IMAGES", images.into()),
            ("LAB_DEPLOY", self.root().into()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        Cluster::start(self.programs.join("cluster-bed").into(), variables).unwrap()
    }

    fn images(&self) -> usize {
        let folder = self.root().join(".lab/cluster/embedded/images");
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.cluster(&["down", "--forget"]);
    }
}

/// A session whose process lives, so that nobody sweeps it but by its name.
fn session() -> String {
    format!("test-{}", std::process::id())
}

fn fetch(url: &str) -> String {
    ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap().trim().to_owned()
}

/// The median of what seven requests took.
fn took(url: &str) -> Duration {
    let mut times = [(); 7].map(|()| {
        let began = Instant::now();
        fetch(url);
        began.elapsed()
    });
    times.sort_unstable();
    times[3]
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_served(url: &str) -> bool {
    TcpStream::connect(url.trim_start_matches("http://")).is_ok()
}

#[test]
#[ignore = "needs the cluster's programs: cargo xtask test --only faults"]
fn a_check_applies_reaches_breaks_and_leaves_nothing() {
    let here = Here::up();
    let cluster = here.bed(&session());
    cluster.apply(&Manifests::yaml(STUBS).set("Deployment/stub", "/spec/replicas", 2));
    cluster.ready("Deployment/stub");
    let pods = cluster.pods("app=stub");
    assert_eq!(pods.len(), 2, "{pods:?}");
    let urls: Vec<String> = pods.iter().map(|pod| cluster.pod_url(&pod.name, 8000)).collect();
    for (pod, url) in pods.iter().zip(&urls) {
        assert_eq!(url, &format!("http://{}:8000", pod.ip.as_ref().unwrap()), "its own address");
        assert_eq!(fetch(url), pod.name);
    }
    let answered = fetch(&cluster.service_url("stub", 80));
    assert!(pods.iter().any(|pod| pod.name == answered), "{answered}");

    let slow = format!(
        "apiVersion: chaos-mesh.org/v1alpha1\nkind: NetworkChaos\nmetadata: {{ name: slow }}\n\
         spec: {{ action: delay, mode: all, delay: {{ latency: 500ms }}, selector: {{ fieldSelectors: {{ metadata.name: {} }} }} }}\n",
        pods[0].name
    );
    let healthy = took(&urls[0]);
    let fault = cluster.inject(&Manifests::yaml(slow));
    let (hit, spared) = (took(&urls[0]), took(&urls[1]));
    assert!(hit > 3 * spared.max(healthy), "hit {hit:?}, spared {spared:?}, before {healthy:?}");
    fault.clear();
    assert!(took(&urls[0]) * 2 < hit);

    cluster.scale("Deployment/stub", 1);
    cluster.ready("Deployment/stub");
    until("one of two is gone", || cluster.pods("app=stub").len() == 1);
    let left = cluster.pods("app=stub").remove(0);
    assert!(cluster.log(&left.name).iter().any(|line| line.starts_with("serving on")));
    let url = cluster.pod_url(&left.name, 8000);
    drop(cluster);
    until("the pod is gone with the check", || !is_served(&url));
    assert_eq!(here.images(), 0, "images are forgotten");
}

#[test]
#[ignore = "needs the cluster's programs: cargo xtask test --only faults"]
fn what_cannot_be_is_refused_with_the_reason() {
    let here = Here::up();
    let cluster = here.bed(&session());
    let why = |result: Result<(), ClusterError>| result.unwrap_err().to_string();
    let corrupt = "apiVersion: chaos-mesh.org/v1alpha1\nkind: NetworkChaos\nmetadata: { name: c }\n\
        spec: { action: corrupt, corrupt: { corrupt: '5' }, mode: all, selector: { labelSelectors: { app: stub } } }\n";
    cluster.apply(&Manifests::yaml(STUBS));
    cluster.ready("Deployment/stub");
    let refused = why(cluster.try_inject(&Manifests::yaml(corrupt)).map(drop));
    assert!(refused.contains("not supported here: packets with flipped bits"), "{refused}");

    let image = "/spec/template/spec/containers/0/image";
    let broken = Manifests::yaml(STUBS).set("Deployment/stub", image, "nobody/knows");
    cluster.apply(&broken);
    let refused = why(cluster.try_ready("Deployment/stub", LIMIT));
    assert!(refused.contains("cannot run: ") && refused.contains("ErrImagePull"), "{refused}");

    let exits =
        Manifests::yaml(STUBS).args("Deployment/stub", ["exit", "3", "--print", "farewell"]);
    cluster.apply(&exits);
    let Err(ClusterError::Refused(refusal)) = cluster.try_ready("Deployment/stub", LIMIT) else {
        panic!("it cannot be ready");
    };
    assert!(refusal.why.contains("CrashLoopBackOff"), "{refusal:?}");
    assert!(refusal.log.iter().any(|line| line == "farewell"), "{refusal:?}");

    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: { name: mine }\n";
    let refused = why(cluster.try_apply(&Manifests::yaml(namespace)).map(drop));
    assert!(refused.contains("belongs to the whole cluster"), "{refused}");
}

#[test]
#[ignore = "needs the cluster's programs: cargo xtask test --only faults"]
fn what_a_killed_check_leaves_is_swept() {
    let here = Here::up();
    let session = session();
    let cluster = here.bed(&session);
    cluster.apply(&Manifests::yaml(STUBS));
    cluster.ready("Deployment/stub");
    let url = cluster.pod_url(&cluster.pods("app=stub")[0].name, 8000);
    assert!(is_served(&url));
    // As by SIGKILL: nothing of ours runs any more, and the pod does.
    cluster.kill();
    assert!(is_served(&url) && here.images() == 1);
    assert!(here.cluster(&["sweep", "somebody-else"]).success());
    assert!(is_served(&url), "another session's sweep leaves it alone");
    assert!(here.cluster(&["sweep", &session]).success());
    until("the pod is swept", || !is_served(&url));
    assert_eq!(here.images(), 0, "images are forgotten");
}
