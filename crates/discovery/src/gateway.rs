//! What an HTTPRoute, an InferencePool and an InferenceObjective say: the part of each object that a router reads.
//!
//! Sources: <https://gateway-api.sigs.k8s.io/reference/api-spec/main/spec/>, version 1.6, and
//! <https://gateway-api-inference-extension.sigs.k8s.io/reference/spec/>: pools are `inference.networking.k8s.io/v1`, objectives
//! `inference.networking.x-k8s.io/v1alpha2`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// The least that is read of an object's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// RFC 3339 in UTC, as the API server writes it: its order as text is its order in time.
    pub creation_timestamp: String,
}

/// `gateway.networking.k8s.io/v1`, kind HTTPRoute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct HttpRoute {
    /// Who.
    pub metadata: Meta,
    /// What.
    pub spec: HttpRouteSpec,
}

/// Where which requests go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct HttpRouteSpec {
    /// In the author's order.
    #[serde(default)]
    pub rules: Vec<RouteRule>,
}

/// Requests that satisfy any of the matches go to the backends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteRule {
    /// Empty: every request.
    pub matches: Vec<RouteMatch>,
    /// Where to.
    pub backend_refs: Vec<BackendRef>,
    /// How long it may take.
    pub timeouts: RuleTimeouts,
}

/// How long a request may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RuleTimeouts {
    /// From its arrival to the last byte of the answer. `None`: as long as the router lets it, which is what `0s` says, too.
    #[serde(deserialize_with = "timeout")]
    pub request: Option<Duration>,
}

/// The Gateway API's own form (GEP-2257): up to four numbers of up to five digits, each with `h`, `m`, `s` or `ms`.
fn timeout<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let wrong = || D::Error::custom(format!("{text:?} is no time such as 1h30m or 500ms"));
    let (mut sum, mut parts, mut rest) = (Duration::ZERO, 0, text.as_str());
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at(digits);
        let number: u64 = number.parse().ok().filter(|_| digits <= 5).ok_or_else(wrong)?;
        let (length, one) = match unit.as_bytes() {
            [b'm', b's', ..] => (2, Duration::from_millis(number)),
            [b'h', ..] => (1, Duration::from_secs(number * 3600)),
            [b'm', ..] => (1, Duration::from_secs(number * 60)),
            [b's', ..] => (1, Duration::from_secs(number)),
            _ => return Err(wrong()),
        };
        (sum, parts, rest) = (sum + one, parts + 1, &unit[length..]);
    }
    if parts == 0 || parts > 4 {
        return Err(wrong());
    }
    Ok((sum > Duration::ZERO).then_some(sum))
}

/// A request satisfies it when it satisfies all its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// The method, in upper case.
    pub method: Option<String>,
    /// The headers.
    pub headers: Vec<ValueMatch>,
    /// The query's parameters.
    pub query_params: Vec<ValueMatch>,
}

/// What the path must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", content = "value")]
pub enum PathMatch {
    /// This, to the last byte.
    Exact(String),
    /// This, or below it: `/v1` is a prefix of `/v1` and `/v1/models`, and not of `/v10`.
    PathPrefix(String),
}

impl Default for PathMatch {
    fn default() -> Self {
        Self::PathPrefix("/".to_owned())
    }
}

/// A name and the one value that it must have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ValueMatch {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// A Service or a pool, and its part of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    /// Its group: empty for a Service.
    #[serde(default)]
    pub group: String,
    /// `Service`, or `InferencePool`.
    #[serde(default = "service")]
    pub kind: String,
    /// Its namespace; the route's where it is not named.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Which of a Service's ports. A pool has its own.
    #[serde(default)]
    pub port: Option<u16>,
    /// Its part of all weights of the rule. 0: none.
    #[serde(default = "one")]
    pub weight: u32,
}

/// A Service without a name, with weight 1.
impl Default for BackendRef {
    fn default() -> Self {
        let (group, namespace, name) = (String::new(), None, String::new());
        Self { group, kind: service(), namespace, name, port: None, weight: one() }
    }
}

fn service() -> String {
    "Service".to_owned()
}

fn one() -> u32 {
    1
}

/// `inference.networking.k8s.io/v1`, kind InferencePool: pods that serve the same, and who picks among them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct InferencePool {
    /// Who.
    pub metadata: Meta,
    /// What.
    pub spec: PoolSpec,
}

/// What a pool is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSpec {
    /// Its pods carry all of these, and are in its namespace.
    pub selector: PoolSelector,
    /// Each port of a pod is a replica of its own.
    pub target_ports: Vec<PoolPort>,
    /// Who picks. Optional since release 1.5 of the extension; most gateways need one all the same.
    #[serde(default)]
    pub endpoint_picker_ref: Option<EndpointPickerRef>,
}

// === impl PoolSpec ===

impl PoolSpec {
    /// Whether it means the same pods at the same ports as another one.
    #[must_use]
    pub fn same_pods(&self, other: &Self) -> bool {
        self.selector == other.selector && self.target_ports == other.target_ports
    }
}

/// Labels, all of which must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSelector {
    /// Value by name.
    pub match_labels: BTreeMap<String, String>,
}

/// One port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct PoolPort {
    /// Its number.
    pub number: u16,
}

/// A picker's Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPickerRef {
    /// The Service.
    pub name: String,
    /// Its port.
    #[serde(default)]
    pub port: Option<PoolPort>,
    /// What a gateway does when no picker answers.
    #[serde(default)]
    pub failure_mode: FailureMode,
}

/// What a gateway does when no picker answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum FailureMode {
    /// Refuse the request.
    #[default]
    FailClose,
    /// Choose some endpoint itself.
    FailOpen,
}

/// `inference.networking.x-k8s.io/v1alpha2`, kind InferenceObjective: what requests that name it are worth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct InferenceObjective {
    /// Who.
    pub metadata: Meta,
    /// What.
    pub spec: ObjectiveSpec,
}

/// What a request is worth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveSpec {
    /// Higher is served first; below 0 it is dropped where there is too much. Not set: 0.
    #[serde(default)]
    pub priority: i32,
    /// The pool whose requests it is about, in its own namespace.
    pub pool_ref: PoolRef,
}

/// A pool in the same namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct PoolRef {
    /// Its group.
    #[serde(default = "pool_group")]
    pub group: String,
    /// `InferencePool`.
    #[serde(default = "pool_kind")]
    pub kind: String,
    /// Its name.
    pub name: String,
}

// === impl PoolRef ===

impl PoolRef {
    /// Whether it means the InferencePool of this name.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.group == pool_group() && self.kind == pool_kind() && self.name == name
    }
}

fn pool_group() -> String {
    "inference.networking.k8s.io".to_owned()
}

fn pool_kind() -> String {
    "InferencePool".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_specification() {
        let route: HttpRoute = serde_json::from_value(serde_json::json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "a", "namespace": "b"},
            "spec": {"rules": [{"matches": [{}], "backendRefs": [{"name": "c", "port": 8000}]}]},
        }))
        .unwrap();
        let rule = &route.spec.rules[0];
        assert_eq!(rule.matches[0].path, PathMatch::PathPrefix("/".to_owned()));
        let named = BackendRef { name: "c".to_owned(), port: Some(8000), ..BackendRef::default() };
        assert_eq!(rule.backend_refs, [named]);
        assert_eq!((rule.backend_refs[0].weight, &*rule.backend_refs[0].kind), (1, "Service"));
        let pool: InferencePool = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a"},
            "spec": {
                "selector": {"matchLabels": {"app": "x"}}, "targetPorts": [{"number": 8000}],
                "endpointPickerRef": {"name": "p", "port": {"number": 9002}},
            },
        }))
        .unwrap();
        let picker = pool.spec.endpoint_picker_ref.unwrap();
        assert_eq!(picker.failure_mode, FailureMode::FailClose);
        let objective: ObjectiveSpec =
            serde_json::from_value(serde_json::json!({"poolRef": {"name": "a"}})).unwrap();
        assert_eq!((objective.priority, objective.pool_ref.is("a")), (0, true));
        let elsewhere = serde_json::json!({"poolRef": {"name": "a", "kind": "Service"}});
        let elsewhere: ObjectiveSpec = serde_json::from_value(elsewhere).unwrap();
        assert!(!elsewhere.pool_ref.is("a"));
    }

    #[test]
    fn a_timeout_has_up_to_four_numbers_with_units() {
        let read = |text: &str| {
            let timeouts = serde_json::json!({"request": text});
            serde_json::from_value::<RuleTimeouts>(timeouts).map(|timeouts| timeouts.request).ok()
        };
        let ms = |ms| Some(Some(Duration::from_millis(ms)));
        assert_eq!(
            (read("500ms"), read("10m"), read("1h2m3s4ms")),
            (ms(500), ms(600_000), ms(3_723_004))
        );
        assert_eq!((read("0s"), read("0h0ms")), (Some(None), Some(None)), "no limit");
        for text in ["", "5", "m", "-1s", "1.5s", "100000s", "1s1s1s1s1s", "1d", "1sé"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn an_expression_as_a_path_is_not_read_as_something_else() {
        let path = serde_json::json!({"type": "RegularExpression", "value": "/.*"});
        assert!(serde_json::from_value::<PathMatch>(path).is_err());
    }
}
