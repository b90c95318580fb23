//! Which cluster is meant: what stands after `--on`.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// Which cluster is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Target {
    /// The course's own, in one process of this machine.
    #[default]
    Embedded,
    /// A Kubernetes on this machine, by Docker and kind.
    Kind,
    /// A context of the user's kubeconfig.
    Context(String),
}

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "embedded" => Self::Embedded,
            "kind" => Self::Kind,
            context => Self::Context(context.to_owned()),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Kind => "kind",
            Self::Context(context) => context,
        })
    }
}
