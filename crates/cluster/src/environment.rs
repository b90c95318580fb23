//! What the programs that stand between a check and a cluster are told by the grader, in their environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{Access, ClusterError, Paths, Provider, State, Target, provider};

/// What such a program is told.
///
/// | variable | what |
/// |---|---|
/// | `LAB_ON` | the cluster, as after `--on` |
/// | `LAB_ROOT` | the repository |
/// | `LAB_PROGRAMS` | where cargo puts the course's programs |
/// | `LAB_SESSION` | who starts it; `cluster sweep` takes away what a session leaves |
/// | `LAB_IMAGES` | programs behind image names, as a JSON object; those that are missing are the cluster's own |
/// | `LAB_DEPLOY` | the folder of the lab's manifests |
#[derive(Clone, Debug)]
pub struct Environment {
    /// The cluster.
    pub target: Target,
    /// The repository and its programs.
    pub paths: Paths,
    /// Who starts it.
    pub session: String,
    /// Programs behind image names.
    pub images: BTreeMap<String, PathBuf>,
    /// The folder of the lab's manifests.
    pub deploy: PathBuf,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// A variable is not there.
    #[error("{0} is not set: `cargo xtask lab` sets it")]
    NotSet(&'static str),
    /// The images are no JSON object.
    #[error("LAB_IMAGES: {0}")]
    Images(#[from] serde_json::Error),
}

impl Environment {
    /// Reads it.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn read() -> Result<Self, EnvironmentError> {
        let Ok(target) = variable("LAB_ON")?.parse();
        let images = std::env::var("LAB_IMAGES").unwrap_or_else(|_| "{}".to_owned());
        Ok(Self {
            target,
            paths: Paths {
                root: variable("LAB_ROOT")?.into(),
                programs: variable("LAB_PROGRAMS")?.into(),
            },
            session: variable("LAB_SESSION")?,
            images: serde_json::from_str(&images)?,
            deploy: variable("LAB_DEPLOY")?.into(),
        })
    }

    /// How to reach the cluster, which must be up.
    ///
    /// # Errors
    /// [`ClusterError::Down`], and why nobody can tell.
    pub fn access(&self) -> Result<(Box<dyn Provider>, Access), ClusterError> {
        let provider = provider(&self.target, &self.paths);
        match provider.state()? {
            State::Up(access) => Ok((provider, access)),
            State::Down(why) => Err(ClusterError::Down { name: self.target.to_string(), why }),
        }
    }
}

/// A variable that must be there.
///
/// # Errors
/// [`EnvironmentError::NotSet`].
pub fn variable(name: &'static str) -> Result<String, EnvironmentError> {
    std::env::var(name).map_err(|_| EnvironmentError::NotSet(name))
}

/// A check's home is an empty folder; kubeconfigs and what they run to log in need the user's. So a program starts itself
/// again with it, once. Returns only if it need not, or cannot.
pub fn go_home() -> Option<std::io::Error> {
    use std::os::unix::process::CommandExt;
    let given = ["HOME", "KUBECONFIG"].map(|name| (name, std::env::var_os(format!("LAB_{name}"))));
    if given.iter().all(|(_, value)| value.is_none()) {
        return None;
    }
    let mut again = std::process::Command::new(std::env::current_exe().ok()?);
    again.args(std::env::args_os().skip(1));
    for (name, value) in given {
        again.env_remove(format!("LAB_{name}"));
        if let Some(value) = value {
            again.env(name, value);
        }
    }
    Some(again.exec())
}
