//! From OpenAPI's or a CustomResourceDefinition's JSON to a schema.

use serde_json::{Map, Value};

use super::{Fields, Limits, ListType, Merge, Schema, Shape};

/// Deepest nesting that is read: a definition is a body that somebody sent.
const DEEPEST: usize = 64;
/// Where OpenAPI v3 keeps its types.
const V3: &str = "#/components/schemas/";
/// Where OpenAPI v2 keeps its types.
const V2: &str = "#/definitions/";

/// Why a schema is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct WrongSchema {
    /// Where, like `properties[spec].items`.
    pub path: String,
    /// Why.
    pub why: String,
}

impl Schema {
    /// Reads one type. `structural`: it is a custom resource's, where an object without properties has none; in a built-in
    /// one it may hold anything.
    ///
    /// # Errors
    /// When it is no schema: a wrong type name, or nested too deep.
    pub fn from_json(json: &Value, structural: bool) -> Result<Self, WrongSchema> {
        Reader { structural }.schema(json, "", 0)
    }
}

struct Reader {
    structural: bool,
}

impl Reader {
    fn schema(&self, json: &Value, path: &str, depth: usize) -> Result<Schema, WrongSchema> {
        let fail = |why: String| WrongSchema { path: path.to_owned(), why };
        if depth > DEEPEST {
            return Err(fail(format!("nested deeper than {DEEPEST}")));
        }
        let Some(map) = json.as_object() else {
            return Err(fail("must be an object".to_owned()));
        };
        let flag = |name: &str| map.get(name).and_then(Value::as_bool).unwrap_or(false);
        let text = |name: &str| map.get(name).and_then(Value::as_str).unwrap_or("");
        let mut schema = Schema {
            shape: self.shape(map, path, depth)?,
            format: text("format").into(),
            default: map.get("default").cloned(),
            choices: map.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            nullable: flag("nullable"),
            list_type: list_type(map),
            atomic: text("x-kubernetes-map-type") == "atomic",
            merge: merge(map),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            drop_zero: flag("x-drop-zero"),
            structural: self.structural,
            limits: None,
            description: text("description").into(),
        };
        if schema.shape == Shape::Any && !self.structural {
            schema.preserve_unknown = true;
        }
        if self.structural {
            let limits = self.limits(map, path, depth)?;
            schema.limits = (limits != Limits::default()).then(|| Box::new(limits));
        }
        Ok(schema)
    }

    fn shape(
        &self,
        map: &Map<String, Value>,
        path: &str,
        depth: usize,
    ) -> Result<Shape, WrongSchema> {
        if let Some(name) = reference(map) {
            return Ok(Shape::Ref(name.into()));
        }
        let int_or_string = map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
        if int_or_string || map.get("format").is_some_and(|format| format == "int-or-string") {
            return Ok(Shape::IntOrString);
        }
        let Some(kind) = map.get("type").and_then(Value::as_str) else {
            // Below `oneOf` and the like an object may be known by what it must have alone.
            let named =
                map.contains_key("properties") || self.structural && map.contains_key("required");
            return if !self.structural && map.contains_key("oneOf") {
                Ok(Shape::Quantity)
            } else if named {
                self.object(map, path, depth)
            } else {
                Ok(Shape::Any)
            };
        };
        match kind {
            "boolean" => Ok(Shape::Boolean),
            "integer" => Ok(Shape::Integer),
            "number" => Ok(Shape::Number),
            "string" => Ok(Shape::Text),
            "array" => {
                let items = map.get("items").unwrap_or(&Value::Null);
                let at = format!("{path}{}items", dot(path));
                let items = match items {
                    Value::Null => Schema { preserve_unknown: true, ..Schema::default() },
                    items => self.schema(items, &at, depth + 1)?,
                };
                Ok(Shape::List(Box::new(items)))
            }
            "object" => self.object(map, path, depth),
            other => Err(WrongSchema {
                path: format!("{path}{}type", dot(path)),
                why: format!("Unsupported value: {other:?}"),
            }),
        }
    }

    fn object(
        &self,
        map: &Map<String, Value>,
        path: &str,
        depth: usize,
    ) -> Result<Shape, WrongSchema> {
        let others = match map.get("additionalProperties") {
            None | Some(Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(Schema { preserve_unknown: true, ..Schema::default() }),
            Some(of) => Some(self.schema(
                of,
                &format!("{path}{}additionalProperties", dot(path)),
                depth + 1,
            )?),
        };
        let Some(properties) = map.get("properties").and_then(Value::as_object) else {
            return Ok(match others {
                Some(of) => Shape::Map(Box::new(of)),
                None if self.structural => Shape::Object(Fields {
                    required: names(map.get("required")),
                    ..Fields::default()
                }),
                None => Shape::Any,
            });
        };
        let mut known = std::collections::BTreeMap::new();
        for (name, json) in properties {
            let at = format!("{path}{}properties[{name}]", dot(path));
            known.insert(name.as_str().into(), self.schema(json, &at, depth + 1)?);
        }
        let required = names(map.get("required"));
        Ok(Shape::Object(Fields { known, required, others: others.map(Box::new) }))
    }

    fn limits(
        &self,
        map: &Map<String, Value>,
        path: &str,
        depth: usize,
    ) -> Result<Limits, WrongSchema> {
        let number = |name: &str| map.get(name).and_then(Value::as_f64);
        let size = |name: &str| {
            map.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
        };
        let flag = |name: &str| map.get(name).and_then(Value::as_bool).unwrap_or(false);
        let several = |name: &str| -> Result<Vec<Schema>, WrongSchema> {
            let all = map.get(name).and_then(Value::as_array).into_iter().flatten();
            all.enumerate()
                .map(|(i, one)| {
                    self.schema(one, &format!("{path}{}{name}[{i}]", dot(path)), depth + 1)
                })
                .collect()
        };
        let not = map.get("not");
        Ok(Limits {
            minimum: number("minimum"),
            maximum: number("maximum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: size("minLength"),
            max_length: size("maxLength"),
            pattern: map.get("pattern").and_then(Value::as_str).map(str::to_owned),
            min_items: size("minItems"),
            max_items: size("maxItems"),
            unique_items: flag("uniqueItems"),
            min_properties: size("minProperties"),
            max_properties: size("maxProperties"),
            all_of: several("allOf")?,
            any_of: several("anyOf")?,
            one_of: several("oneOf")?,
            not: not
                .map(|one| self.schema(one, &format!("{path}{}not", dot(path)), depth + 1))
                .transpose()?,
            rules: map
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
        })
    }
}

fn dot(path: &str) -> &'static str {
    if path.is_empty() { "" } else { "." }
}

fn names(list: Option<&Value>) -> Vec<Box<str>> {
    let all = list.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).map(Into::into).collect()
}

/// The type a schema refers to: alone, or wrapped in an `allOf` of one.
fn reference(map: &Map<String, Value>) -> Option<&str> {
    let direct = map.get("$ref");
    let wrapped = || match map.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([one]) => one.get("$ref"),
        _ => None,
    };
    let text = direct.or_else(wrapped)?.as_str()?;
    Some(text.strip_prefix(V3).or_else(|| text.strip_prefix(V2)).unwrap_or(text))
}

fn list_type(map: &Map<String, Value>) -> ListType {
    match map.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(names(map.get("x-kubernetes-list-map-keys"))),
        _ => ListType::Atomic,
    }
}

fn merge(map: &Map<String, Value>) -> Merge {
    let strategy = map.get("x-kubernetes-patch-strategy").and_then(Value::as_str).unwrap_or("");
    let key = map.get("x-kubernetes-patch-merge-key").and_then(Value::as_str);
    Merge {
        merge: strategy.split(',').any(|one| one == "merge"),
        retain_keys: strategy.split(',').any(|one| one == "retainKeys"),
        key: key.map(Into::into),
    }
}
