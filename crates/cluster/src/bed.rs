//! What a check may ask of a cluster, done: plain `kube` code, the same on every cluster.
//!
//! One thing differs: where pods are processes of this machine, their own addresses are reached as they are. Elsewhere a port of
//! this machine leads there by the cluster's port-forward.

mod apply;
mod fault;
mod reach;
mod ready;

use std::collections::{BTreeMap, HashMap};

use cluster_orders::{End, Order, Refusal, Reply};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::json;

use crate::{
    Capabilities, ClusterError, Environment, Forward, ManifestError, Provider, Session, pod,
};

/// Lines of logs that come with a refusal.
const LOG_LINES: usize = 40;

/// A namespace of a cluster, in which somebody may give orders.
pub struct Bed {
    session: Session,
    provider: Box<dyn Provider>,
    environment: Environment,
    /// Pods are processes of this machine.
    embedded: bool,
    /// What images are called here.
    images: BTreeMap<String, String>,
    /// Kinds that have been asked for, by group, version and kind.
    kinds: HashMap<String, ApiResource>,
    forwards: HashMap<(End, u16), Forward>,
}

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum BedError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// What is to be applied.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The order makes no sense.
    #[error("{0}")]
    Order(String),
    /// What was waited for did not come. The pods are those that it is about.
    #[error("{why}")]
    NotSo {
        /// What did not come, and why.
        why: String,
        /// Names of pods.
        pods: Vec<String>,
    },
}

impl From<kube::Error> for BedError {
    fn from(error: kube::Error) -> Self {
        Self::Cluster(error.into())
    }
}

impl Bed {
    /// Makes the namespace, and the images that the environment names.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn make(environment: Environment) -> Result<Self, ClusterError> {
        let (provider, access) = environment.access()?;
        let client = access.client().await?;
        let embedded = Capabilities::ask(&client).await?.embedded;
        let session = Session::open(client, &environment.session).await?;
        let mut images = BTreeMap::new();
        for (name, program) in &environment.images {
            let here = session.image(name);
            provider.load(&here, program)?;
            images.insert(name.clone(), here);
        }
        let (kinds, forwards) = (HashMap::new(), HashMap::new());
        Ok(Self { session, provider, environment, embedded, images, kinds, forwards })
    }

    /// Takes away everything.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn close(self) -> Result<(), ClusterError> {
        self.session.close().await?;
        self.provider.forget(self.session.namespace())
    }

    /// Carries an order out, and says how it went.
    pub async fn obey(&mut self, order: Order) -> Reply {
        match self.carry_out(order).await {
            Ok(reply) => reply,
            Err(error) => {
                let log = match &error {
                    BedError::NotSo { pods, .. } => {
                        pod::last_log(&self.session.api(), pods, LOG_LINES).await
                    }
                    _ => Vec::new(),
                };
                Reply::Refused(Refusal { why: error.to_string(), log })
            }
        }
    }

    /// Carries an order out.
    ///
    /// # Errors
    /// [`BedError`].
    pub async fn carry_out(&mut self, order: Order) -> Result<Reply, BedError> {
        match order {
            Order::Apply { manifests } => self.apply(&manifests).await.map(Reply::Objects),
            Order::Ready { object, limit } => {
                self.ready(&object, limit).await.map(|()| Reply::Done)
            }
            Order::Pods { selector } => {
                let labelled = ListParams::default().labels(&selector);
                let pods = self.session.api::<Pod>().list(&labelled).await?.items;
                Ok(Reply::Pods(pods.iter().map(pod::seen).collect()))
            }
            Order::Reach { end, port } => self.reach(&end, port).await.map(Reply::Address),
            Order::Scale { object, replicas } => {
                let api = self.api_of(&object).await?;
                let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
                api.patch(&object.name, &PatchParams::default(), &patch).await?;
                Ok(Reply::Done)
            }
            Order::Annotate { pod, annotations } => {
                let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
                self.session.api::<Pod>().patch(&pod, &PatchParams::default(), &patch).await?;
                Ok(Reply::Done)
            }
            Order::Log { pod, lines } => {
                let pods = [pod];
                Ok(Reply::Lines(pod::last_log(&self.session.api(), &pods, lines).await))
            }
            Order::Inject { manifests, limit } => {
                self.inject(&manifests, limit).await.map(Reply::Objects)
            }
            Order::Delete { objects, limit } => {
                self.delete(&objects, limit).await.map(|()| Reply::Done)
            }
        }
    }

    /// The session that it is in.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }
}
