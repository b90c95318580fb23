//! A place on a cluster for a live check: applies a lab's manifests, waits, finds pods, breaks things, and leaves nothing behind.
//!
//! ```no_run
//! use std::time::Duration;
//! use testbed::{Manifests, cluster};
//!
//! let cluster = cluster();
//! let engines = Manifests::deploy("engine.yaml").set("Deployment/engine", "/spec/replicas", 3);
//! cluster.apply(&engines);
//! cluster.ready("Deployment/engine");
//! let pods = cluster.pods("app.kubernetes.io/name=engine");
//! let fault = cluster.inject(&Manifests::yaml("
//!     apiVersion: chaos-mesh.org/v1alpha1
//!     kind: NetworkChaos
//!     metadata: { name: slow }
//!     spec:
//!       action: delay
//!       mode: one
//!       selector: { labelSelectors: { app.kubernetes.io/name: engine } }
//!       delay: { latency: 200ms }
//! "));
//! // Ask cluster.pod_url(&pods[0].name, 8000) and the others, and compare.
//! fault.clear();
//! ```
//!
//! Each check has a namespace of its own. It goes when the [`Cluster`] is dropped, when the check ends in any other way, and when
//! the grader itself is killed. The talking is done by a program beside, `cluster-bed`: no client of Kubernetes is built into
//! a check. Methods end the check without a verdict where the cluster gives trouble, and fail it where the log of a pod
//! that is waited for shows a panic: that is the code under test. Those that begin with `try_` leave the verdict to the check.

mod faults;
mod talk;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cluster_orders::{End, Manifests, ObjectName, Order, PodSeen, Reply};

use crate::engine::{blame_panic, panic_in};
use crate::expect::shorten;
use crate::{note, unknown};
pub use faults::Faults;
pub use talk::ClusterError;
use talk::Talk;

/// The longest wait for pods to be ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// The longest wait for a fault to be made, or for it and other objects to be gone.
const FAULT_LIMIT: Duration = Duration::from_secs(30);
/// Lines of a pod's log that are read.
const LOG_LINES: usize = 100;
/// How many of them are told, the last ones.
const TOLD_LINES: usize = 5;

/// A place on a cluster. Dropping it takes away everything that was made.
pub struct Cluster {
    namespace: String,
    talk: Mutex<Talk>,
}

/// A place on the cluster that the grader chose. Where there is none, the check ends without a verdict.
#[must_use]
pub fn cluster() -> Cluster {
    Cluster::from_env().unwrap_or_else(|error| unknown(error))
}

// === impl Cluster ===

impl Cluster {
    /// A place on the cluster that the grader chose: `LAB_CLUSTER` names the program that talks to it.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn from_env() -> Result<Self, ClusterError> {
        let program = std::env::var_os("LAB_CLUSTER").ok_or(ClusterError::NotSet("LAB_CLUSTER"))?;
        Self::start(program, [])
    }

    /// A place on a cluster, by a program and what it finds in its environment besides.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn start(
        program: OsString,
        environment: impl IntoIterator<Item = (String, OsString)>,
    ) -> Result<Self, ClusterError> {
        let mut talk = Talk::start(program, environment)?;
        match talk.hear()? {
            Reply::Place(namespace) => Ok(Self { namespace, talk: Mutex::new(talk) }),
            other => Err(unexpected(&other)),
        }
    }

    /// The namespace in which everything happens.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Applies objects; those that are there already are changed.
    pub fn apply(&self, manifests: &Manifests) -> Vec<ObjectName> {
        self.verdict(self.try_apply(manifests))
    }

    /// Applies objects.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn try_apply(&self, manifests: &Manifests) -> Result<Vec<ObjectName>, ClusterError> {
        self.objects(&Order::Apply { manifests: manifests.clone() })
    }

    /// Waits until all replicas of a Deployment, StatefulSet or DaemonSet, or a pod, are ready: `ready("Deployment/engine")`.
    pub fn ready(&self, object: &str) {
        self.verdict(self.try_ready(object, READY_LIMIT));
    }

    /// Waits so long at most until an object is ready.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn try_ready(&self, object: &str, limit: Duration) -> Result<(), ClusterError> {
        self.order(&Order::Ready { object: name(object), limit }).map(drop)
    }

    /// The pods with these labels, like `app=engine`; all where it is empty. Sorted by name.
    #[must_use]
    pub fn pods(&self, selector: &str) -> Vec<PodSeen> {
        self.verdict(self.try_pods(selector))
    }

    /// The pods with these labels.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn try_pods(&self, selector: &str) -> Result<Vec<PodSeen>, ClusterError> {
        let mut pods = match self.order(&Order::Pods { selector: selector.to_owned() })? {
            Reply::Pods(pods) => pods,
            other => return Err(unexpected(&other)),
        };
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pods)
    }

    /// Where a pod's port is reached from here, like `http://127.16.0.3:8000`.
    #[must_use]
    pub fn pod_url(&self, pod: &str, port: u16) -> String {
        self.url(End::Pod(pod.to_owned()), port)
    }

    /// Where a Service's port is reached from here.
    #[must_use]
    pub fn service_url(&self, service: &str, port: u16) -> String {
        self.url(End::Service(service.to_owned()), port)
    }

    /// Sets how many replicas there shall be. [`Cluster::ready`] waits for them.
    pub fn scale(&self, object: &str, replicas: u32) {
        self.verdict(self.order(&Order::Scale { object: name(object), replicas }));
    }

    /// Switches an engine's own faults in one pod: `hang`, `stale-metrics`, `slow-steps`, `kv-starvation` and the like, by commas;
    /// none where it is empty. The engine looks after a moment.
    pub fn engine_faults(&self, pod: &str, faults: &str) {
        let value = (!faults.is_empty()).then(|| faults.to_owned());
        let annotations = BTreeMap::from([("llm-lab/faults".to_owned(), value)]);
        self.verdict(self.order(&Order::Annotate { pod: pod.to_owned(), annotations }));
    }

    /// The last lines of a pod's log; none where there is no such pod.
    #[must_use]
    pub fn log(&self, pod: &str) -> Vec<String> {
        let order = Order::Log { pod: pod.to_owned(), lines: LOG_LINES };
        match self.order(&order) {
            Ok(Reply::Lines(lines)) => lines,
            _ => Vec::new(),
        }
    }

    /// Ends the check because of what pods with these labels did not do: it fails where a log of theirs shows a panic, which is the
    /// code under test; else it has no verdict, and the ends of the logs are told.
    pub fn give_up(&self, selector: &str, why: impl Display) -> ! {
        for pod in self.pods(selector) {
            blame_panic(&self.log(&pod.name));
        }
        self.tell_logs(selector);
        unknown(why)
    }

    /// Notes how the logs of pods with these labels end, for whoever asks why a check failed: they go with the namespace. Says
    /// whether one of them shows a panic. May be called while the check fails: where the cluster does not answer, nothing is told.
    pub fn tell_logs(&self, selector: &str) -> bool {
        let mut panicked = false;
        for pod in self.try_pods(selector).unwrap_or_default() {
            let log = self.log(&pod.name);
            panicked |= panic_in(&log).is_some();
            let said: Vec<_> = log.iter().filter(|line| !line.trim().is_empty()).collect();
            for line in &said[said.len().saturating_sub(TOLD_LINES)..] {
                note(format!("log of {}: {}", pod.name, shorten(line)));
            }
        }
        panicked
    }

    /// Makes faults, Chaos Mesh's resources, and waits until every target has them.
    pub fn inject(&self, manifests: &Manifests) -> Faults<'_> {
        self.verdict(self.try_inject(manifests))
    }

    /// Makes faults.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] where an executor cannot make them, or nobody is there to.
    pub fn try_inject(&self, manifests: &Manifests) -> Result<Faults<'_>, ClusterError> {
        let order = Order::Inject { manifests: manifests.clone(), limit: FAULT_LIMIT };
        Ok(Faults::new(self, self.objects(&order)?))
    }

    /// Deletes objects, like `Pod/engine-0`, and waits until they are gone.
    pub fn delete(&self, objects: &[&str]) {
        self.verdict(self.try_delete(objects.iter().map(|object| name(object)).collect()));
    }

    /// Kills the program beside, so that nothing is taken away: what is left then is the grader's to sweep. For tests of that.
    #[doc(hidden)]
    pub fn kill(self) {
        self.talk.into_inner().unwrap_or_else(PoisonError::into_inner).kill();
    }

    fn try_delete(&self, objects: Vec<ObjectName>) -> Result<(), ClusterError> {
        self.order(&Order::Delete { objects, limit: FAULT_LIMIT }).map(drop)
    }

    fn url(&self, end: End, port: u16) -> String {
        let reply = self.order(&Order::Reach { end, port }).and_then(|reply| match reply {
            Reply::Address(address) => Ok(format!("http://{address}")),
            other => Err(unexpected(&other)),
        });
        self.verdict(reply)
    }

    fn objects(&self, order: &Order) -> Result<Vec<ObjectName>, ClusterError> {
        match self.order(order)? {
            Reply::Objects(objects) => Ok(objects),
            other => Err(unexpected(&other)),
        }
    }

    fn order(&self, order: &Order) -> Result<Reply, ClusterError> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner).ask(order)
    }

    fn verdict<T>(&self, result: Result<T, ClusterError>) -> T {
        result.unwrap_or_else(|error| {
            let ClusterError::Refused(refusal) = &error else { unknown(error) };
            blame_panic(&refusal.log);
            let tail = &refusal.log[refusal.log.len().saturating_sub(3)..];
            match tail {
                [] => unknown(error),
                tail => unknown(format!("{error}; its log ends: {}", tail.join(" | "))),
            }
        })
    }
}

fn unexpected(reply: &Reply) -> ClusterError {
    ClusterError::Silent(format!("answered another question: {reply:?}"))
}

/// An object as checks write it.
fn name(object: &str) -> ObjectName {
    match object.parse() {
        Ok(name) => name,
        Err(error) => unknown(error),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::PathBuf;

    use super::*;

    /// A program that says fixed lines, and writes what it hears to a file.
    fn cluster_that_says(lines: &str, heard: &std::path::Path) -> Result<Cluster, ClusterError> {
        use std::os::unix::fs::PermissionsExt;
        let _alone = crate::engine::SPAWN.lock().unwrap_or_else(PoisonError::into_inner);
        let program = heard.with_extension("sh");
        let script = format!("#!/bin/sh\nprintf '%s\\n' {lines}\ncat > '{}'\n", heard.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let started = Cluster::start(program.clone().into(), []);
        std::fs::remove_file(program).unwrap();
        started
    }

    fn heard(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("testbed-cluster-{name}-{}", std::process::id()))
    }

    #[test]
    fn orders_are_lines_and_the_program_ends_when_there_are_no_more() {
        let file = heard("orders");
        let lines = r#"'{"place":"here"}' '{"objects":["v1/Pod/a"]}' '"done"'"#;
        let cluster = cluster_that_says(lines, &file).unwrap();
        let faults = cluster.inject(&Manifests::yaml("kind: Pod"));
        assert_eq!(faults.objects()[0].name, "a");
        drop(faults);
        drop(cluster);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let orders: Vec<Order> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [Order::Inject { .. }, Order::Delete { objects, .. }] = orders.as_slice() else {
            panic!("an injection and its end, nothing else: {text}");
        };
        assert_eq!(String::from(objects[0].clone()), "v1/Pod/a");
    }

    #[test]
    fn a_refusal_is_an_error_with_the_clusters_words() {
        let file = heard("refused");
        let lines = r#"'{"place":"here"}' '{"refused":{"why":"no engine is ready","log":["a"]}}'"#;
        let cluster = cluster_that_says(lines, &file).unwrap();
        let error = cluster.try_ready("Deployment/engine", Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "no engine is ready");
        drop(cluster);
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    #[should_panic(expected = "saw not yet implemented: task 2.5, at src/exchange.rs:7:5")]
    fn a_pod_that_panicked_fails_the_check_that_gives_it_up() {
        let pods = r#"'{"place":"here"}' '{"pods":[{"name":"a","uid":"u","ip":null,"node":null,"labels":{},"phase":"Running","ready":false,"ending":false,"restarts":1}]}'"#;
        let log = r#"'{"lines":["thread main panicked at src/exchange.rs:7:5:","not yet implemented: task 2.5"]}'"#;
        let cluster = cluster_that_says(&format!("{pods} {log}"), &heard("panicked")).unwrap();
        cluster.give_up("app=a", "it does not answer");
    }

    #[test]
    fn a_log_is_told_while_a_check_fails_whatever_the_cluster_says() {
        let pods = r#"'{"pods":[{"name":"a","uid":"u","ip":null,"node":null,"labels":{},"phase":"Running","ready":true,"ending":false,"restarts":0}]}'"#;
        let well = r#"'{"lines":["listening"]}'"#;
        let ill = r#"'{"lines":["thread main panicked at src/exchange.rs:7:5:","no"]}'"#;
        let refused = r#"'{"refused":{"why":"gone","log":[]}}'"#;
        let lines = format!(r#"'{{"place":"here"}}' {pods} {well} {pods} {ill} {refused}"#);
        let file = heard("told");
        let cluster = cluster_that_says(&lines, &file).unwrap();
        let told: Vec<bool> = (0..3).map(|_| cluster.tell_logs("app=a")).collect();
        assert_eq!(told, [false, true, false]);
        drop(cluster);
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_or_ends_at_once_is_named() {
        let nowhere = Cluster::start(OsStr::new("/nowhere/bed").to_owned(), []).err().unwrap();
        assert!(nowhere.to_string().starts_with("cannot start /nowhere/bed"), "{nowhere}");
        let ended = Cluster::start(OsStr::new("/bin/true").to_owned(), []).err().unwrap();
        assert!(ended.to_string().contains("ended"), "{ended}");
    }
}
