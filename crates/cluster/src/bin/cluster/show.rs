//! What people read.

use std::fmt;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use cluster::{Access, Capabilities, Lack, Target};
use serde_json::{Value, json};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const STRONG: Style = Style::new().bold();

/// A cluster that came up.
pub(crate) struct Up<'a> {
    pub(crate) target: &'a Target,
    pub(crate) access: &'a Access,
    pub(crate) capabilities: &'a Capabilities,
    pub(crate) took: Duration,
    pub(crate) was_up: bool,
}

/// A cluster that is up.
pub(crate) struct Status<'a> {
    pub(crate) target: &'a Target,
    pub(crate) access: &'a Access,
    pub(crate) capabilities: &'a Capabilities,
}

/// What a machine lacks.
pub(crate) struct Lacks<'a> {
    pub(crate) target: &'a Target,
    pub(crate) lacks: &'a [Lack],
}

impl Up<'_> {
    pub(crate) fn json(&self) -> Value {
        let Self { target, access, capabilities, took, was_up } = *self;
        let mut all = Status { target, access, capabilities }.json();
        all["took_ms"] = json!(took.as_secs_f64() * 1e3);
        all["was_up"] = json!(was_up);
        all
    }
}

impl Status<'_> {
    pub(crate) fn json(&self) -> Value {
        json!({
            "on": self.target.to_string(),
            "up": true,
            "kubeconfig": self.access.kubeconfig,
            "context": self.access.context,
            "capabilities": self.capabilities,
        })
    }
}

impl fmt::Display for Up<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, access, capabilities, took, .. } = *self;
        let seconds = took.as_secs_f64();
        let (version, nodes) = (&capabilities.version, nodes(capabilities));
        writeln!(
            f,
            "{GOOD}{target} is up{GOOD:#}: Kubernetes {version}, {nodes} ({seconds:.2} s)"
        )?;
        next(f, access)
    }
}

impl fmt::Display for Status<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, access, capabilities } = *self;
        let (version, nodes) = (&capabilities.version, nodes(capabilities));
        writeln!(f, "{GOOD}{target} is up{GOOD:#}: Kubernetes {version}, {nodes}")?;
        let faults = match (capabilities.chaos, capabilities.packet_faults) {
            (true, true) => "all of Chaos Mesh",
            (true, false) => "Chaos Mesh without single packets",
            (false, _) => "none: Chaos Mesh is not installed",
        };
        let yes = |there: bool| if there { "yes" } else { "no" };
        writeln!(f, "  faults        {faults}")?;
        writeln!(f, "  metrics       {}", yes(capabilities.metrics))?;
        writeln!(f, "  gateway API   {}", yes(capabilities.gateway_api))?;
        next(f, access)
    }
}

impl fmt::Display for Lacks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lacks.is_empty() {
            return writeln!(f, "nothing is missing for {}", self.target);
        }
        writeln!(f, "missing for {}:", self.target)?;
        for lack in self.lacks {
            writeln!(f, "  {STRONG}{}{STRONG:#}: {}", lack.what, lack.mend)?;
        }
        Ok(())
    }
}

fn nodes(capabilities: &Capabilities) -> String {
    let Capabilities { ready_nodes, nodes, gpus, .. } = capabilities;
    let ready = match (ready_nodes, nodes) {
        (1, 1) => "1 node".to_owned(),
        (ready, all) if ready == all => format!("{all} nodes"),
        (ready, all) => format!("{ready} of {all} nodes ready"),
    };
    match (gpus, capabilities.embedded) {
        (0, _) => ready,
        (gpus, true) => format!("{ready} that declare {gpus} GPUs"),
        (gpus, false) => format!("{ready} with {gpus} GPUs"),
    }
}

/// What to type next.
fn next(f: &mut fmt::Formatter<'_>, access: &Access) -> fmt::Result {
    if let Some(export) = access.export() {
        writeln!(f, "  {STRONG}{export}{STRONG:#}")?;
    }
    match &access.context {
        Some(context) => writeln!(f, "  {STRONG}kubectl --context {context} get nodes{STRONG:#}"),
        None => writeln!(f, "  {STRONG}kubectl get nodes{STRONG:#}"),
    }
}
