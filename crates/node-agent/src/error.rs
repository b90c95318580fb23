//! What the agent refuses, and why.

/// Why the agent cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No such pod on these nodes.
    #[error("pod {0:?} is not on a node of this cluster")]
    NoPod(String),
    /// No such container in the pod, or none was named and there are several.
    #[error("{0}")]
    NoContainer(String),
    /// The container has no process to talk to.
    #[error("container {container:?} in pod {pod:?} is not running: {state}")]
    NotRunning {
        /// The pod's name.
        pod: String,
        /// The container's name.
        container: String,
        /// Why it is not.
        state: String,
    },
    /// No such node.
    #[error("node {0:?} is not one of this cluster's")]
    NoNode(String),
    /// What was asked makes no sense here.
    #[error("{0}")]
    Invalid(String),
    /// The embedded cluster does not do that.
    #[error("the embedded cluster does not support {0}")]
    NotSupported(String),
    /// The store refused.
    #[error(transparent)]
    Refused(#[from] apimachinery::Status),
    /// This machine refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        source: std::io::Error,
    },
}

impl AgentError {
    /// This machine refused something.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
