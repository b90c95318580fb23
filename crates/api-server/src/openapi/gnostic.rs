//! An OpenAPI v2 document as gnostic's protobuf: what kubectl up to 1.26 reads.
//!
//! Field numbers are those of gnostic-models' `OpenAPIv2.proto`. Values that have no message of their own, like extensions,
//! travel as YAML text; JSON is YAML.

use serde_json::{Map, Value};

use crate::protobuf::Message;

/// The document as a `Document` message.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, document["swagger"].as_str().unwrap_or(""));
    let mut info = Message::default();
    info.text(1, document["info"]["title"].as_str().unwrap_or(""));
    info.text(2, document["info"]["version"].as_str().unwrap_or(""));
    out.message(2, info);
    let mut paths = Message::default();
    for (name, item) in fields(&document["paths"]) {
        paths.message(2, named(name, path_item(item)));
    }
    out.message(8, paths);
    let mut definitions = Message::default();
    for (name, of) in fields(&document["definitions"]) {
        definitions.message(1, named(name, schema(of)));
    }
    out.message(9, definitions);
    out.into_bytes()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn named(name: &str, value: Message) -> Message {
    let mut out = Message::default();
    out.text(1, name);
    out.message(2, value);
    out
}

/// An `Any`: YAML text.
fn any(value: &Value) -> Message {
    let mut out = Message::default();
    out.text(2, &value.to_string());
    out
}

fn extensions(value: &Value, tag: u32, out: &mut Message) {
    for (name, value) in fields(value).filter(|(name, _)| name.starts_with("x-")) {
        out.message(tag, named(name, any(value)));
    }
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (method, tag) in [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)] {
        if let Some(of) = item.get(method) {
            out.message(tag, operation(of));
        }
    }
    for one in items(&item["parameters"]) {
        out.message(9, parameter(one));
    }
    out
}

fn operation(of: &Value) -> Message {
    let mut out = Message::default();
    out.text(5, of["operationId"].as_str().unwrap_or(""));
    for media in items(&of["consumes"]) {
        out.text(7, media.as_str().unwrap_or(""));
    }
    for one in items(&of["parameters"]) {
        out.message(8, parameter(one));
    }
    let mut responses = Message::default();
    for (code, response) in fields(&of["responses"]) {
        let (mut inner, mut item, mut value) =
            (Message::default(), Message::default(), Message::default());
        inner.text(1, response["description"].as_str().unwrap_or(""));
        item.message(1, schema(&response["schema"]));
        inner.message(2, item);
        value.message(1, inner);
        responses.message(1, named(code, value));
    }
    out.message(9, responses);
    extensions(of, 13, &mut out);
    out
}

/// A `ParametersItem`.
fn parameter(one: &Value) -> Message {
    let text = |field: &str| one[field].as_str().unwrap_or("");
    let required = one["required"] == true;
    let (mut parameter, mut inner) = (Message::default(), Message::default());
    if text("in") == "body" {
        inner.text(2, text("name"));
        inner.text(3, text("in"));
        inner.boolean(4, required);
        inner.message(5, schema(&one["schema"]));
        parameter.message(1, inner);
    } else {
        let is_query = text("in") == "query";
        inner.boolean(1, required);
        inner.text(2, text("in"));
        inner.text(4, text("name"));
        inner.text(if is_query { 6 } else { 5 }, text("type"));
        let mut kind = Message::default();
        kind.message(if is_query { 3 } else { 4 }, inner);
        parameter.message(2, kind);
    }
    let mut out = Message::default();
    out.message(1, parameter);
    out
}

fn schema(of: &Value) -> Message {
    let mut out = Message::default();
    for (field, tag) in [("$ref", 1), ("format", 2), ("description", 4)] {
        if let Some(text) = of[field].as_str() {
            out.text(tag, text);
        }
    }
    if let Some(default) = of.get("default") {
        out.message(5, any(default));
    }
    for name in items(&of["required"]) {
        out.text(19, name.as_str().unwrap_or(""));
    }
    if let Some(others) = of.get("additionalProperties").filter(|others| others.is_object()) {
        let mut item = Message::default();
        item.message(1, schema(others));
        out.message(21, item);
    }
    if let Some(name) = of["type"].as_str() {
        let mut item = Message::default();
        item.text(1, name);
        out.message(22, item);
    }
    if let Some(of) = of.get("items") {
        let mut item = Message::default();
        item.message(1, schema(of));
        out.message(23, item);
    }
    if of["properties"].is_object() {
        let mut properties = Message::default();
        for (name, of) in fields(&of["properties"]) {
            properties.message(1, named(name, schema(of)));
        }
        out.message(25, properties);
    }
    extensions(of, 31, &mut out);
    out
}
