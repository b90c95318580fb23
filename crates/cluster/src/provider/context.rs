//! A cluster of the user's: used, never started or stopped.

use std::path::Path;

use kube::config::Kubeconfig;

use super::{Lack, Provider, State};
use crate::{Access, ClusterError};

/// A context of the user's kubeconfig.
pub(super) struct Context {
    name: String,
}

impl Context {
    pub(super) fn new(name: String) -> Self {
        Self { name }
    }

    fn access(&self) -> Result<Access, ClusterError> {
        let kubeconfig = Kubeconfig::read()?;
        let mut known: Vec<String> =
            kubeconfig.contexts.into_iter().map(|context| context.name).collect();
        if known.contains(&self.name) {
            return Ok(Access { kubeconfig: None, context: Some(self.name.clone()) });
        }
        known.extend(["embedded", "kind"].map(|ours| format!("{ours} (the course's own)")));
        Err(ClusterError::NoContext { name: self.name.clone(), known: known.join(", ") })
    }
}

// === impl Provider for Context ===

impl Provider for Context {
    fn lacks(&self) -> Vec<Lack> {
        match self.access() {
            Ok(_) => Vec::new(),
            Err(error) => {
                let mend = "kubectl config get-contexts".to_owned();
                vec![Lack { what: error.to_string(), mend }]
            }
        }
    }

    fn up(&self) -> Result<Access, ClusterError> {
        self.access()
    }

    fn down(&self, _forget: bool) -> Result<(), ClusterError> {
        Err(ClusterError::NotOurs(self.name.clone()))
    }

    fn state(&self) -> Result<State, ClusterError> {
        self.access().map(State::Up)
    }

    fn load(&self, image: &str, _program: &Path) -> Result<(), ClusterError> {
        let mend = format!(
            "build it with clusters/images, push it to a registry that {} pulls from, and name it in the overlay",
            self.name
        );
        Err(ClusterError::Missing { program: image.to_owned(), mend })
    }
}
