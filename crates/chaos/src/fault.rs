//! What a resource does to one target, resolved: notations read, far ends named.
//!
//! A fault that only a kernel can make (packets reordered, doubled or corrupted, failing files, wrong clocks) is refused here
//! with a reason. An executor gets what it may be able to do, and nothing that it would have to pretend.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::{
    Chaos, Direction, HTTPChaos, HttpPatch, HttpReplace, HttpTarget, IOChaos, NetworkChaos,
    NetworkChaosAction, PodChaos, PodChaosAction, Record, SELF, StressChaos, TARGET, TimeChaos,
};
use crate::go::{self, NotationError, Size};

/// Why no fault comes of a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No executor outside a kernel can make it.
    #[error("not supported here: {0}. It needs Chaos Mesh on a real cluster")]
    Unsupported(String),
    /// Two fields contradict each other, or one is missing.
    #[error("{0}")]
    Invalid(String),
    /// A field that cannot be read.
    #[error(transparent)]
    Notation(#[from] NotationError),
}

/// What happens to one target.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The pod is deleted.
    KillPod {
        /// Seconds it has to end by itself.
        grace_period: u32,
    },
    /// No container of the pod runs until the fault ends.
    FailPod,
    /// A container is killed; its restart policy applies.
    KillContainer,
    /// The pod's links are hit.
    Link(LinkFault),
    /// Requests to the pod, or its responses, are hit.
    Http(Box<HttpFault>),
    /// Something eats the container's CPU or memory.
    Stress(StressFault),
    /// Nothing of its own: the far end of a link, which is hit at its near end.
    FarEnd,
}

/// A fault of the links between a pod and its peers.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkFault {
    /// The other ends.
    pub peers: Peers,
    /// Whether what the pod sends to them is hit.
    pub outgoing: bool,
    /// Whether what they send to the pod is hit.
    pub incoming: bool,
    /// How it is hit.
    pub effect: LinkEffect,
}

/// The other ends of a pod's links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Everybody, also outside the cluster.
    Everyone,
    /// These pods, as (namespace, name).
    Pods(Vec<(String, String)>),
}

/// How a link is hit. Parts that are there act together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinkEffect {
    /// Nothing passes: connections are refused service until the fault ends.
    pub partition: bool,
    /// What passes comes late.
    pub delay: Option<LinkDelay>,
    /// Some is lost. An executor that sees streams, not packets, resets a connection instead.
    pub loss: Option<LinkLoss>,
    /// Only so much passes.
    pub bandwidth: Option<LinkBandwidth>,
}

/// How late things come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkDelay {
    /// By how much.
    pub latency: Duration,
    /// By how much that varies, both ways.
    pub jitter: Duration,
    /// How much one delay depends on the last one, from 0 to 1: next = correlation * last + (1 - correlation) * chance.
    pub correlation: f64,
}

/// How much is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkLoss {
    /// The part that is lost, from 0 to 1.
    pub probability: f64,
    /// How much one loss depends on the last one, from 0 to 1.
    pub correlation: f64,
}

/// How much passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkBandwidth {
    /// Bytes a second.
    pub rate: f64,
    /// Bytes that may pass at once.
    pub burst: u64,
}

/// A fault of a pod's HTTP exchanges.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpFault {
    /// The container port that serves them.
    pub port: u16,
    /// Which half of an exchange is hit.
    pub target: HttpTarget,
    /// Which exchanges are hit.
    pub filter: HttpFilter,
    /// Whether the connection is cut.
    pub abort: bool,
    /// How late that half comes.
    pub delay: Duration,
    /// Parts that are replaced.
    pub replace: Option<HttpReplace>,
    /// Parts that are added.
    pub patch: Option<HttpPatch>,
}

/// Which exchanges are hit: all conditions at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpFilter {
    /// The path, with `*` and `?` as wildcards.
    pub path: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// The response's status code.
    pub code: Option<u16>,
    /// Headers of the request.
    pub request_headers: BTreeMap<String, String>,
    /// Headers of the response.
    pub response_headers: BTreeMap<String, String>,
}

/// What eats a container's CPU or memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StressFault {
    /// Threads that burn CPU time, and which part of a core each.
    pub cpu: Option<(u32, f64)>,
    /// Workers that keep memory, and how much each.
    pub memory: Option<(u32, Size)>,
}

/// A resource of which executors can be asked to make a fault.
pub trait Faulty: Chaos {
    /// What it does to the target of this record, among all of its records.
    ///
    /// # Errors
    /// [`FaultError`].
    fn fault(&self, record: &Record, all: &[Record]) -> Result<Fault, FaultError>;
}

impl Faulty for PodChaos {
    fn fault(&self, _: &Record, _: &[Record]) -> Result<Fault, FaultError> {
        Ok(match self.spec.action {
            PodChaosAction::PodKill => {
                let seconds = self.spec.grace_period.unwrap_or(0);
                Fault::KillPod { grace_period: u32::try_from(seconds).unwrap_or(0) }
            }
            PodChaosAction::PodFailure => Fault::FailPod,
            PodChaosAction::ContainerKill => Fault::KillContainer,
        })
    }
}

impl Faulty for NetworkChaos {
    fn fault(&self, record: &Record, all: &[Record]) -> Result<Fault, FaultError> {
        let effect = link_effect(self)?;
        let spec = &self.spec;
        if !spec.external_targets.is_empty() {
            return Err(unsupported("targets outside the cluster"));
        }
        if spec.device.is_some() || spec.target_device.is_some() {
            return Err(unsupported("one of a pod's network devices alone"));
        }
        if record.selector_key == TARGET {
            return Ok(Fault::FarEnd);
        }
        let peers = match spec.target {
            None => Peers::Everyone,
            Some(_) => Peers::Pods(
                all.iter().filter(|far| far.selector_key == TARGET).filter_map(pod_of).collect(),
            ),
        };
        let direction = spec.direction;
        Ok(Fault::Link(LinkFault {
            peers,
            outgoing: matches!(direction, Direction::To | Direction::Both),
            incoming: matches!(direction, Direction::From | Direction::Both),
            effect,
        }))
    }
}

/// The pod that a record is about.
#[must_use]
pub fn pod_of(record: &Record) -> Option<(String, String)> {
    let mut parts = record.id.split('/');
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}

/// The container that a record is about, where it is about one.
#[must_use]
pub fn container_of(record: &Record) -> Option<String> {
    record.id.split('/').nth(2).map(ToOwned::to_owned)
}

fn link_effect(chaos: &NetworkChaos) -> Result<LinkEffect, FaultError> {
    use NetworkChaosAction as Action;
    let spec = &chaos.spec;
    let mut effect = LinkEffect::default();
    let netem = spec.action == Action::Netem;
    match spec.action {
        Action::Partition => effect.partition = true,
        Action::Duplicate => return Err(unsupported("packets that come twice")),
        Action::Corrupt => return Err(unsupported("packets with flipped bits")),
        Action::Delay if spec.delay.is_none() => return Err(missing("delay")),
        Action::Loss if spec.loss.is_none() => return Err(missing("loss")),
        Action::Bandwidth if spec.bandwidth.is_none() => return Err(missing("bandwidth")),
        Action::Netem if spec.duplicate.is_some() => {
            return Err(unsupported("packets that come twice"));
        }
        Action::Netem if spec.corrupt.is_some() => {
            return Err(unsupported("packets with flipped bits"));
        }
        _ => {}
    }
    if let Some(delay) = spec.delay.as_ref().filter(|_| netem || spec.action == Action::Delay) {
        if delay.reorder.is_some() {
            return Err(unsupported("packets that overtake others"));
        }
        effect.delay = Some(LinkDelay {
            latency: go::duration(&delay.latency)?,
            jitter: go::duration(delay.jitter.as_deref().unwrap_or("0"))?,
            correlation: go::fraction(delay.correlation.as_deref())?,
        });
    }
    if let Some(loss) = spec.loss.as_ref().filter(|_| netem || spec.action == Action::Loss) {
        effect.loss = Some(LinkLoss {
            probability: go::fraction(Some(&loss.loss))?,
            correlation: go::fraction(loss.correlation.as_deref())?,
        });
    }
    if let Some(rate) = spec.rate.as_ref().filter(|_| netem) {
        effect.bandwidth = Some(LinkBandwidth { rate: go::rate(&rate.rate)?, burst: 0 });
    }
    if let Some(bucket) = spec.bandwidth.as_ref().filter(|_| spec.action == Action::Bandwidth) {
        let burst = u64::from(bucket.buffer);
        effect.bandwidth = Some(LinkBandwidth { rate: go::rate(&bucket.rate)?, burst });
    }
    if effect == LinkEffect::default() {
        return Err(missing("delay, loss or rate"));
    }
    Ok(effect)
}

impl Faulty for HTTPChaos {
    fn fault(&self, _: &Record, _: &[Record]) -> Result<Fault, FaultError> {
        let spec = &self.spec;
        if spec.tls.is_some() {
            return Err(unsupported("requests inside TLS"));
        }
        let actions = &spec.actions;
        let port = spec.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        let port =
            port.ok_or_else(|| FaultError::Invalid("port must be from 1 to 65535".to_owned()))?;
        let delay = go::duration(actions.delay.as_deref().unwrap_or("0"))?;
        let abort = actions.abort.unwrap_or(false);
        let changes = actions.replace.is_some() || actions.patch.is_some();
        if !abort && delay.is_zero() && !changes {
            return Err(missing("abort, delay, replace or patch"));
        }
        let patch_kind = actions.patch.as_ref().and_then(|patch| patch.body.as_ref());
        if let Some(body) = patch_kind.filter(|body| !body.kind.eq_ignore_ascii_case("json")) {
            return Err(FaultError::Invalid(format!(
                "patch.body.type must be JSON, not {:?}",
                body.kind
            )));
        }
        Ok(Fault::Http(Box::new(HttpFault {
            port,
            target: spec.target,
            filter: HttpFilter {
                path: spec.path.clone().filter(|path| path != "*"),
                method: spec.method.clone(),
                code: spec.code.and_then(|code| u16::try_from(code).ok()),
                request_headers: spec.request_headers.clone(),
                response_headers: spec.response_headers.clone(),
            },
            abort,
            delay,
            replace: actions.replace.clone(),
            patch: actions.patch.clone(),
        })))
    }
}

impl Faulty for StressChaos {
    fn fault(&self, _: &Record, _: &[Record]) -> Result<Fault, FaultError> {
        if self.spec.stressng_stressors.as_ref().is_some_and(|text| !text.is_empty()) {
            return Err(unsupported("options of stress-ng"));
        }
        let stressors = self.spec.stressors.clone().unwrap_or_default();
        let extra = stressors.cpu.iter().flat_map(|cpu| &cpu.options);
        let extra = extra.chain(stressors.memory.iter().flat_map(|memory| &memory.options));
        if extra.count() > 0 {
            return Err(unsupported("options of stress-ng"));
        }
        let cpu = stressors.cpu.as_ref();
        let cpu = cpu.map(|cpu| (cpu.workers, f64::from(cpu.load.unwrap_or(100)) / 100.0));
        let memory = stressors.memory.as_ref().map(|memory| {
            let size = memory.size.as_deref().filter(|text| !text.is_empty());
            let size = size.map_or(Ok(Size::Fraction(1.0)), go::size)?;
            Ok::<_, NotationError>((memory.workers, size))
        });
        let memory = memory.transpose()?;
        if cpu.is_none() && memory.is_none() {
            return Err(missing("stressors.cpu or stressors.memory"));
        }
        Ok(Fault::Stress(StressFault { cpu, memory }))
    }
}

impl Faulty for IOChaos {
    fn fault(&self, _: &Record, _: &[Record]) -> Result<Fault, FaultError> {
        Err(unsupported("faults of a volume's files"))
    }
}

impl Faulty for TimeChaos {
    fn fault(&self, _: &Record, _: &[Record]) -> Result<Fault, FaultError> {
        Err(unsupported("a clock that differs from the machine's"))
    }
}

fn unsupported(what: &str) -> FaultError {
    FaultError::Unsupported(what.to_owned())
}

fn missing(what: &str) -> FaultError {
    FaultError::Invalid(format!("the action needs {what}"))
}

/// Whether this record's target is where a fault is made.
#[must_use]
pub fn is_near_end(record: &Record) -> bool {
    record.selector_key == SELF
}

#[cfg(test)]
mod tests;
