//! Chaos Mesh's faults, made by the node agent: in the relays before pods, and on pods' processes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use apimachinery::Key;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chaos::api::{HttpPatch, HttpReplace, HttpTarget};
use chaos::fault::{Fault, HttpFault, LinkEffect, LinkFault, Peers, StressFault};
use chaos::go::Size;
use chaos::{Attempt, InjectError, Injection, Injector};
use node_agent::net::faults::{
    Delay, Ends, HttpChange, HttpRule, HttpTarget as Half, LinkRule, Partition,
};
use node_agent::{AgentError, NodeAgent, Stress};
use tokio::task::JoinSet;

/// The node agent, as the chaos controller sees it.
pub(crate) struct Faults {
    agent: NodeAgent,
    /// What burns in pods, by the fault's id: it ends when its tasks are dropped.
    burning: Arc<Mutex<HashMap<String, JoinSet<()>>>>,
}

impl Faults {
    pub(crate) fn new(agent: NodeAgent) -> Self {
        Self { agent, burning: Arc::default() }
    }

    async fn make(&self, injection: &Injection) -> Result<(), InjectError> {
        let Injection { id, target, fault } = injection;
        let pod = Key::namespaced(target.namespace.clone(), target.pod.clone());
        match fault {
            // A deletion, and nothing: neither comes here.
            Fault::KillPod { .. } | Fault::FarEnd => Ok(()),
            Fault::FailPod => self.agent.pause(&pod).await.map_err(inject_error),
            Fault::KillContainer => {
                let killed = self.agent.kill(&pod, target.container.as_deref()).await;
                killed.map(drop).map_err(inject_error)
            }
            Fault::Link(fault) => {
                self.agent.faults().set(id, link_rules(id, &pod, fault)?, Vec::new());
                Ok(())
            }
            Fault::Http(fault) => {
                self.agent.faults().set(id, Vec::new(), vec![http_rule(id, &pod, fault)?]);
                Ok(())
            }
            Fault::Stress(fault) => self.burn(id, &pod, fault).await,
        }
    }

    async fn undo(&self, injection: &Injection) -> Result<(), InjectError> {
        let Injection { id, target, fault } = injection;
        match fault {
            Fault::FailPod => {
                let pod = Key::namespaced(target.namespace.clone(), target.pod.clone());
                self.agent.resume(&pod).await.map_err(inject_error)
            }
            Fault::Link(_) | Fault::Http(_) => {
                self.agent.faults().clear(id);
                Ok(())
            }
            Fault::Stress(_) => {
                self.burning.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
                Ok(())
            }
            Fault::KillPod { .. } | Fault::KillContainer | Fault::FarEnd => Ok(()),
        }
    }

    async fn burn(&self, id: &str, pod: &Key, fault: &StressFault) -> Result<(), InjectError> {
        if self.burning.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id) {
            return Ok(());
        }
        let mut burners = JoinSet::new();
        for stress in stresses(fault)? {
            burners.spawn(self.agent.stress(pod, stress).await.map_err(inject_error)?);
        }
        self.burning.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), burners);
        Ok(())
    }
}

impl Injector for Faults {
    fn inject<'a>(&'a self, injection: &'a Injection) -> Attempt<'a> {
        Box::pin(self.make(injection))
    }

    fn recover<'a>(&'a self, injection: &'a Injection) -> Attempt<'a> {
        Box::pin(self.undo(injection))
    }
}

fn inject_error(error: AgentError) -> InjectError {
    match error {
        AgentError::NoPod(pod) => InjectError::Gone(pod),
        AgentError::NotSupported(what) => InjectError::Unsupported(what),
        AgentError::NoContainer(_) | AgentError::Invalid(_) => {
            InjectError::Invalid(error.to_string())
        }
        other => InjectError::Failed(other.to_string()),
    }
}

/// A fault of a pod's links: a rule for each direction that is hit.
fn link_rules(owner: &str, pod: &Key, fault: &LinkFault) -> Result<Vec<LinkRule>, InjectError> {
    let here = Ends::Pods([pod.clone()].into());
    let there = match &fault.peers {
        Peers::Everyone => Ends::Any,
        Peers::Pods(pods) => Ends::Pods(
            pods.iter().map(|(namespace, name)| Key::namespaced(namespace, name)).collect(),
        ),
    };
    let rule = |from: &Ends, to: &Ends| with_effect(owner, from.clone(), to.clone(), &fault.effect);
    let mut rules = Vec::new();
    if fault.outgoing {
        rules.push(rule(&here, &there)?);
    }
    if fault.incoming {
        rules.push(rule(&there, &here)?);
    }
    Ok(rules)
}

fn with_effect(
    owner: &str,
    from: Ends,
    to: Ends,
    effect: &LinkEffect,
) -> Result<LinkRule, InjectError> {
    let LinkEffect { partition, delay, loss, bandwidth } = effect;
    if bandwidth.as_ref().is_some_and(|bandwidth| bandwidth.rate < 1.0) {
        return Err(InjectError::Invalid("a rate below one byte a second".to_owned()));
    }
    Ok(LinkRule {
        owner: owner.to_owned(),
        from,
        to,
        delay: delay.map(|delay| Delay {
            latency: delay.latency,
            jitter: delay.jitter,
            correlation: delay.correlation,
        }),
        // A rate is far below what an integer of that size holds.
        bytes_per_second: bandwidth.as_ref().map(|bandwidth| bandwidth.rate as u64),
        partition: partition.then_some(Partition::Blackhole),
        reset: loss.map_or(0.0, |loss| loss.probability),
    })
}

fn http_rule(owner: &str, pod: &Key, fault: &HttpFault) -> Result<HttpRule, InjectError> {
    if !fault.filter.response_headers.is_empty() {
        return Err(InjectError::Unsupported("filtering by headers of the response".to_owned()));
    }
    Ok(HttpRule {
        owner: owner.to_owned(),
        to: Ends::Pods([pod.clone()].into()),
        port: fault.port,
        path: fault.filter.path.clone(),
        method: fault.filter.method.clone(),
        headers: pairs(&fault.filter.request_headers),
        code: fault.filter.code,
        target: match fault.target {
            HttpTarget::Request => Half::Request,
            HttpTarget::Response => Half::Response,
        },
        abort: fault.abort,
        delay: (!fault.delay.is_zero()).then_some(fault.delay),
        replace: fault.replace.as_ref().map_or_else(|| Ok(HttpChange::default()), replacing)?,
        patch: fault.patch.as_ref().map_or_else(|| Ok(HttpChange::default()), adding)?,
    })
}

fn replacing(replace: &HttpReplace) -> Result<HttpChange, InjectError> {
    let invalid = |what: &str| InjectError::Invalid(format!("replace.{what}"));
    let code = replace.code.map(u16::try_from).transpose();
    let body = replace.body.as_ref().map(|body| STANDARD.decode(body)).transpose();
    Ok(HttpChange {
        path: replace.path.clone(),
        method: replace.method.clone(),
        code: code.map_err(|_| invalid("code is no status"))?,
        headers: pairs(&replace.headers),
        queries: pairs(&replace.queries),
        body: body.map_err(|error| invalid(&format!("body is no base64: {error}")))?,
    })
}

fn adding(patch: &HttpPatch) -> Result<HttpChange, InjectError> {
    let both = |lists: &[Vec<String>]| -> Result<Vec<(String, String)>, InjectError> {
        let pair = |list: &Vec<String>| match list.as_slice() {
            [name, value] => Ok((name.clone(), value.clone())),
            other => Err(InjectError::Invalid(format!("{other:?} is no name and value"))),
        };
        lists.iter().map(pair).collect()
    };
    Ok(HttpChange {
        headers: both(&patch.headers)?,
        queries: both(&patch.queries)?,
        body: patch.body.as_ref().map(|body| body.value.clone().into_bytes()),
        ..HttpChange::default()
    })
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn stresses(fault: &StressFault) -> Result<Vec<Stress>, InjectError> {
    let mut all = Vec::new();
    if let Some((workers, load)) = fault.cpu {
        // Loads are fractions of one core.
        all.push(Stress::Cpu { workers, load: (load * 100.0).round() as u32 });
    }
    if let Some((workers, size)) = fault.memory {
        let Size::Bytes(bytes) = size else {
            let why = "memory as a part of what there is: a pod here has no memory of its own; name a size";
            return Err(InjectError::Unsupported(why.to_owned()));
        };
        all.push(Stress::Memory { workers, bytes });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaos::fault::LinkDelay;
    use std::time::Duration;

    #[test]
    fn a_fault_towards_some_pods_hits_that_direction_only() {
        let pod = Key::namespaced("default", "router");
        let effect = LinkEffect {
            delay: Some(LinkDelay {
                latency: Duration::from_millis(80),
                jitter: Duration::ZERO,
                correlation: 0.0,
            }),
            ..LinkEffect::default()
        };
        let peers = Peers::Pods(vec![("default".to_owned(), "engine".to_owned())]);
        let fault = LinkFault { peers, outgoing: true, incoming: false, effect };
        let rules = link_rules("x", &pod, &fault).unwrap();
        let [rule] = rules.as_slice() else { panic!("one direction, one rule: {rules:?}") };
        assert_eq!(rule.from, Ends::Pods([pod].into()));
        assert_eq!(rule.to, Ends::Pods([Key::namespaced("default", "engine")].into()));
        assert_eq!(rule.delay.map(|delay| delay.latency), Some(Duration::from_millis(80)));
        assert_eq!(rule.partition, None);
    }

    #[test]
    fn what_cannot_be_made_is_refused_with_a_reason() {
        let stress = StressFault { cpu: None, memory: Some((1, Size::Fraction(0.5))) };
        assert!(matches!(stresses(&stress), Err(InjectError::Unsupported(_))));
    }
}
