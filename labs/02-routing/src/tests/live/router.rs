//! The learner's router as a pod.

use std::net::SocketAddr;

use serde_json::Value;
use testbed::Manifests;

use super::clients::{get, post};
use super::place::{LIMIT, Place, address, metric, within};

/// Where it listens.
const PORT: u16 = 8080;
/// Routers, by their label.
pub(super) const ROUTERS: &str = "app.kubernetes.io/name=router";
/// Who is behind it.
const BY_SERVICE: &[&str] = &["--service=$(POD_NAMESPACE)/engine"];

/// A running router.
#[derive(Clone, Copy)]
pub(super) struct Router<'a> {
    place: &'a Place,
    pub(super) address: SocketAddr,
}

// === impl Place ===

impl Place {
    /// Starts the learner's router, and waits until it knows that so many engines are ready.
    pub(super) fn start_router(&self, policy: &str, more: &[&str], engines: u32) -> Router<'_> {
        self.apply_router(policy, &[BY_SERVICE, more].concat());
        self.cluster.ready("Deployment/router");
        self.router().wait_until_ready(engines)
    }

    /// Starts the learner's router behind the route `engine`, and waits until it knows that so many engines are ready.
    pub(super) fn start_router_of_route(&self, engines: u32) -> Router<'_> {
        self.apply_router("round-robin", &["--http-route=engine", "--namespace=$(POD_NAMESPACE)"]);
        self.cluster.ready("Deployment/router");
        self.router().wait_until_ready(engines)
    }

    /// Starts the learner's router, and waits until it answers, ready or not.
    pub(super) fn begin_router(&self, policy: &str, more: &[&str]) -> Router<'_> {
        self.apply_router(policy, &[BY_SERVICE, more].concat());
        let router = self.router();
        if !within(LIMIT, || get(router.address, "/health").is_some()) {
            router.give_up("the router does not answer");
        }
        router
    }

    fn apply_router(&self, policy: &str, more: &[&str]) {
        self.apply_identity();
        let policy = format!("--policy={policy}");
        let mut args = vec![
            "--host=$(POD_IP)",
            "--port=8080",
            "--drain-timeout=5s",
            "--watch-every=200ms",
            &policy,
        ];
        args.extend(more);
        let (router, pod) = ("Deployment/router", "/spec/template/spec");
        let container = format!("{pod}/containers/0");
        let manifests = Manifests::deploy("router/router.yaml")
            .args(router, args)
            .set(router, "/spec/replicas", 1)
            .set(router, &format!("{pod}/terminationGracePeriodSeconds"), 5)
            .set(router, &format!("{container}/lifecycle"), Value::Null)
            .set(router, &format!("{container}/readinessProbe/periodSeconds"), 1);
        self.cluster.apply(&manifests);
    }

    /// The router's pod, once it has an address.
    fn router(&self) -> Router<'_> {
        match self.running(ROUTERS) {
            Some(pod) => {
                let url = self.cluster.pod_url(&pod.name, PORT);
                Router { place: self, address: address(&url) }
            }
            None => self.cluster.give_up(ROUTERS, "the router's pod did not start in time"),
        }
    }
}

// === impl Router ===

impl Router<'_> {
    /// Waits until it knows of so many engines that are ready, or more: who sees too many shall not be spared what follows.
    pub(super) fn wait_until_ready(self, engines: u32) -> Self {
        self.wait_until_seen(&format!("{engines} ready engines"), |seen| seen >= engines.into())
    }

    /// Waits until it knows of no more ready engines than so many.
    pub(super) fn wait_until_left(self, engines: u32) -> Self {
        let wanted = format!("no more than {engines} ready engines");
        self.wait_until_seen(&wanted, |seen| seen <= engines.into())
    }

    fn wait_until_seen(self, wanted: &str, right: impl Fn(f64) -> bool) -> Self {
        let mut seen = f64::NAN;
        let so = within(LIMIT, || {
            seen = self.metric("llm_router_endpoints_ready");
            right(seen)
        });
        if !so {
            self.give_up(&format!("the router should see {wanted}, and sees {seen}"));
        }
        self
    }

    /// Ends the check: as a failure if the router panicked, else without a verdict.
    pub(super) fn give_up(self, why: &str) -> ! {
        self.place.cluster.give_up(ROUTERS, why)
    }

    /// The status of its answer to this body.
    pub(super) fn post(self, body: &str) -> u16 {
        post(self.address, body)
            .unwrap_or_else(|| self.give_up("the router does not answer a request"))
    }

    /// The status of one of its pages.
    pub(super) fn get(self, path: &str) -> u16 {
        let page = get(self.address, path);
        page.map(|(status, _)| status)
            .unwrap_or_else(|| self.give_up(&format!("the router does not answer at {path}")))
    }

    /// A figure of its page, summed over its labels.
    pub(super) fn metric(self, name: &str) -> f64 {
        let mut figure = None;
        within(LIMIT, || {
            figure = metric(self.address, name);
            figure.is_some()
        });
        figure.unwrap_or_else(|| self.give_up(&format!("the router does not tell {name}")))
    }
}
