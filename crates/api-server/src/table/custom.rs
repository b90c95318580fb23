//! Rows of custom resources, with the columns that their definition names.

use apimachinery::{Kind, Meta};
use jiff::Timestamp;
use object_store::Store;
use serde_json::{Value, json};

use super::age;
use super::path::Path;
use crate::definitions;

/// A column of a definition.
pub(super) struct Column {
    json: Value,
    of: String,
    path: Option<Path>,
}

impl Column {
    pub(super) fn json(&self) -> Value {
        self.json.clone()
    }

    fn read(given: &Value) -> Self {
        let text = |field: &str| given[field].as_str().unwrap_or("").to_owned();
        let path = text("jsonPath");
        let description = match text("description") {
            empty if empty.is_empty() => {
                format!("Custom resource definition column (in JSONPath format): {path}")
            }
            text => text,
        };
        let json = json!({
            "name": text("name"), "type": text("type"), "format": text("format"),
            "description": description, "priority": given["priority"].as_i64().unwrap_or(0),
        });
        Self { json, of: text("type"), path: Path::parse(&path) }
    }
}

/// The columns of a custom resource; its age when its definition names none.
pub(super) fn columns(store: &Store, kind: &Kind) -> Vec<Column> {
    let definition = definitions::of(store, kind);
    let version =
        definition.as_ref().and_then(|one| definitions::version(one.value(), &kind.version));
    let given = version.and_then(|version| version["additionalPrinterColumns"].as_array());
    match given {
        Some(given) if !given.is_empty() => given.iter().map(Column::read).collect(),
        _ => {
            let path = ".metadata.creationTimestamp";
            vec![Column::read(&json!({"name": "Age", "type": "date", "jsonPath": path}))]
        }
    }
}

/// The cells of a custom resource.
pub(super) fn cells(columns: &[Column], object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![json!(object.name())];
    cells.extend(columns.iter().map(|column| {
        let found = column.path.as_ref().and_then(|path| path.find(object).next());
        found.map_or(Value::Null, |value| cell(&column.of, value, now))
    }));
    cells
}

fn cell(of: &str, value: &Value, now: Timestamp) -> Value {
    match (of, value) {
        (_, Value::Null) => Value::Null,
        ("date", time) => json!(age::since(time, now)),
        ("integer", number) if number.is_i64() => number.clone(),
        ("integer", number) => number.as_f64().map_or(Value::Null, |number| json!(number as i64)),
        ("number", number) if number.is_number() => number.clone(),
        ("boolean", Value::Bool(_)) => value.clone(),
        ("number" | "boolean", _) => Value::Null,
        (_, Value::String(text)) => json!(text),
        (_, other) => json!(other.to_string()),
    }
}
