//! What brings a cluster up and takes it down. A provider yields a kubeconfig, and nothing else differs.

mod context;
mod embedded;
mod kind;

use std::path::Path;

use crate::{Access, ClusterError, Paths, Target};

/// Whether a cluster is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is, or should be: this is how to reach it.
    Up(Access),
    /// It is not, for this reason.
    Down(String),
}

/// What a machine lacks for a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What.
    pub what: String,
    /// The command or page that mends it.
    pub mend: String,
}

/// What brings a cluster up and takes it down.
pub trait Provider {
    /// What this machine lacks for it; empty: nothing.
    fn lacks(&self) -> Vec<Lack>;

    /// Brings it up and waits until it answers. One that is up stays as it is.
    ///
    /// # Errors
    /// [`ClusterError`]: what was in the way.
    fn up(&self) -> Result<Access, ClusterError>;

    /// Takes it down, and all that runs on it. `forget`: its objects and volumes go, too.
    ///
    /// # Errors
    /// [`ClusterError`]: what was in the way.
    fn down(&self, forget: bool) -> Result<(), ClusterError>;

    /// Whether it is there.
    ///
    /// # Errors
    /// [`ClusterError`]: why nobody can tell.
    fn state(&self) -> Result<State, ClusterError>;

    /// Makes a program of this machine runnable as an image.
    ///
    /// # Errors
    /// [`ClusterError`]: what was in the way.
    fn load(&self, image: &str, program: &Path) -> Result<(), ClusterError>;

    /// Forgets the images that were loaded under a prefix, like `xtask-7-9` of `xtask-7-9/llm-lab/engine`. Where nobody can, they
    /// stay until the cluster goes.
    ///
    /// # Errors
    /// [`ClusterError`]: what was in the way.
    fn forget(&self, prefix: &str) -> Result<(), ClusterError> {
        let _they_stay = prefix;
        Ok(())
    }
}

/// The provider of a target.
#[must_use]
pub fn provider(target: &Target, paths: &Paths) -> Box<dyn Provider> {
    match target {
        Target::Embedded => Box::new(embedded::Embedded::new(paths.clone())),
        Target::Kind => Box::new(kind::Kind::new(paths.clone())),
        Target::Context(name) => Box::new(context::Context::new(name.clone())),
    }
}
