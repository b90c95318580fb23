//! A namespace for one user of a cluster, and what becomes of it when that user is gone, however it went.
//!
//! A session is whoever starts checks: one run of `cargo xtask lab`. Each program that it starts has a namespace of its own, so
//! that what one leaves is in nobody's way. All of a session are found again by a label, and deleted with all that is in them.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{ClusterError, Provider};

/// The label by which all that a session has made is found again.
pub const SESSION_LABEL: &str = "llm-lab/session";
/// How long to wait for a new namespace's service account: pods are refused before.
const ACCOUNT_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(20);

/// A namespace of one's own.
#[derive(Clone)]
pub struct Session {
    client: Client,
    namespace: String,
}

impl Session {
    /// Makes a namespace for this process.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn open(client: Client, session: &str) -> Result<Self, ClusterError> {
        let namespace = format!("{session}-{}", std::process::id());
        let object = serde_json::from_value(json!({
            "metadata": { "name": namespace, "labels": { SESSION_LABEL: session } },
        }));
        let object: Namespace = object.map_err(kube::Error::SerdeError)?;
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
        let session = Self { client, namespace };
        let accounts: Api<ServiceAccount> = session.api();
        let deadline = Instant::now() + ACCOUNT_LIMIT;
        while accounts.get_opt("default").await?.is_none() && Instant::now() < deadline {
            sleep(POLL).await;
        }
        Ok(session)
    }

    /// Its name, which no other session's begins with.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What images of this session are called: nobody else's pods get them by mistake.
    #[must_use]
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    /// A client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The objects of a kind in it.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Deletes it with all that is in it. Pods go at once, everything else in the background.
    ///
    /// # Errors
    /// What the cluster says.
    pub async fn close(&self) -> Result<(), ClusterError> {
        delete(&self.client, &self.namespace).await
    }
}

/// Deletes what a session has left, and forgets its images. With `dead`, also what other sessions of this machine have left
/// whose process is gone. Returns how many namespaces there were.
///
/// # Errors
/// What the cluster says.
pub async fn sweep(
    client: &Client,
    provider: &dyn Provider,
    session: &str,
    dead: bool,
) -> Result<usize, ClusterError> {
    let labelled = ListParams::default().labels(SESSION_LABEL);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut count = 0;
    for one in namespaces.list_metadata(&labelled).await?.items {
        let of = one.labels().get(SESSION_LABEL).map_or("", String::as_str);
        if of == session || (dead && is_dead(of)) {
            delete(client, &one.name_any()).await?;
            provider.forget(&one.name_any())?;
            count += 1;
        }
    }
    Ok(count)
}

async fn delete(client: &Client, namespace: &str) -> Result<(), ClusterError> {
    let found = |result: Result<(), kube::Error>| match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    found(namespaces.delete(namespace, &DeleteParams::default()).await.map(drop))?;
    // Nothing new is made in a namespace that ends; what is there need not end by itself.
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let at_once = DeleteParams::default().grace_period(0);
    found(pods.delete_collection(&at_once, &ListParams::default()).await.map(drop))?;
    Ok(())
}

/// Whether a session's process, whose id its name ends with, is gone.
fn is_dead(session: &str) -> bool {
    let id = session.rsplit_once('-').and_then(|(_, id)| id.parse::<i32>().ok());
    id.is_some_and(|id| {
        let asked = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), None);
        asked == Err(nix::errno::Errno::ESRCH)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_dead_when_its_process_is() {
        assert!(!is_dead(&format!("xtask-{}", std::process::id())));
        assert!(is_dead("xtask-2147483647"));
        assert!(!is_dead("somebody"), "no process is named: it may live elsewhere");
    }
}
