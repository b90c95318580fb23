//! How to reach a cluster, and where ours keep what is theirs.

use std::path::{Path, PathBuf};

use kube::Client;

use crate::ClusterError;

/// How to reach a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The kubeconfig's file; none: the user's own, as `kubectl` finds it.
    pub kubeconfig: Option<PathBuf>,
    /// Its context; none: the current one.
    pub context: Option<String>,
}

impl Access {
    /// A client of the cluster.
    ///
    /// # Errors
    /// [`ClusterError::Connect`] if the file cannot be used.
    pub async fn client(&self) -> Result<Client, ClusterError> {
        let (file, context) = (self.kubeconfig.as_deref(), self.context.as_deref());
        Ok(kube_connect::client(kube_connect::config(file, context).await?)?)
    }

    /// What a shell needs so that `kubectl` talks to this cluster; none if it does so already.
    #[must_use]
    pub fn export(&self) -> Option<String> {
        let path = self.kubeconfig.as_ref()?;
        Some(format!("export KUBECONFIG={}", shell_word(&path.display().to_string())))
    }
}

/// A word that a shell takes as it is.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) && !text.is_empty() {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Where clusters of this clone keep what is theirs, and where the course's files are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The repository.
    pub root: PathBuf,
    /// Where cargo puts programs: `target/debug`.
    pub programs: PathBuf,
}

impl Paths {
    /// The folder of one cluster's kubeconfig, state and log.
    #[must_use]
    pub fn state(&self, cluster: &str) -> PathBuf {
        self.root.join(".lab/cluster").join(cluster)
    }

    /// One of the course's programs.
    ///
    /// # Errors
    /// [`ClusterError::Missing`] if it has not been built.
    pub fn program(&self, name: &str) -> Result<PathBuf, ClusterError> {
        let path = self.programs.join(name);
        if Path::exists(&path) {
            return Ok(path);
        }
        let mend = format!("`cargo build -p {name}` builds it");
        Err(ClusterError::Missing { program: name.to_owned(), mend })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_spaces_survives_the_shell() {
        let access = |path: &str| Access { kubeconfig: Some(path.into()), context: None };
        assert_eq!(access("/a/b.c").export().unwrap(), "export KUBECONFIG=/a/b.c");
        assert_eq!(access("/my lab/k'c").export().unwrap(), r"export KUBECONFIG='/my lab/k'\''c'");
    }
}
