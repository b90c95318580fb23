//! The learner's router behind an HTTPRoute of the cluster: its weights move under streams.

use serde_json::{Value, json};
use testbed::{Manifests, expect, expect_eq, note, unknown};

use super::clients::Load;
use super::place::{LIMIT, Place, within};
use super::router::Router;
use super::{CLIENTS, complete, expect_all, tell};

/// Streams after which whoever still routes by the old weights has not heard of the new ones. One takes a part of a second, and the news
/// a few hundredths.
const STREAMS: usize = 300;
/// The two versions, by their labels.
const STABLE: &str = "app=engine,tier=first";
const CANARY: &str = "app=engine,tier=second";

// === impl Place ===

impl Place {
    /// The route and the pools of `deploy/gateway`, over the engines of this place.
    fn apply_route(&self, stable: u32, canary: u32) {
        let tier = |tier: &str| json!({ "app": "engine", "tier": tier });
        self.apply_pool("engine-stable", &tier("first"));
        self.apply_pool("engine-canary", &tier("second"));
        let weight = |of: usize| format!("/spec/rules/1/backendRefs/{of}/weight");
        let route = Manifests::deploy("gateway/route.yaml")
            .set("HTTPRoute/engine", &weight(0), stable)
            .set("HTTPRoute/engine", &weight(1), canary);
        self.apply_custom(&route);
    }

    /// A pool of `deploy/gateway`, over the pods of this place that have these labels.
    pub(super) fn apply_pool(&self, name: &str, labels: &Value) {
        let pool = format!("InferencePool/{name}");
        let pools = Manifests::deploy("gateway/pools.yaml").only(&pool);
        self.apply_custom(&pools.set(&pool, "/spec/selector/matchLabels", labels.clone()));
    }

    /// Objects of a kind that not every cluster serves.
    fn apply_custom(&self, manifests: &Manifests) {
        if let Err(error) = self.cluster.try_apply(manifests) {
            unknown(format!(
                "{error}; the cluster must serve HTTPRoutes and InferencePools. One of the course's that came up before it did: \
                 `cargo xtask cluster down`, and again"
            ));
        }
    }

    /// Requests that engines with these labels have answered.
    fn answered_by(&self, selector: &str) -> f64 {
        let pods = self.cluster.pods(selector);
        pods.iter().map(|pod| self.figure(pod, "vllm:request_success_total")).sum()
    }
}

/// Whether something comes true while the clients read so many more streams.
fn while_streams(router: Router<'_>, load: &Load<'_>, mut holds: impl FnMut() -> bool) -> bool {
    let last = load.count() + STREAMS;
    let mut held = false;
    let over = within(LIMIT, || {
        held = holds();
        held || load.count() > last
    });
    if !over {
        router.give_up("the clients read too few streams for a verdict");
    }
    held
}

#[test]
#[ignore = "live: run by cargo xtask lab 2"]
fn task_2_6_weights_of_a_route_move_under_streams_and_no_request_is_lost() {
    let place = Place::with_engines(1);
    place.start_canary_engine();
    place.apply_route(1, 0);
    let router = place.start_router_of_route(2);
    let [stable, canary] = [STABLE, CANARY].map(|labels| {
        let place = &place;
        move || place.answered_by(labels)
    });
    let load = Load::start(router, CLIENTS);
    load.wait_for_more(2 * CLIENTS);
    expect_eq("requests of the canary, whose weight is 0", 0.0, canary());

    place.apply_route(1, 1);
    let came = while_streams(router, &load, || canary() > 0.0);
    expect("requests of the canary, whose weight is 1 now", came, "some", "none");

    place.apply_route(0, 1);
    let left = while_streams(router, &load, || {
        let before = stable();
        load.wait_for_more(2 * CLIENTS);
        stable() == before
    });
    expect("requests of the stable version, whose weight is 0 now", left, "none", "some");
    note(format!("{} requests to the stable version, {} to the canary", stable(), canary()));
    let endings = load.stop();
    tell("a route's weights went from all to one to all to the other", &endings);
    expect_all(&endings, complete, "all complete");
}
