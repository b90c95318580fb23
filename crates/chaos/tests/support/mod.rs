//! A cluster for a test: the embedded API server in this process, without nodes and controllers, or the one that
//! `CHAOS_TEST_KUBECONFIG` names. Pods are objects here, and faults are notes of who asked for them.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part, and a test that cannot go on fails"
)]

use std::fmt::Debug;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api_server::{Certificates, Config, NoNodes};
use chaos::{Attempt, InjectError, Injection, Injector};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use object_store::Store;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const TOKEN: &str = "the token of a test";
/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What was asked of an executor.
#[derive(Default)]
pub struct Notes {
    pub calls: Mutex<Vec<(&'static str, Injection)>>,
    pub broken: AtomicBool,
}

impl Notes {
    fn call<'a>(&'a self, what: &'static str, injection: &'a Injection) -> Attempt<'a> {
        Box::pin(async move {
            if self.broken.load(Ordering::SeqCst) {
                return Err(InjectError::Failed("the node does not answer".to_owned()));
            }
            self.calls.lock().unwrap().push((what, injection.clone()));
            Ok(())
        })
    }

    /// The calls for targets of one namespace, as `inject pod`.
    pub fn of(&self, namespace: &str) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        let ours = calls.iter().filter(|(_, call)| call.target.namespace == namespace);
        ours.map(|(what, call)| format!("{what} {}", call.target.pod)).collect()
    }
}

impl Injector for Notes {
    fn inject<'a>(&'a self, injection: &'a Injection) -> Attempt<'a> {
        self.call("inject", injection)
    }

    fn recover<'a>(&'a self, injection: &'a Injection) -> Attempt<'a> {
        self.call("recover", injection)
    }
}

/// A cluster with a controller, and a namespace of its own.
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
    pub notes: Arc<Notes>,
    _stop: oneshot::Sender<()>,
}

impl Cluster {
    /// One where the controller runs.
    pub async fn start() -> Self {
        let client = match std::env::var("CHAOS_TEST_KUBECONFIG") {
            Ok(path) => {
                let config = kube_connect::config(Some(path.as_ref()), None).await.unwrap();
                kube_connect::client(config).unwrap()
            }
            Err(_) => embedded().await,
        };
        define(&client).await;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let namespace = format!("chaos-{}-{number}", std::process::id());
        let api: Api<Namespace> = Api::all(client.clone());
        let object = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
        let notes = Arc::new(Notes::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        tokio::spawn(chaos::controller::run_anywhere(client.clone(), notes.clone(), shutdown));
        Self { client, namespace, notes, _stop: stop }
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes an object of JSON.
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// A pod that is said to be ready.
    pub async fn pod(&self, name: &str) {
        let containers = json!([{ "name": "engine", "image": "engine" }]);
        let labels = json!({ "app": "engine" });
        let spec = json!({ "containers": containers, "nodeName": "nowhere", "terminationGracePeriodSeconds": 0 });
        let pod: Pod = self
            .create(json!({ "metadata": { "name": name, "labels": labels }, "spec": spec }))
            .await;
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        let status = json!({ "status": { "phase": "Running", "conditions": ready } });
        let patch = Patch::Merge(status);
        let params = PatchParams::default();
        self.api::<Pod>().patch_status(&pod.name_any(), &params, &patch).await.unwrap();
    }

    /// A Deployment to which such pods belong, as far as selectors go. Nobody acts on it here: it is paused.
    pub async fn deployment(&self, replicas: u32) {
        let labels = json!({ "app": "engine" });
        let containers = json!([{ "name": "engine", "image": "engine" }]);
        let _: Deployment = self
            .create(json!({
                "metadata": { "name": "engine" },
                "spec": {
                    "replicas": replicas, "paused": true, "selector": { "matchLabels": labels },
                    "template": { "metadata": { "labels": labels }, "spec": { "containers": containers } },
                },
            }))
            .await;
    }
}

/// The API server in this process. It ends with the test's runtime.
async fn embedded() -> Client {
    let store = Store::default();
    object_store::bootstrap(&store, std::net::Ipv4Addr::new(127, 96, 0, 1), 443).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let certificates = Certificates::generate(&[]).unwrap();
    let server = Config::new(TOKEN, certificates.clone());
    let forever = std::future::pending();
    tokio::spawn(api_server::serve(listener, store, server, Arc::new(NoNodes), forever));
    let server = format!("https://{address}").parse().unwrap();
    let config = kube_connect::by_token(server, &certificates.authority, TOKEN).unwrap();
    kube_connect::client(config).unwrap()
}

/// Makes the kinds known, and waits until they are.
async fn define(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in chaos::crds::all() {
        let params = PatchParams::apply("test").force();
        api.patch(&crd.name_any(), &params, &Patch::Apply(&crd)).await.unwrap();
        until("the kind is established", || async {
            let crd = api.get(&crd.name_any()).await.unwrap();
            let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
            conditions.iter().any(|each| each.type_ == "Established" && each.status == "True")
        })
        .await;
    }
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < LIMIT, "not within {} s: {what}", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
