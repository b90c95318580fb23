//! The seam to whoever makes faults on a node.

use std::future::Future;
use std::pin::Pin;

use crate::fault::{Fault, FaultError};

/// A fault for one target.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// What it is known by: the same for the recovery as for the injection, different for every experiment and target.
    pub id: String,
    /// Whom it hits.
    pub target: Target,
    /// How.
    pub fault: Fault,
}

/// Whom a fault hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container, where the fault hits one and not the pod.
    pub container: Option<String>,
}

/// Why a fault was not made, or not undone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// This executor cannot make it, now or later.
    #[error("not supported here: {0}. It needs Chaos Mesh on a real cluster")]
    Unsupported(String),
    /// The resource does not say what it needs to say.
    #[error("{0}")]
    Invalid(String),
    /// The target is gone. A fault of it counts as undone.
    #[error("{0} is gone")]
    Gone(String),
    /// It went wrong this time.
    #[error("{0}")]
    Failed(String),
}

impl InjectError {
    /// Whether another try may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl From<FaultError> for InjectError {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::Unsupported(what) => Self::Unsupported(what),
            FaultError::Invalid(_) | FaultError::Notation(_) => Self::Invalid(error.to_string()),
        }
    }
}

/// What an attempt gives, later.
pub type Attempt<'a> = Pin<Box<dyn Future<Output = Result<(), InjectError>> + Send + 'a>>;

/// Makes faults, and undoes them.
///
/// Both may be asked for more than once with the same [`Injection::id`], also after a restart of the one who asks: what is there
/// already is success, and so is what is gone already. [`Fault::KillPod`] and [`Fault::FarEnd`] never come here: the first is
/// a deletion, the second is nothing.
pub trait Injector: Send + Sync + 'static {
    /// Makes it.
    fn inject<'a>(&'a self, injection: &'a Injection) -> Attempt<'a>;

    /// Undoes it.
    fn recover<'a>(&'a self, injection: &'a Injection) -> Attempt<'a>;
}
