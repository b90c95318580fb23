//! Bad requests: broken bodies, paths, queries and headers. A server answers each of them, and never with a fault of
//! its own.
//!
//! What is sent follows from the seed. All of it stays in a namespace of its own: a mutation may well be a valid
//! object, so nothing outside is ever written or deleted.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::fixture::{idle_deployment, idle_pod, service};
use crate::place::Place;
use crate::raw::{Raw, Reply};
use crate::resource::{
    AUTOSCALERS, CONFIG_MAPS, DEPLOYMENTS, DISRUPTION_BUDGETS, JOBS, LEASES, PODS, Resource,
    SECRETS, SERVICES, STATEFUL_SETS,
};

/// Statuses of 500 and above that say no more than "not here", "not now" or "not in this version of HTTP".
const EXCUSED: &[u16] = &[501, 503, 504, 505];
/// Words of a program that has lost its way.
const FAULTS: &[&str] = &["panic", "unwrap", "out of bounds", "overflow", "nil pointer"];

/// A request and what came of it, where it is not what a server should do.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The request, as far as a reader needs it.
    pub request: String,
    /// What came.
    pub reply: Reply,
}

/// What a run of bad requests came to.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// Requests sent.
    pub sent: usize,
    /// How often each status came.
    pub statuses: std::collections::BTreeMap<u16, usize>,
    /// Answers of 500 that name a mistake of the client as the cause, as Kubernetes itself gives to some.
    pub with_cause: usize,
    /// What a server should not do.
    pub findings: Vec<Finding>,
}

/// Findings that are kept; more of them say nothing new.
const FINDINGS_KEPT: usize = 50;

/// Sends `cases` bad requests and calls `progress` after each. If `strict`, a 500 is a finding even with a cause.
///
/// # Errors
/// An I/O error when the server takes no connection any more.
pub async fn run(
    raw: &Raw,
    at: &Place,
    seed: u64,
    cases: usize,
    strict: bool,
    mut progress: impl FnMut(&Outcome) -> bool,
) -> std::io::Result<Outcome> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut outcome = Outcome::default();
    for _ in 0..cases {
        let request = request(&mut random, raw, at);
        let reply = raw.send(&request).await?;
        outcome.sent += 1;
        judge(&mut outcome, &request, reply, strict);
        if !progress(&outcome) {
            break;
        }
    }
    Ok(outcome)
}

fn judge(outcome: &mut Outcome, request: &[u8], reply: Reply, strict: bool) {
    if let Reply::Status(status, body) = &reply {
        *outcome.statuses.entry(*status).or_default() += 1;
        if *status < 500 || EXCUSED.contains(status) {
            return;
        }
        // The answer to HEAD has no body that could name a cause.
        let cause = names_cause(body) || request.starts_with(b"HEAD ");
        if *status == 500 && cause && !strict {
            outcome.with_cause += 1;
            return;
        }
    }
    if outcome.findings.len() < FINDINGS_KEPT {
        let text = String::from_utf8_lossy(request);
        let shown: Vec<&str> =
            text.lines().filter(|line| !line.to_lowercase().starts_with("authorization")).collect();
        let request = crate::unmet::excerpt(&shown.join("\n"));
        outcome.findings.push(Finding { request, reply });
    }
}

/// Whether an answer of 500 says what was wrong with the request, and nothing of a fault.
fn names_cause(answer: &str) -> bool {
    let body = answer.find('{').map_or("", |start| &answer[start..]);
    let said = body.split("\"message\":\"").nth(1).unwrap_or_default();
    !said.is_empty() && !said.starts_with('"') && !FAULTS.iter().any(|fault| body.contains(fault))
}

fn request(random: &mut StdRng, raw: &Raw, at: &Place) -> Vec<u8> {
    let mut made = match random.random_range(0..6) {
        0 => odd_path(random, at),
        1 => odd_query(random, at),
        2 => odd_headers(random, at),
        3 => broken_http(random, at),
        _ => odd_body(random, at),
    };
    if !made.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        made.headers.push(("Host".into(), raw.authority.clone()));
    }
    if let Some(authorization) = &raw.authorization
        && !made.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"))
    {
        made.headers.push(("Authorization".into(), authorization.clone()));
    }
    made.headers.push(("Connection".into(), "close".into()));
    made.bytes()
}

/// A request in parts, each of which may be wrong.
struct Made {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Made {
    fn get(target: &str) -> Self {
        Self { line: format!("GET {target} HTTP/1.1"), headers: Vec::new(), body: Vec::new() }
    }

    fn with_body(method: &str, target: &str, media_type: &str, body: Vec<u8>) -> Self {
        let headers = vec![
            ("Content-Type".to_owned(), media_type.to_owned()),
            ("Content-Length".to_owned(), body.len().to_string()),
        ];
        Self { line: format!("{method} {target} HTTP/1.1"), headers, body }
    }

    fn bytes(self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.line).into_bytes();
        for (name, value) in self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

fn pick<'a, T: ?Sized>(random: &mut StdRng, all: &[&'a T]) -> &'a T {
    all.choose(random).copied().unwrap_or(all[0])
}

/// Kinds whose objects stay in the namespace.
fn kinds() -> Vec<(Resource, Value)> {
    let spec = |spec: Value| json!({"metadata": {"name": "a"}, "spec": spec});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"});
    vec![
        (CONFIG_MAPS, json!({"metadata": {"name": "a"}, "data": {"k": "v"}})),
        (SECRETS, json!({"metadata": {"name": "a"}, "stringData": {"k": "v"}})),
        (PODS, idle_pod("a")),
        (SERVICES, service("a")),
        (DEPLOYMENTS, idle_deployment("a", 0)),
        (STATEFUL_SETS, idle_deployment("a", 0)),
        (
            JOBS,
            spec(json!({"suspend": true, "template": {"spec": {"restartPolicy": "Never",
            "containers": [crate::fixture::container()]}}})),
        ),
        (LEASES, spec(json!({"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000000Z"}))),
        (DISRUPTION_BUDGETS, spec(json!({"minAvailable": "50%", "selector": {}}))),
        (AUTOSCALERS, spec(json!({"maxReplicas": 2, "scaleTargetRef": target}))),
    ]
}

const BITS: &[&str] = &[
    "..",
    ".",
    "%2e%2e",
    "%00",
    "%ff",
    "%",
    "%zz",
    "a b",
    "ä",
    "%F0%9F%8C%8D",
    "''",
    "\"",
    "{}",
    "namespaces",
    "pods",
    "watch",
    "proxy",
    "log",
    "exec",
    "-",
    "_",
    "A",
    "*",
    "$patch",
    "a:b",
    "apis",
    "api",
    "v1",
];

fn odd_path(random: &mut StdRng, at: &Place) -> Made {
    let mut path = String::new();
    if random.random_bool(0.6) {
        path =
            pick(random, &["/api/v1", "/apis/apps/v1", "/apis", "/openapi/v3", "/api"]).to_owned();
    }
    if random.random_bool(0.4) {
        path = format!("/api/v1/namespaces/{}/pods", at.namespace);
    }
    for _ in 0..random.random_range(1..6) {
        path.push('/');
        path.push_str(pick(random, BITS));
    }
    if random.random_bool(0.05) {
        path.push_str(&"x".repeat(20_000));
    }
    let method = pick(random, &["GET", "HEAD", "OPTIONS", "TRACE", "FOO", "get"]);
    let mut made = Made::get(&path.replace(' ', "%20"));
    made.line = made.line.replacen("GET", method, 1);
    made
}

fn odd_query(random: &mut StdRng, at: &Place) -> Made {
    let (of, _) = kinds().choose(random).cloned().unwrap_or((PODS, Value::Null));
    let mut target = format!("{}?timeoutSeconds=1", of.collection(&at.namespace));
    for _ in 0..random.random_range(1..4) {
        let name = pick(
            random,
            &[
                "labelSelector",
                "fieldSelector",
                "limit",
                "continue",
                "resourceVersion",
                "watch",
                "resourceVersionMatch",
                "sendInitialEvents",
                "allowWatchBookmarks",
                "timeoutSeconds",
                "dryRun",
                "fieldManager",
                "fieldValidation",
                "pretty",
                "includeObject",
                "nonsense",
            ],
        );
        let long = "x".repeat(3000);
        let value = pick(
            random,
            &[
                "",
                "-1",
                "0",
                "1",
                "99999999999999999999",
                "true",
                "maybe",
                "abc",
                "%00",
                "a%3Db",
                "%21",
                "%28",
                "a%20in%20%28",
                "a%20in%20%28b%2C%2C%29",
                "metadata.name%3D",
                "%2C%2C%2C",
                "Exact",
                "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ",
                "All",
                long.as_str(),
            ],
        );
        target.push_str(&format!("&{name}={value}"));
    }
    Made::get(&target)
}

fn odd_headers(random: &mut StdRng, at: &Place) -> Made {
    let mut made = Made::get(&PODS.collection(&at.namespace));
    let long = "x".repeat(random.random_range(1000..40_000));
    let (name, value) = *[
        ("Accept", "application/json;as=Table;g=meta.k8s.io;v=v9"),
        ("Accept", ";;;,,,"),
        ("Accept", "*/*;q=nonsense, text/html"),
        ("Accept", "application/vnd.kubernetes.protobuf"),
        ("Accept-Encoding", "br, zstd, nonsense;q=7"),
        ("Content-Type", "\u{7f}"),
        ("Content-Length", "-5"),
        ("Content-Length", "nonsense"),
        ("Transfer-Encoding", "nonsense"),
        ("Authorization", "Basic !!!"),
        ("Authorization", "Bearer "),
        ("Host", "somewhere.example"),
        ("Host", ""),
        ("Origin", "https://somewhere.example"),
        ("Range", "bytes=5-1"),
        ("If-None-Match", "*"),
        ("Expect", "100-continue"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Impersonate-User", "ä"),
        ("Cookie", long.as_str()),
        ("X-Long", long.as_str()),
        ("Bad Name", "v"),
    ]
    .choose(random)
    .unwrap_or(&("X", "y"));
    made.headers.push((name.to_owned(), value.to_owned()));
    made
}

fn broken_http(random: &mut StdRng, at: &Place) -> Made {
    let target = PODS.collection(&at.namespace);
    let mut made = Made::get(&target);
    match random.random_range(0..6) {
        0 => made.line = "nonsense".into(),
        1 => made.line = format!("GET {target} HTTP/9.9"),
        2 => made.line = format!("GET {target}"),
        3 => made.line = "GET  HTTP/1.1".into(),
        4 => made.line = format!("\u{0}\u{1}\u{2} {target} HTTP/1.1"),
        _ => {
            made.headers.push(("Transfer-Encoding".into(), "chunked".into()));
            made.headers.push(("Content-Type".into(), "application/json".into()));
            made.line = format!("POST {} HTTP/1.1", CONFIG_MAPS.collection(&at.namespace));
            made.body = b"zz\r\nnot a chunk\r\n0\r\n\r\n".to_vec();
        }
    }
    made
}

fn odd_body(random: &mut StdRng, at: &Place) -> Made {
    let (of, mut object) = kinds().choose(random).cloned().unwrap_or((PODS, Value::Null));
    object["apiVersion"] = of.group_version.into();
    object["kind"] = of.kind.into();
    for _ in 0..random.random_range(1..4) {
        mutate(random, &mut object);
    }
    let mut body = object.to_string().into_bytes();
    spoil(random, &mut body);
    let collection = of.collection(&at.namespace);
    let part = pick(random, &["", "", "/status", "/scale", "/eviction", "/binding", "/nothing"]);
    let query =
        pick(random, &["", "?dryRun=All", "?fieldValidation=Strict", "?fieldManager=f&force=true"]);
    let media = pick(
        random,
        &[
            "application/json",
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
            "text/plain",
            "",
        ],
    );
    match random.random_range(0..4) {
        0 => Made::with_body("PUT", &format!("{collection}/a{part}{query}"), media, body),
        1 => Made::with_body("PATCH", &format!("{collection}/a{part}{query}"), media, body),
        2 => Made::with_body("DELETE", &format!("{collection}/a"), media, body),
        _ => Made::with_body("POST", &format!("{collection}{query}"), media, body),
    }
}

/// Puts something odd at a random place of `object`.
fn mutate(random: &mut StdRng, object: &mut Value) {
    let odd = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}"),
        json!("x".repeat(300)),
        json!([]),
        json!({}),
        json!([null]),
        json!({"": {}}),
        json!([[[[[[]]]]]]),
        json!({"$patch": "delete"}),
        json!({"$patch": "nonsense"}),
        json!("99Ei"),
        json!("2026-99-99T00:00:00Z"),
        json!({"$setElementOrder/containers": [1]}),
        json!([{"op": "add", "path": "/~", "value": 1}]),
    ];
    let value = odd.choose(random).cloned().unwrap_or_default();
    match object {
        Value::Object(map) if !map.is_empty() && random.random_bool(0.85) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let key = keys.choose(random).cloned().unwrap_or_default();
            if let Some(inner) = map.get_mut(&key) {
                mutate(random, inner);
            }
        }
        Value::Object(map) => {
            let key = pick(
                random,
                &[
                    "metadata",
                    "spec",
                    "status",
                    "finalizers",
                    "ownerReferences",
                    "managedFields",
                    "labels",
                    "annotations",
                    "uid",
                    "generateName",
                    "deletionTimestamp",
                    "containers",
                    "selector",
                    "",
                ],
            );
            map.insert(key.to_owned(), value);
        }
        Value::Array(list) if !list.is_empty() && random.random_bool(0.7) => {
            let index = random.random_range(0..list.len());
            mutate(random, &mut list[index]);
        }
        other => *other = value,
    }
}

/// Breaks the text of a body now and then.
fn spoil(random: &mut StdRng, body: &mut Vec<u8>) {
    match random.random_range(0..8) {
        0 => body.truncate(random.random_range(0..body.len().max(1))),
        1 => {
            let place = random.random_range(0..body.len().max(1));
            if let Some(byte) = body.get_mut(place) {
                *byte = random.random();
            }
        }
        2 if random.random_bool(0.2) => {
            *body = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)).into_bytes();
        }
        3 if random.random_bool(0.3) => {
            let mut garbage = b"k8s\0".to_vec();
            garbage.extend((0..40).map(|_| random.random::<u8>()));
            *body = garbage;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_server_is_a_finding_and_a_refusal_is_not() {
        let mut outcome = Outcome::default();
        let told = |message: &str| format!("{{\"kind\":\"Status\",\"message\":\"{message}\"}}");
        for (status, body) in [
            (400, String::new()),
            (501, String::new()),
            (500, told("invalid byte in chunk length")),
        ] {
            judge(&mut outcome, b"GET / HTTP/1.1", Reply::Status(status, body), false);
        }
        assert!(outcome.findings.is_empty());
        for body in [String::new(), told(""), told("index out of bounds")] {
            judge(&mut outcome, b"GET / HTTP/1.1", Reply::Status(500, body), false);
        }
        judge(&mut outcome, b"GET / HTTP/1.1", Reply::Closed, false);
        assert_eq!((outcome.findings.len(), outcome.with_cause), (4, 1));
        judge(&mut outcome, b"GET / HTTP/1.1", Reply::Status(500, told("a cause")), true);
        assert_eq!(outcome.findings.len(), 5);
    }

    #[test]
    fn a_finding_shows_no_token() {
        let mut outcome = Outcome::default();
        judge(
            &mut outcome,
            b"GET / HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n",
            Reply::Closed,
            true,
        );
        assert!(!outcome.findings[0].request.contains("Bearer"));
    }
}
