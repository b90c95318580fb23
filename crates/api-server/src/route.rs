//! From a request to who answers it.

use std::sync::Arc;

use apimachinery::{Reason, Status};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use http::Request;

use crate::answer::{self, Answer, Response};
use crate::path::{self, Target};
use crate::query::Query;
use crate::server::Server;
use crate::{body, discovery, health, metrics, openapi, resource, reviews, version};

/// The longest path and query that is read.
const MAX_URI: usize = 64 * 1024;

/// Everything that the server answers.
pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new().fallback(handle).with_state(server)
}

/// A request, checked and taken apart.
pub(crate) struct Ask {
    pub(crate) server: Arc<Server>,
    pub(crate) parts: http::request::Parts,
    pub(crate) query: Query,
    pub(crate) body: Body,
}

impl Ask {
    /// The whole body.
    ///
    /// # Errors
    /// 413, 400.
    pub(crate) async fn read_body(&mut self) -> Result<bytes::Bytes, Status> {
        let body = std::mem::replace(&mut self.body, Body::empty());
        body::read(body, self.server.config.limits.body_bytes).await
    }
}

async fn handle(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    if let Err(status) = server.guard.check(&parts.headers, authority) {
        return answer::refusal(&status);
    }
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or(""));
    if path.len() + query.len() > MAX_URI {
        let status = Status::new(414, Reason::BadRequest, "the request's URI is too long");
        return answer::refusal(&status);
    }
    let Some(segments) = path::segments(path) else { return answer::path_not_found() };
    let query = Query::parse(query);
    let ask = Ask { server, parts, query, body };
    match dispatch(ask, &segments).await {
        Ok(response) => response,
        Err(status) => answer::refusal(&status),
    }
}

async fn dispatch(ask: Ask, segments: &[String]) -> Answer {
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["version"] => Ok(answer::json(200, &version::version())),
        [kind @ ("healthz" | "livez" | "readyz"), below @ ..] => {
            let stopping = *ask.server.stopping.borrow();
            Ok(health::check(kind, below, &ask.query, stopping))
        }
        [] => discovery::root(&ask.server),
        ["api"] => discovery::core(&ask.server, &ask.parts.headers),
        ["apis"] => discovery::all(&ask.server, &ask.parts.headers),
        ["apis", group] => discovery::group(&ask.server, group),
        ["api", version] => discovery::version(&ask.server, "", version),
        ["apis", group, version] => discovery::version(&ask.server, group, version),
        ["openapi", "v2"] => Ok(openapi::v2(&ask.server, &ask.parts.headers)),
        ["openapi", "v3"] => Ok(openapi::index(&ask.server)),
        ["openapi", "v3", "api", version] => {
            openapi::document(&ask.server, "", version, &ask.query)
        }
        ["openapi", "v3", "apis", group, version] => {
            openapi::document(&ask.server, group, version, &ask.query)
        }
        ["apis", "authorization.k8s.io" | "authentication.k8s.io", "v1", resource] => {
            let resource = (*resource).to_owned();
            reviews::review(ask, &resource).await
        }
        ["apis", "metrics.k8s.io", "v1beta1", rest @ ..] => metrics::usage(ask, rest).await,
        ["apis", "custom.metrics.k8s.io", "v1beta2", rest @ ..] => metrics::custom(ask, rest).await,
        ["apis", "external.metrics.k8s.io", "v1beta1", rest @ ..] => {
            metrics::external(ask, rest).await
        }
        ["api", version, _, ..] => resources(ask, "", version, &segments[2..]).await,
        ["apis", group, version, _, ..] => resources(ask, group, version, &segments[3..]).await,
        _ => Ok(answer::path_not_found()),
    }
}

async fn resources(ask: Ask, group: &str, version: &str, rest: &[String]) -> Answer {
    let target = Target::parse(group, version, rest).ok_or_else(answer::no_such_resource)?;
    resource::answer(ask, target).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tower::ServiceExt;

    use super::*;
    use crate::{Certificates, Config, NoNodes};

    fn server() -> Arc<Server> {
        let store = object_store::Store::default();
        let at = std::net::Ipv4Addr::LOCALHOST;
        object_store::bootstrap(&store, at, 443).unwrap();
        let definition = serde_json::json!({
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                        "type": "object", "properties": {"size": {"type": "integer"}},
                    }}}},
                }],
            },
        });
        let definitions = store.kind("apiextensions.k8s.io", "customresourcedefinitions");
        store.create(&definitions, definition, &object_store::WriteOptions::default()).unwrap();
        let certificates = Certificates {
            authority: String::new(),
            certificate: String::new(),
            key: String::new(),
        };
        let (_stop, stopping) = tokio::sync::watch::channel(false);
        Arc::new(Server {
            store,
            config: Config::new("token", certificates),
            nodes: Arc::new(NoNodes),
            guard: crate::guard::Guard::new("token"),
            address: "localhost:443".to_owned(),
            stopping,
        })
    }

    const WORDS: &[&str] = &[
        "api",
        "apis",
        "v1",
        "v2",
        "v1beta1",
        "v1beta2",
        "apps",
        "batch",
        "example.com",
        "namespaces",
        "default",
        "pods",
        "nodes",
        "deployments",
        "widgets",
        "configmaps",
        "services",
        "a",
        "b",
        "log",
        "exec",
        "scale",
        "status",
        "eviction",
        "binding",
        "finalize",
        "token",
        "proxy",
        "portforward",
        "attach",
        "openapi",
        "v3",
        "version",
        "healthz",
        "ping",
        "metrics.k8s.io",
        "autoscaling",
        "custom.metrics.k8s.io",
        "external.metrics.k8s.io",
        "horizontalpodautoscalers",
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "authorization.k8s.io",
        "events",
        "selfsubjectaccessreviews",
        "%2F",
        "%ff",
        "..",
        "*",
    ];
    const NAMES: &[&str] = &[
        "labelSelector",
        "fieldSelector",
        "limit",
        "continue",
        "resourceVersion",
        "dryRun",
        "resourceVersionMatch",
        "sendInitialEvents",
        "fieldManager",
        "fieldValidation",
        "force",
        "timeoutSeconds",
        "container",
        "command",
        "stdin",
        "tailLines",
        "sinceTime",
        "ports",
        "propagationPolicy",
        "gracePeriodSeconds",
        "pretty",
        "hash",
        "includeObject",
    ];
    const VALUES: &[&str] = &[
        "",
        "0",
        "1",
        "-1",
        "true",
        "x",
        "a=b",
        "a in (b",
        "metadata.name=a",
        "All",
        "Strict",
        "Exact",
        "NotOlderThan",
        "99999999999999999999",
        "eyJ2IjoxfQ",
        "Orphan",
        "Object",
    ];
    const MEDIA: &[&str] = &[
        "application/json",
        "application/yaml",
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
        "application/vnd.kubernetes.protobuf",
        "text/plain",
        "",
    ];
    const ACCEPTS: &[&str] = &[
        "application/json",
        "*/*",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "text/html",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    ];

    fn pick(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
        prop::sample::select(words)
    }

    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
            pick(WORDS).prop_map(Into::into),
        ];
        let value = leaf.prop_recursive(6, 40, 5, |inner| {
            let field = pick(&[
                "apiVersion",
                "kind",
                "metadata",
                "name",
                "namespace",
                "labels",
                "spec",
                "status",
                "template",
                "containers",
                "image",
                "replicas",
                "selector",
                "matchLabels",
                "data",
                "finalizers",
                "ownerReferences",
                "managedFields",
                "op",
                "path",
                "value",
                "$patch",
                "target",
                "deleteOptions",
                "preconditions",
                "resourceVersion",
                "ports",
                "versions",
                "names",
                "schema",
                "openAPIV3Schema",
                "type",
                "metrics",
                "generateName",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::vec((field, inner), 0..6).prop_map(|all| all
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()),
            ]
        });
        let text = value.prop_map(|value| value.to_string().into_bytes());
        let cut = (text.clone(), 0usize..200)
            .prop_map(|(text, at)| text.get(..at).map_or(text.clone(), <[u8]>::to_vec));
        let deep = (1usize..5000).prop_map(|depth| b"{\"spec\":".repeat(depth));
        let message = prop::collection::vec(any::<u8>(), 0..80)
            .prop_map(|bytes| [b"k8s\0".as_slice(), &bytes].concat());
        prop_oneof![4 => text, 2 => cut, 1 => deep, 1 => message, 1 => prop::collection::vec(any::<u8>(), 0..60)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn any_request_is_answered_or_refused(
            method in pick(&["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "FOO"]),
            path in prop::collection::vec(pick(WORDS), 0..8),
            query in prop::collection::vec((pick(NAMES), pick(VALUES)), 0..4),
            media in pick(MEDIA),
            accept in pick(ACCEPTS),
            body in bodies(),
        ) {
            let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect();
            let uri = format!("/{}?{}", path.join("/"), query.join("&"));
            let request = Request::builder()
                .method(method)
                .uri(uri.as_str())
                .header("host", "localhost")
                .header("authorization", "Bearer token")
                .header("content-type", media)
                .header("accept", accept)
                .body(Body::from(body))
                .unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (code, text) = runtime.block_on(async {
                let response = router(server()).oneshot(request).await.unwrap();
                let code = response.status().as_u16();
                let text = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
                (code, text)
            });
            let text = String::from_utf8_lossy(&text);
            // The one that the real server says for a configuration that is no such object.
            let known = text.contains("failed to create typed patch object");
            prop_assert!(code != 500 || known, "{method} {uri}: {text}");
        }
    }
}
