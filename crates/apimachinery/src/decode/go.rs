//! How Go names and prints JSON values: the API server's messages quote it.

use serde_json::Value;

use crate::schema::{Schema, Shape, Typed};

/// What a JSON value is called when it has the wrong type.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

/// What a converted value is called.
pub(super) fn converted(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

/// The Go type of a field.
pub(super) fn type_of(typed: Typed<'_>) -> String {
    if let Shape::Ref(name) = &typed.declared().shape {
        match typed.shape() {
            Shape::Object(_) | Shape::Any => return short(name),
            _ => {}
        }
    }
    of(typed.schema())
}

fn of(schema: &Schema) -> String {
    match &schema.shape {
        Shape::Any => "interface {}".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::Integer => match schema.format.as_ref() {
            "" => "int64".to_owned(),
            format => format.to_owned(),
        },
        Shape::Number => "float64".to_owned(),
        Shape::Text if schema.format.as_ref() == "byte" => "[]uint8".to_owned(),
        Shape::Text => "string".to_owned(),
        Shape::IntOrString => "int32".to_owned(),
        Shape::Quantity => "resource.Quantity".to_owned(),
        Shape::Object(_) => "struct".to_owned(),
        Shape::Map(of) => match Typed::new(of).shape() {
            Shape::Quantity => "v1.ResourceList".to_owned(),
            _ => format!("map[string]{}", type_of(Typed::new(of))),
        },
        Shape::List(of) => format!("[]{}", type_of(Typed::new(of))),
        Shape::Ref(name) => short(name),
    }
}

/// `v1.Container` of `io.k8s.api.core.v1.Container`.
pub(super) fn short(name: &str) -> String {
    let mut parts = name.rsplit('.');
    match (parts.next(), parts.next()) {
        (Some(last), Some(package)) => format!("{package}.{last}"),
        _ => name.to_owned(),
    }
}

/// A value as Go's `%v` prints it: `map[a:1 b:[x y]]`.
pub(crate) fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut all: Vec<(&String, &Value)> = map.iter().collect();
            all.sort_by_key(|(name, _)| *name);
            let all: Vec<String> =
                all.into_iter().map(|(name, value)| format!("{name}:{}", print(value))).collect();
            format!("map[{}]", all.join(" "))
        }
        other => other.to_string(),
    }
}
