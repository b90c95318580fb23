//! Lab 2's manifests: every object is what Kubernetes' schemas, or the schemas of foreign kinds, say; names lead somewhere; the gateway and
//! both meshes do the same canary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::decode::{self, FieldValidation};
use apimachinery::schema::{Typed, builtin};
use common::{foreign, render, text};
use serde_json::{Value, json};

/// Each folder that can be applied, and how many objects are of foreign kinds.
const FOLDERS: [(&str, usize); 11] = [
    ("solutions/02-routing/deploy", 2),
    ("solutions/02-routing/deploy/embedded", 0),
    ("solutions/02-routing/deploy/load", 0),
    ("solutions/02-routing/deploy/router", 2),
    ("solutions/02-routing/deploy/versions", 0),
    ("solutions/02-routing/deploy/rollout", 2),
    ("solutions/02-routing/deploy/rollout-embedded", 0),
    ("solutions/02-routing/deploy/gateway", 7),
    ("solutions/02-routing/deploy/istio", 2),
    ("solutions/02-routing/deploy/linkerd", 1),
    ("solutions/02-routing/deploy/observe", 4),
];

/// Roles and what binds them: Kubernetes' own, but not the embedded cluster's, so their schemas are not among the built-in ones.
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/role-v1/>.
fn roles() -> common::Schemas {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let rule = json!({
        "type": "object", "required": ["verbs"],
        "properties": {"apiGroups": texts, "resources": texts, "resourceNames": texts, "verbs": texts},
    });
    let name = json!({"type": "string", "minLength": 1});
    let subject = json!({
        "type": "object", "required": ["kind", "name"],
        "properties": {"apiGroup": name, "kind": name, "name": name, "namespace": name},
    });
    let role_ref = json!({
        "type": "object", "required": ["apiGroup", "kind", "name"],
        "properties": {"apiGroup": name, "kind": {"type": "string", "enum": ["Role", "ClusterRole"]}, "name": name},
    });
    let of = |kind: &str, properties: Value, required: Value| {
        let schema = json!({"type": "object", "properties": properties, "required": required});
        let schema = apimachinery::schema::Schema::from_json(&schema, true).unwrap();
        (("rbac.authorization.k8s.io/v1".to_owned(), kind.to_owned()), schema)
    };
    let rules = json!({"rules": {"type": "array", "items": rule}});
    let binding = json!({"roleRef": role_ref, "subjects": {"type": "array", "items": subject}});
    [of("Role", rules, json!(["rules"])), of("RoleBinding", binding, json!(["roleRef"]))].into()
}

/// What is wrong with an object of a foreign kind.
fn wrong(object: &Value, schema: &apimachinery::schema::Schema) -> Vec<String> {
    let mut object = object.clone();
    let typed = Typed::new(schema);
    let unknown = unknown_fields(typed, &object, "");
    let settled = decode::settle(typed, &mut object).err();
    let causes = apimachinery::validate::against(typed, &object);
    let causes = causes.into_iter().map(|cause| format!("{cause:?}"));
    let rules = rules_of_pools(&object);
    unknown
        .into_iter()
        .chain(settled.map(|e| format!("{e:?}")))
        .chain(causes)
        .chain(rules)
        .collect()
}

/// The CEL rules of an InferencePool, applied by hand; `object` has its defaults. Nothing for other kinds.
fn rules_of_pools(object: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    let ports = object["spec"]["targetPorts"].as_array().into_iter().flatten();
    let numbers: Vec<&Value> = ports.map(|port| &port["number"]).collect();
    if numbers.iter().any(|one| numbers.iter().filter(|other| *other == one).count() > 1) {
        broken.push("port number must be unique".to_owned());
    }
    let picker = &object["spec"]["endpointPickerRef"];
    if picker["kind"] == "Service" && picker["port"].is_null() {
        broken.push("port is required when kind is 'Service'".to_owned());
    }
    broken
}

/// Fields that a schema does not know.
fn unknown_fields(typed: Typed<'_>, value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let mut found = Vec::new();
            for (name, below) in fields {
                let path = format!("{at}.{name}");
                if at.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                match typed.field(name) {
                    Some(typed) => found.extend(unknown_fields(typed, below, &path)),
                    None if typed.preserves_unknown() => {}
                    None => found.push(format!("{path} is not known")),
                }
            }
            found
        }
        Value::Array(items) => {
            let each = |(index, item): (usize, &Value)| {
                unknown_fields(typed.item(), item, &format!("{at}[{index}]"))
            };
            items.iter().enumerate().flat_map(each).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn objects_are_what_their_schemas_say() {
    let mut schemas = foreign();
    schemas.extend(roles());
    for (folder, expected) in FOLDERS {
        let mut of_foreign_kinds = 0;
        for object in render(folder) {
            let (version, kind) = (text(&object, "/apiVersion"), text(&object, "/kind"));
            let name = format!("{folder}: {kind} {}", text(&object, "/metadata/name"));
            if let Some(schema) = schemas.get(&(version.to_owned(), kind.to_owned())) {
                of_foreign_kinds += 1;
                assert_eq!(wrong(&object, schema), Vec::<String>::new(), "{name}");
                continue;
            }
            let definition = builtin().of_kind(version, kind).unwrap_or_else(|| panic!("{name}"));
            let kinds = apimachinery::builtin::kinds();
            let kind = kinds.named(version, kind).expect(kind);
            let (typed, body) = (Typed::new(&definition.schema), object.to_string());
            let decoded = decode::object(kind, typed, body.as_bytes(), FieldValidation::Strict);
            let decoded = decoded.unwrap_or_else(|status| panic!("{name}: {status}"));
            drop(decoded);
        }
        assert_eq!(of_foreign_kinds, expected, "{folder}: objects of foreign kinds");
    }
}

#[test]
fn mistakes_in_foreign_kinds_would_be_found() {
    let schemas = foreign();
    let of = |version: &str, kind: &str| &schemas[&(version.to_owned(), kind.to_owned())];
    let route = of("gateway.networking.k8s.io/v1", "HTTPRoute");
    for (what, spec) in [
        ("a misspelt field", json!({"rules": [{"backendRef": []}]})),
        (
            "a weight that is too large",
            json!({"rules": [{"backendRefs": [{"name": "a", "weight": 2_000_000}]}]}),
        ),
        (
            "a kind of match that does not exist",
            json!({"rules": [{"matches": [{"path": {"type": "Suffix", "value": "/"}}]}]}),
        ),
    ] {
        assert!(!wrong(&json!({"spec": spec}), route).is_empty(), "{what}");
    }
    let pool = of("inference.networking.k8s.io/v1", "InferencePool");
    let ports = |numbers: &[u32]| -> Vec<Value> {
        numbers.iter().map(|number| json!({"number": number})).collect()
    };
    let of = |spec: Value| {
        let mut all = json!({
            "selector": {"matchLabels": {"app": "engine"}}, "targetPorts": ports(&[8000]),
            "endpointPickerRef": {"name": "picker", "port": {"number": 9002}},
        });
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        wrong(&json!({"spec": all}), pool)
    };
    assert_eq!(of(json!({})), Vec::<String>::new(), "a pool");
    for (what, spec) in [
        ("a Service without its port", json!({"endpointPickerRef": {"name": "picker"}})),
        ("the same port twice", json!({"targetPorts": ports(&[8000, 8001, 8000])})),
        ("nine ports", json!({"targetPorts": ports(&[1, 2, 3, 4, 5, 6, 7, 8, 9])})),
        ("no port", json!({"targetPorts": []})),
        ("port 0", json!({"targetPorts": ports(&[0])})),
        ("port 65536", json!({"targetPorts": ports(&[65536])})),
        ("a protocol that pools do not have", json!({"appProtocol": "grpc"})),
        ("a value that is no label", json!({"selector": {"matchLabels": {"app": "a b"}}})),
        (
            "a failure mode that does not exist",
            json!({"endpointPickerRef": {"name": "p", "port": {"number": 1}, "failureMode": "Open"}}),
        ),
    ] {
        assert!(!of(spec).is_empty(), "{what}");
    }
    let rule = &schemas[&("networking.istio.io/v1".to_owned(), "DestinationRule".to_owned())];
    let spec = json!({"host": "a", "trafficPolicy": {"loadBalancer": {"simple": "PEAK_EWMA"}}});
    assert!(!wrong(&json!({"spec": spec}), rule).is_empty(), "a policy that Istio does not have");
}

/// Kubernetes' Pod Security Standards, profile restricted.
#[test]
fn pods_keep_to_the_restricted_standard() {
    for (folder, _) in FOLDERS {
        let runs_pods = |object: &&Value| object["kind"] == "Deployment" || object["kind"] == "Job";
        for object in render(folder).iter().filter(runs_pods) {
            let name = format!("{folder}: {}", text(object, "/metadata/name"));
            let pod = &object["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(
                pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
                "{name}"
            );
            for container in pod["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
                assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
                // Whoever is asked for something says when it can be.
                let is_asked = container["ports"].is_array();
                assert_eq!(container["readinessProbe"].is_object(), is_asked, "{name}");
            }
        }
    }
}

/// A router that is told to end serves until everybody knows, then lets its streams end, and only then may be killed.
#[test]
fn a_rolling_update_of_the_router_loses_no_stream() {
    let all = render("solutions/02-routing/deploy/router");
    let router = all.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let strategy = &router["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(strategy["maxUnavailable"], 0);
    let pod = &router["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let args = container["args"].as_array().unwrap().iter().filter_map(Value::as_str);
    let drain = args.filter_map(|arg| arg.strip_prefix("--drain-timeout=")).next().unwrap();
    let drain: u64 = drain.strip_suffix('s').unwrap().parse().unwrap();
    let before = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace > before + drain, "{grace} s for {before} + {drain} s");
    let ready = &container["readinessProbe"];
    let notices =
        ready["periodSeconds"].as_u64().unwrap() * ready["failureThreshold"].as_u64().unwrap();
    assert!(
        before >= notices,
        "{before} s until nobody sends, {notices} s until readiness is lost"
    );
}

/// What a router may do is what it needs, in its own namespace.
#[test]
fn the_router_may_only_look() {
    let all = render("solutions/02-routing/deploy/router");
    assert!(all.iter().all(|object| !text(object, "/kind").starts_with("Cluster")));
    let role = all.iter().find(|object| object["kind"] == "Role").unwrap();
    let rules = role["rules"].as_array().unwrap().iter();
    let verbs: BTreeSet<&str> = rules
        .flat_map(|rule| rule["verbs"].as_array().unwrap())
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(verbs, BTreeSet::from(["list", "watch"]));
}

/// A picker reads a pool that is there, may read it, and is asked at the port that the pool names.
#[test]
fn pickers_read_the_pools_that_name_them() {
    let all = render("solutions/02-routing/deploy/gateway");
    let role = all.iter().find(|object| object["kind"] == "Role").unwrap();
    let may: BTreeSet<&str> = role["rules"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|rule| rule["resources"].as_array().unwrap())
        .filter_map(Value::as_str)
        .collect();
    assert!(may.is_superset(&BTreeSet::from(["inferencepools", "inferenceobjectives", "pods"])));
    let pools: Vec<&Value> =
        all.iter().filter(|object| object["kind"] == "InferencePool").collect();
    assert_eq!(pools.len(), 2);
    for pool in pools {
        let (name, reference) = (text(pool, "/metadata/name"), &pool["spec"]["endpointPickerRef"]);
        let named = |kind: &str| {
            let found = all.iter().find(|object| {
                object["kind"] == kind && object["metadata"]["name"] == reference["name"]
            });
            found.unwrap_or_else(|| panic!("{name}: no {kind}"))
        };
        let container = &named("Deployment")["spec"]["template"]["spec"]["containers"][0];
        let args: Vec<&str> =
            container["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let wanted = format!("--inference-pool=$(POD_NAMESPACE)/{name}");
        assert!(args.contains(&&*wanted), "{name}: {args:?}");
        let port = &named("Service")["spec"]["ports"][0];
        assert_eq!(port["port"], reference["port"]["number"], "{name}");
        let listens = format!("--picker=$(POD_IP):{}", container["ports"][0]["containerPort"]);
        assert!(args.contains(&&*listens), "{name}: {args:?}");
        assert_eq!(port["targetPort"], container["ports"][0]["name"], "{name}");
    }
}

/// Every Service, pool and subset that something points to is there, and every selector finds a pod template.
#[test]
fn names_lead_somewhere() {
    for (folder, _) in FOLDERS {
        let all = render(folder);
        let names = |kind: &str| -> BTreeSet<&str> {
            let of = all.iter().filter(|object| object["kind"] == kind);
            of.map(|object| text(object, "/metadata/name")).collect()
        };
        let templates: Vec<&Value> = all
            .iter()
            .filter(|object| object["kind"] == "Deployment")
            .map(|object| &object["spec"]["template"]["metadata"]["labels"])
            .collect();
        let finds = |selector: &Value| {
            let wanted = selector.as_object().unwrap();
            templates.iter().any(|labels| wanted.iter().all(|(name, value)| labels[name] == *value))
        };
        for object in &all {
            let name =
                format!("{folder}: {} {}", text(object, "/kind"), text(object, "/metadata/name"));
            match text(object, "/kind") {
                "Service" => assert!(finds(&object["spec"]["selector"]), "{name}"),
                "InferencePool" => {
                    assert!(finds(&object["spec"]["selector"]["matchLabels"]), "{name}");
                    let picker = text(object, "/spec/endpointPickerRef/name");
                    assert!(names("Service").contains(picker), "{name}: {picker}");
                }
                "InferenceObjective" => {
                    let pool = text(object, "/spec/poolRef/name");
                    assert!(names("InferencePool").contains(pool), "{name}: {pool}");
                }
                "HorizontalPodAutoscaler" => {
                    let target = text(object, "/spec/scaleTargetRef/name");
                    assert!(names("Deployment").contains(target), "{name}: {target}");
                }
                _ => {}
            }
        }
        for (to, kind) in canary(&all).into_iter().flat_map(|split| split.backends) {
            assert!(names(&kind).contains(&*to), "{folder}: {kind} {to}");
        }
    }
}

/// Where one rule sends what.
#[derive(Debug, PartialEq)]
struct Split {
    /// Whether the caller asks for the canary by a header.
    asked: bool,
    /// Weight by version.
    weights: BTreeMap<String, u64>,
    /// What the backends are called, and their kind.
    backends: Vec<(String, String)>,
}

/// The rules of a folder, whichever API they are written in.
fn canary(all: &[Value]) -> Vec<Split> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut splits = Vec::new();
    for object in all {
        for rule in list(&object["spec"]["rules"]).iter().filter(|_| object["kind"] == "HTTPRoute")
        {
            let asked = rule.to_string().contains("x-canary");
            let (mut weights, mut backends) = (BTreeMap::new(), Vec::new());
            for backend in list(&rule["backendRefs"]) {
                let name = text(&backend, "/name").to_owned();
                let kind = backend["kind"].as_str().unwrap_or("Service").to_owned();
                let version = name.strip_prefix("engine-").unwrap().to_owned();
                weights.insert(version, backend["weight"].as_u64().unwrap_or(1));
                backends.push((name, kind));
            }
            splits.push(Split { asked, weights, backends });
        }
        for rule in list(&object["spec"]["http"]) {
            let asked = rule.to_string().contains("x-canary");
            let (mut weights, mut backends) = (BTreeMap::new(), Vec::new());
            for route in list(&rule["route"]) {
                let subset = text(&route, "/destination/subset").to_owned();
                weights.insert(subset, route["weight"].as_u64().unwrap_or(1));
                backends.push((text(&route, "/destination/host").to_owned(), "Service".to_owned()));
            }
            splits.push(Split { asked, weights, backends });
        }
    }
    splits
}

#[test]
fn a_gateway_and_both_meshes_do_the_same_canary() {
    let by_header = (true, BTreeMap::from([("canary".to_owned(), 1)]));
    let by_weight = (false, BTreeMap::from([("canary".to_owned(), 5), ("stable".to_owned(), 95)]));
    for way in ["gateway", "istio", "linkerd"] {
        let folder = format!("solutions/02-routing/deploy/{way}");
        let splits = canary(&render(&folder)).into_iter().map(|split| (split.asked, split.weights));
        assert_eq!(splits.collect::<Vec<_>>(), [by_header.clone(), by_weight.clone()], "{way}");
    }
}

/// Istio ejects by 5xx, and never more than half. Linkerd's breaker is an annotation of each version's Service.
#[test]
fn meshes_leave_replicas_alone_that_fail() {
    let istio = render("solutions/02-routing/deploy/istio");
    let rule = istio.iter().find(|object| object["kind"] == "DestinationRule").unwrap();
    let outliers = &rule["spec"]["trafficPolicy"]["outlierDetection"];
    assert!(outliers["consecutive5xxErrors"].as_u64().unwrap() > 1);
    assert!(outliers["maxEjectionPercent"].as_u64().unwrap() <= 50);
    let subsets = rule["spec"]["subsets"].as_array().unwrap();
    assert_eq!(subsets.len(), 2);
    let linkerd = render("solutions/02-routing/deploy/linkerd");
    let services = linkerd.iter().filter(|object| object["kind"] == "Service");
    let accrual: BTreeMap<&str, bool> = services
        .map(|service| {
            let mode = &service["metadata"]["annotations"]["balancer.linkerd.io/failure-accrual"];
            (text(service, "/metadata/name"), mode == "consecutive")
        })
        .collect();
    let expected = [("engine", false), ("engine-canary", true), ("engine-stable", true)];
    assert_eq!(accrual, BTreeMap::from(expected));
}
