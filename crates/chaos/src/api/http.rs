//! `HTTPChaos`: requests and responses that are cut, late or changed.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{ChaosStatus, PodSelector};

/// Requests to pods, or responses of them, that are cut, late or changed.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(group = "chaos-mesh.org", version = "v1alpha1", kind = "HTTPChaos", plural = "httpchaos")]
#[kube(singular = "httpchaos", namespaced, status = "HTTPChaosStatus")]
#[kube(derive = "PartialEq", doc = "Requests or responses that are cut, late or changed")]
#[kube(printcolumn(name = "duration", json_path = ".spec.duration", type_ = "string"))]
#[serde(rename_all = "camelCase")]
pub struct HTTPChaosSpec {
    /// The pods that serve.
    #[serde(flatten)]
    pub selector: PodSelector,
    /// Which half of an exchange is hit.
    pub target: HttpTarget,
    /// What happens to it.
    #[serde(flatten)]
    pub actions: HttpActions,
    /// The port that is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int32")]
    pub port: Option<i32>,
    /// Hit only this path; `*` and `?` are wildcards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub path: Option<String>,
    /// Hit only this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub method: Option<String>,
    /// Hit only responses with this status code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int32")]
    pub code: Option<i32>,
    /// Hit only requests with these headers.
    #[serde(default, rename = "request_headers", skip_serializing_if = "BTreeMap::is_empty")]
    pub request_headers: BTreeMap<String, String>,
    /// Hit only responses with these headers.
    #[serde(default, rename = "response_headers", skip_serializing_if = "BTreeMap::is_empty")]
    pub response_headers: BTreeMap<String, String>,
    /// The certificate to open TLS with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HttpTls")]
    pub tls: Option<HttpTls>,
    /// How long, like `30s`; without it, until the object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub duration: Option<String>,
    /// Another cluster, registered with Chaos Mesh, in which the fault is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub remote_cluster: Option<String>,
}

/// A half of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpTarget {
    /// What the client sends.
    Request,
    /// What the server answers.
    Response,
}

/// What happens to a request or a response, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HttpActions {
    /// The connection is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub abort: Option<bool>,
    /// It comes late by this much, like `300ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub delay: Option<String>,
    /// Parts of it are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HttpReplace")]
    pub replace: Option<HttpReplace>,
    /// Parts are added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HttpPatch")]
    pub patch: Option<HttpPatch>,
}

/// Parts that take the place of others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HttpReplace {
    /// Of a request: the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub path: Option<String>,
    /// Of a request: the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub method: Option<String>,
    /// Of a response: the status code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int32")]
    pub code: Option<i32>,
    /// The body, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "base64")]
    pub body: Option<String>,
    /// Of a request: values of query parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub queries: BTreeMap<String, String>,
    /// Values of headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// Parts that come on top.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HttpPatch {
    /// A change of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "HttpPatchBody")]
    pub body: Option<HttpPatchBody>,
    /// Of a request: query parameters to add, each a name and a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<Vec<String>>,
    /// Headers to add, each a name and a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Vec<String>>,
}

/// A change of a body.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HttpPatchBody {
    /// `JSON`, a merge patch (RFC 7396), is the only one.
    #[serde(rename = "type")]
    pub kind: String,
    /// The patch as text.
    pub value: String,
}

/// A certificate in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpTls {
    /// The Secret's name.
    pub secret_name: String,
    /// The Secret's namespace.
    pub secret_namespace: String,
    /// The key of the certificate in it.
    pub cert_name: String,
    /// The key of the private key in it.
    pub key_name: String,
    /// The key of the authority's certificate in it.
    #[serde(default, rename = "caName", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub ca_name: Option<String>,
}

/// Where the experiment stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HTTPChaosStatus {
    /// The part that all kinds share.
    #[serde(flatten)]
    pub chaos: ChaosStatus,
    /// Which generation of its rules each pod has (Chaos Mesh's own).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<String, i64>,
}

fn int32(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32" })
}

fn base64(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "byte" })
}
