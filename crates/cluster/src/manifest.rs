//! A lab's manifest, turned into the Deployment of one run.

use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;

use crate::workload::{RUN_LABEL, SESSION_LABEL};

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("{path}: {cause}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is no Deployment with one container.
    #[error("{path}: {why}", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
}

/// What one run changes in a lab's Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Its name, and the label of its pods.
    pub name: String,
    /// What started it: all runs of a session can be taken away together.
    pub session: String,
    /// The image.
    pub image: String,
    /// The engine's arguments, instead of the manifest's.
    pub args: Vec<String>,
}

impl Run {
    /// The first Deployment of a manifest, changed for this run.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn of(&self, path: &Path) -> Result<Deployment, ManifestError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ManifestError::Read { path: path.to_owned(), cause })?;
        let content = |why: String| ManifestError::Content { path: path.to_owned(), why };
        let mut deployment = None;
        for document in text.split("\n---") {
            let value: serde_json::Value =
                serde_saphyr::from_str(document).map_err(|error| content(error.to_string()))?;
            if value["kind"] == "Deployment" {
                let parsed = serde_json::from_value(value);
                deployment = Some(parsed.map_err(|error| content(error.to_string()))?);
                break;
            }
        }
        let deployment = deployment.ok_or_else(|| content("it has no Deployment".to_owned()))?;
        self.change(deployment).ok_or_else(|| content("its Deployment has no container".to_owned()))
    }

    fn change(&self, mut deployment: Deployment) -> Option<Deployment> {
        let label = || (RUN_LABEL.to_owned(), self.name.clone());
        let session = (SESSION_LABEL.to_owned(), self.session.clone());
        deployment.metadata.name = Some(self.name.clone());
        deployment.metadata.labels.get_or_insert_default().extend([label(), session]);
        let spec = deployment.spec.as_mut()?;
        spec.replicas = Some(1);
        spec.selector.match_labels.get_or_insert_default().extend([label()]);
        let template = &mut spec.template;
        template.metadata.get_or_insert_default().labels.get_or_insert_default().extend([label()]);
        let container = template.spec.as_mut()?.containers.first_mut()?;
        container.image = Some(self.image.clone());
        container.args = Some(self.args.clone());
        Some(deployment)
    }
}
