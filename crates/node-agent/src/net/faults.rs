//! Faults of links between pods: rules that relays apply, changeable at any time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apimachinery::Key;
use tokio::sync::watch;

/// Some pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ends {
    /// Everybody, clients outside the cluster included.
    #[default]
    Any,
    /// These pods, by namespace and name.
    Pods(BTreeSet<Key>),
}

impl Ends {
    /// Whether a pod is meant; `None` is somebody who is no pod.
    #[must_use]
    pub fn includes(&self, pod: Option<&Key>) -> bool {
        match self {
            Self::Any => true,
            Self::Pods(pods) => pod.is_some_and(|pod| pods.contains(pod)),
        }
    }
}

/// What happens to bytes on their way from some pods to others, whoever opened the connection.
///
/// A fault in both directions is two rules.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinkRule {
    /// Whose rule it is; several rules may have one owner.
    pub owner: String,
    /// Who sends.
    pub from: Ends,
    /// Who receives.
    pub to: Ends,
    /// How much later bytes arrive.
    pub delay: Option<Delay>,
    /// How many bytes a second pass, on each connection.
    pub bytes_per_second: Option<u64>,
    /// Nothing passes.
    pub partition: Option<Partition>,
    /// The share of connections that are reset, 0 to 1: how a relay shows loss, as TCP would hide it.
    pub reset: f64,
}

/// How much later bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Delay {
    /// On average.
    pub latency: Duration,
    /// At most so much more or less, uniformly. Bytes keep their order.
    pub jitter: Duration,
    /// How much a delay resembles the one before, 0 to 1.
    pub correlation: f64,
}

/// How nothing passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// Connections are reset: new ones at once, existing ones now.
    Reset,
    /// Connections stay, and nothing passes, not even their end.
    Blackhole,
}

/// What happens to HTTP requests to some pods, or to their answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HttpRule {
    /// Whose rule it is.
    pub owner: String,
    /// The pods that serve.
    pub to: Ends,
    /// Their port.
    pub port: u16,
    /// Only this path; `*` stands for anything.
    pub path: Option<String>,
    /// Only this method.
    pub method: Option<String>,
    /// Only requests with these headers.
    pub headers: Vec<(String, String)>,
    /// Only answers with this status; for [`HttpTarget::Response`].
    pub code: Option<u16>,
    /// Whether the request or the answer is changed.
    pub target: HttpTarget,
    /// The connection is cut instead.
    pub abort: bool,
    /// It comes so much later.
    pub delay: Option<Duration>,
    /// Parts that are replaced.
    pub replace: HttpChange,
    /// Parts that are added.
    pub patch: HttpChange,
}

/// Which half of an exchange is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpTarget {
    /// The request, before the pod sees it.
    #[default]
    Request,
    /// The answer, before the client sees it.
    Response,
}

/// New parts of a request or an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HttpChange {
    /// The path; of requests, when replacing.
    pub path: Option<String>,
    /// The method; of requests, when replacing.
    pub method: Option<String>,
    /// The status; of answers, when replacing.
    pub code: Option<u16>,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Parameters of the query; of requests.
    pub queries: Vec<(String, String)>,
    /// The body. When added, it is merged as JSON (RFC 7396).
    pub body: Option<Vec<u8>>,
}

impl HttpChange {
    /// Whether it changes anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// All rules of one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// Of links.
    pub links: Vec<LinkRule>,
    /// Of HTTP.
    pub http: Vec<HttpRule>,
}

impl Rules {
    /// Whether any rule asks who the client of a pod is.
    #[must_use]
    pub fn ask_for_source(&self, server: &Key) -> bool {
        let named = |ends: &Ends| matches!(ends, Ends::Pods(_));
        self.links.iter().any(|rule| {
            named(&rule.from) && rule.to.includes(Some(server))
                || named(&rule.to) && rule.from.includes(Some(server))
        })
    }

    /// What holds for bytes from one to another.
    #[must_use]
    pub fn link(&self, from: Option<&Key>, to: Option<&Key>) -> Link {
        let mut link = Link::default();
        for rule in &self.links {
            if !rule.from.includes(from) || !rule.to.includes(to) {
                continue;
            }
            link.delays.extend(rule.delay);
            link.bytes_per_second = match (link.bytes_per_second, rule.bytes_per_second) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            link.partition = match (link.partition, rule.partition) {
                (Some(Partition::Reset), _) | (_, Some(Partition::Reset)) => Some(Partition::Reset),
                (one, other) => one.or(other),
            };
            link.passes *= 1.0 - rule.reset.clamp(0.0, 1.0);
        }
        link
    }

    /// Rules for requests to a pod's port.
    pub fn http_for<'a>(
        &'a self,
        server: &'a Key,
        port: u16,
    ) -> impl Iterator<Item = &'a HttpRule> {
        self.http.iter().filter(move |rule| rule.port == port && rule.to.includes(Some(server)))
    }
}

/// What holds for one direction of one connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Their sum delays.
    pub delays: Vec<Delay>,
    /// The least of all.
    pub bytes_per_second: Option<u64>,
    /// The strictest of all.
    pub partition: Option<Partition>,
    /// The share of connections that live.
    pub passes: f64,
}

impl Default for Link {
    fn default() -> Self {
        Self { delays: Vec::new(), bytes_per_second: None, partition: None, passes: 1.0 }
    }
}

impl Link {
    /// Whether bytes pass as if there were no rule.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.delays.is_empty() && self.bytes_per_second.is_none() && self.partition.is_none()
    }
}

/// The rules in force. Relays follow changes at once.
#[derive(Debug)]
pub struct Faults {
    rules: watch::Sender<Arc<Rules>>,
    change: Mutex<()>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { rules: watch::Sender::new(Arc::new(Rules::default())), change: Mutex::default() }
    }
}

impl Faults {
    /// Replaces all rules of one owner.
    pub fn set(&self, owner: &str, links: Vec<LinkRule>, http: Vec<HttpRule>) {
        let _one_at_a_time = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rules = Rules::clone(&self.rules.borrow());
        rules.links.retain(|rule| rule.owner != owner);
        rules.http.retain(|rule| rule.owner != owner);
        rules.links.extend(links.into_iter().map(|rule| LinkRule { owner: owner.into(), ..rule }));
        rules.http.extend(http.into_iter().map(|rule| HttpRule { owner: owner.into(), ..rule }));
        self.rules.send_if_modified(|now| {
            let differs = **now != rules;
            *now = Arc::new(rules);
            differs
        });
    }

    /// Removes all rules of one owner.
    pub fn clear(&self, owner: &str) {
        self.set(owner, Vec::new(), Vec::new());
    }

    /// The rules now.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.borrow())
    }

    /// Follows changes.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Rules>> {
        self.rules.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(names: &[&str]) -> Ends {
        Ends::Pods(names.iter().map(|name| Key::namespaced("default", *name)).collect())
    }

    #[test]
    fn rules_hold_for_their_direction_and_add_up() {
        let delay = |ms| Some(Delay { latency: Duration::from_millis(ms), ..Delay::default() });
        let rules = Rules {
            links: vec![
                LinkRule { from: pods(&["a"]), delay: delay(10), ..LinkRule::default() },
                LinkRule { to: pods(&["b"]), delay: delay(5), reset: 0.5, ..LinkRule::default() },
            ],
            http: Vec::new(),
        };
        let (a, b) = (Key::namespaced("default", "a"), Key::namespaced("default", "b"));
        let total = |from, to| -> Duration {
            rules.link(from, to).delays.iter().map(|delay| delay.latency).sum()
        };
        assert_eq!(total(Some(&a), Some(&b)), Duration::from_millis(15));
        assert_eq!(total(Some(&b), Some(&a)), Duration::ZERO);
        assert_eq!(total(None, Some(&b)), Duration::from_millis(5));
        assert!(rules.link(Some(&b), Some(&a)).is_clear());
        assert!(rules.ask_for_source(&b));
    }

    #[test]
    fn an_owner_replaces_its_own_rules_only() {
        let faults = Faults::default();
        faults.set("one", vec![LinkRule::default()], Vec::new());
        faults.set("two", vec![LinkRule::default(), LinkRule::default()], Vec::new());
        faults.set("one", Vec::new(), vec![HttpRule::default()]);
        assert_eq!((faults.rules().links.len(), faults.rules().http.len()), (2, 1));
        faults.clear("two");
        assert_eq!(faults.rules().links.len(), 0);
    }
}
