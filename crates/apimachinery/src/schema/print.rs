//! From a schema back to JSON, as OpenAPI v3, OpenAPI v2 or our own data file says it.

use serde_json::{Map, Value, json};

use super::{Fields, ListType, Schema, Shape};

/// Whose JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAPI v3, as at `/openapi/v3`.
    V3,
    /// OpenAPI v2, as at `/openapi/v2`.
    V2,
    /// The data file of this crate: short references, and facts that OpenAPI has no word for.
    Data,
}

impl Schema {
    /// The JSON of a dialect.
    #[must_use]
    pub fn to_json(&self, dialect: Dialect) -> Value {
        let mut map = Map::new();
        if !self.description.is_empty() && dialect != Dialect::Data {
            map.insert("description".to_owned(), json!(self.description));
        }
        if !self.format.is_empty() {
            map.insert("format".to_owned(), json!(self.format));
        }
        self.shape_json(dialect, &mut map);
        if let Some(default) = &self.default
            && (dialect != Dialect::V2 || !matches!(self.shape, Shape::Ref(_)))
        {
            map.insert("default".to_owned(), default.clone());
        }
        if !self.choices.is_empty() && dialect != Dialect::V2 {
            map.insert("enum".to_owned(), json!(self.choices));
        }
        if self.nullable && dialect != Dialect::V2 {
            map.insert("nullable".to_owned(), json!(true));
        }
        self.extensions(dialect, &mut map);
        Value::Object(map)
    }

    fn shape_json(&self, dialect: Dialect, map: &mut Map<String, Value>) {
        let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
        let open = self.description.is_empty() && self.default.is_none();
        match &self.shape {
            Shape::Any => {
                if self.preserve_unknown && dialect != Dialect::Data {
                    put("type", json!("object"));
                }
            }
            Shape::Boolean => drop(put("type", json!("boolean"))),
            Shape::Integer => drop(put("type", json!("integer"))),
            Shape::Number => drop(put("type", json!("number"))),
            Shape::Text => drop(put("type", json!("string"))),
            Shape::IntOrString => {
                if dialect == Dialect::V2 {
                    put("type", json!("string"));
                } else {
                    put("oneOf", json!([{"type": "integer"}, {"type": "string"}]));
                }
                put("format", json!("int-or-string"));
            }
            Shape::Quantity if dialect == Dialect::V2 => drop(put("type", json!("string"))),
            Shape::Quantity => drop(put("oneOf", json!([{"type": "string"}, {"type": "number"}]))),
            Shape::Ref(name) => match dialect {
                Dialect::Data => drop(put("$ref", json!(name))),
                Dialect::V2 => drop(put("$ref", json!(format!("#/definitions/{name}")))),
                Dialect::V3 if open => {
                    put("$ref", json!(format!("#/components/schemas/{name}")));
                }
                Dialect::V3 => {
                    let one = json!({"$ref": format!("#/components/schemas/{name}")});
                    put("allOf", json!([one]));
                }
            },
            Shape::List(of) => {
                put("type", json!("array"));
                put("items", of.to_json(dialect));
            }
            Shape::Map(of) => {
                put("type", json!("object"));
                put("additionalProperties", of.to_json(dialect));
            }
            Shape::Object(fields) => {
                put("type", json!("object"));
                fields.to_json(dialect, map);
            }
        }
    }

    fn extensions(&self, dialect: Dialect, map: &mut Map<String, Value>) {
        let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
        match &self.list_type {
            ListType::Set => drop(put("x-kubernetes-list-type", json!("set"))),
            ListType::Map(keys) => {
                put("x-kubernetes-list-type", json!("map"));
                put("x-kubernetes-list-map-keys", json!(keys));
            }
            ListType::Atomic
                if matches!(self.shape, Shape::List(_)) && dialect != Dialect::Data =>
            {
                put("x-kubernetes-list-type", json!("atomic"));
            }
            ListType::Atomic => {}
        }
        if self.atomic {
            put("x-kubernetes-map-type", json!("atomic"));
        }
        let strategies = [(self.merge.merge, "merge"), (self.merge.retain_keys, "retainKeys")];
        let strategies: Vec<&str> =
            strategies.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        if !strategies.is_empty() {
            put("x-kubernetes-patch-strategy", json!(strategies.join(",")));
        }
        if let Some(key) = &self.merge.key {
            put("x-kubernetes-patch-merge-key", json!(key));
        }
        if self.preserve_unknown && self.shape != Shape::Any {
            put("x-kubernetes-preserve-unknown-fields", json!(true));
        }
        if self.embedded {
            put("x-kubernetes-embedded-resource", json!(true));
        }
        if self.drop_zero && dialect == Dialect::Data {
            put("x-drop-zero", json!(true));
        }
    }
}

impl Fields {
    fn to_json(&self, dialect: Dialect, map: &mut Map<String, Value>) {
        if !self.required.is_empty() {
            map.insert("required".to_owned(), json!(self.required));
        }
        if !self.known.is_empty() {
            let known: Map<String, Value> = self
                .known
                .iter()
                .map(|(name, schema)| (name.to_string(), schema.to_json(dialect)))
                .collect();
            map.insert("properties".to_owned(), Value::Object(known));
        }
        if let Some(others) = &self.others {
            map.insert("additionalProperties".to_owned(), others.to_json(dialect));
        }
    }
}
