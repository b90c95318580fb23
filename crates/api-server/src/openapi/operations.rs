//! Paths and what can be done there. Clients look here for a resource's kind, and for the parameters that it takes.

use apimachinery::Kind;
use serde_json::{Map, Value, json};

use super::{kind_json, types};

/// Which OpenAPI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    V2,
    V3,
}

/// Parameters of a write.
const WRITE: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
/// Parameters of a patch.
const PATCH: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
    ("force", "boolean"),
];
/// Parameters of a list.
const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
/// Parameters of a deletion.
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
/// Media types of patches.
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// The paths of a kind.
pub(super) fn paths(kind: &Kind, style: Style) -> Vec<(String, Value)> {
    let base = match kind.group.as_str() {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    let place = if kind.is_namespaced() { "/namespaces/{namespace}" } else { "" };
    let many = format!("{base}{place}/{}", kind.plural);
    let one = format!("{many}/{{name}}");
    let writer = Writer { kind, style };
    let collection = json!({
        "get": writer.operation("list", LIST, false),
        "post": writer.operation("post", WRITE, true),
        "delete": writer.operation("deletecollection", DELETE, false),
    });
    let object = json!({
        "get": writer.operation("get", &[], false),
        "put": writer.operation("put", WRITE, true),
        "patch": writer.operation("patch", PATCH, false),
        "delete": writer.operation("delete", DELETE, false),
    });
    let mut paths =
        vec![(many, writer.path(collection, false)), (one.clone(), writer.path(object, true))];
    if kind.has_status() {
        let status = json!({
            "get": writer.operation("get", &[], false),
            "put": writer.operation("put", WRITE, true),
            "patch": writer.operation("patch", PATCH, false),
        });
        paths.push((format!("{one}/status"), writer.path(status, true)));
    }
    paths
}

struct Writer<'a> {
    kind: &'a Kind,
    style: Style,
}

impl Writer<'_> {
    fn operation(&self, action: &str, parameters: &[(&str, &str)], body: bool) -> Value {
        let kind = self.kind;
        let mut all: Vec<Value> =
            parameters.iter().map(|(name, of)| self.parameter(name, "query", of)).collect();
        let name = types::name(kind);
        let answer = if action == "list" { format!("{name}List") } else { name.clone() };
        let mut operation = json!({
            "operationId": format!("{action}{}{}{}", kind.group.replace(['.', '-'], ""), kind.version, kind.kind),
            "responses": {"200": self.response(&answer)},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind_json(&kind.group, &kind.version, &kind.kind),
        });
        match (self.style, body) {
            (Style::V2, true) => all.push(json!({
                "name": "body", "in": "body", "required": true,
                "schema": {"$ref": format!("#/definitions/{name}")},
            })),
            (Style::V3, true) => {
                operation["requestBody"] = json!({"content": {
                    "application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}
                }})
            }
            (_, false) => {}
        }
        if action == "patch" && self.style == Style::V3 {
            let each: Map<String, Value> = PATCHES
                .iter()
                .map(|media| ((*media).to_owned(), json!({"schema": {"type": "object"}})))
                .collect();
            operation["requestBody"] = json!({"content": each});
        }
        if action == "patch" && self.style == Style::V2 {
            operation["consumes"] = json!(PATCHES);
        }
        if !all.is_empty() {
            operation["parameters"] = json!(all);
        }
        operation
    }

    fn response(&self, name: &str) -> Value {
        match self.style {
            Style::V2 => {
                json!({"description": "OK", "schema": {"$ref": format!("#/definitions/{name}")}})
            }
            Style::V3 => json!({"description": "OK", "content": {
                "application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}
            }}),
        }
    }

    fn path(&self, mut item: Value, named: bool) -> Value {
        let mut parameters = Vec::new();
        if named {
            parameters.push(self.parameter("name", "path", "string"));
        }
        if self.kind.is_namespaced() {
            parameters.push(self.parameter("namespace", "path", "string"));
        }
        if !parameters.is_empty() {
            item["parameters"] = json!(parameters);
        }
        item
    }

    fn parameter(&self, name: &str, place: &str, of: &str) -> Value {
        let mut parameter = match self.style {
            Style::V2 => json!({"name": name, "in": place, "type": of, "uniqueItems": true}),
            Style::V3 => {
                json!({"name": name, "in": place, "schema": {"type": of, "uniqueItems": true}})
            }
        };
        if place == "path" {
            parameter["required"] = json!(true);
        }
        parameter
    }
}
