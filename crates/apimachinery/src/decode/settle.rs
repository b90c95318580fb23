//! Brings an object into the form it is stored in: wrong types are refused, nulls and unknown fields go, fields that are
//! always there come.

use std::fmt;

use serde_json::{Map, Value};

use super::go;
use crate::quantity::Quantity;
use crate::schema::{Fields, Schema, Shape, Typed};

/// A value of the wrong type, or a text that does not read.
#[derive(Clone, Debug, PartialEq)]
pub enum Mismatch {
    /// Another JSON type was expected.
    Type {
        /// The Go struct that holds the field.
        holder: String,
        /// The field's path, without list indices.
        path: String,
        /// The Go type expected.
        expected: String,
        /// What was found.
        found: Value,
    },
    /// The text does not read.
    Text(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(why) => f.write_str(why),
            Self::Type { holder, path, expected, found } => {
                let number = found.as_number().filter(|_| expected.starts_with("int"));
                let what = match number {
                    Some(number) => format!("number {number}"),
                    None => go::kind(found),
                };
                write!(
                    f,
                    "json: cannot unmarshal {what} into Go struct field {holder}.{path} of type {expected}"
                )
            }
        }
    }
}

impl Mismatch {
    /// The words of a strategic merge patch, which converts values and does not read text.
    #[must_use]
    pub fn converted(&self) -> String {
        match self {
            Self::Text(why) => why.clone(),
            Self::Type { expected, found, .. } => {
                let is = go::converted(found);
                match expected.as_str() {
                    map if map.starts_with("map[") || map == "v1.ResourceList" => {
                        format!("cannot restore map from {is}")
                    }
                    list if list.starts_with("[]") => format!("cannot restore slice from {is}"),
                    object if object.contains('.') => format!("cannot restore struct from: {is}"),
                    other => format!("cannot convert {is} to {other}"),
                }
            }
        }
    }
}

/// Settles an object of a schema. Returns the paths of the fields it dropped because nobody knows them.
///
/// # Errors
/// The first value of a wrong type.
pub fn settle(typed: Typed<'_>, value: &mut Value) -> Result<Vec<String>, Mismatch> {
    let mut walk = Walk {
        holder: String::new(),
        path: String::new(),
        exact: String::new(),
        unknown: Vec::new(),
    };
    if let Shape::Ref(name) = &typed.declared().shape {
        walk.holder = last(name);
    }
    if let (Some(fields), Value::Object(map)) = (typed.fields(), &mut *value) {
        if walk.holder.is_empty() {
            walk.holder = map.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
        }
        walk.object(typed, fields, map)?;
    }
    Ok(walk.unknown)
}

/// The object of a kind that says nothing yet, as Go prints it: lists that must be there are null.
///
/// # Errors
/// Never for a schema whose own defaults have its types.
pub fn blank(typed: Typed<'_>, kind: &crate::Kind) -> Result<Value, Mismatch> {
    let mut object = serde_json::json!({"apiVersion": kind.api_version(), "kind": kind.kind});
    settle(typed, &mut object)?;
    nulls(typed, &mut object);
    Ok(object)
}

fn nulls(typed: Typed<'_>, value: &mut Value) {
    let (Some(fields), Some(map)) = (typed.fields(), value.as_object_mut()) else { return };
    for name in &fields.required {
        let list = typed.known(name).is_some_and(|field| matches!(field.shape(), Shape::List(_)));
        if list && !map.contains_key(name.as_ref()) {
            map.insert(name.to_string(), Value::Null);
        }
    }
    for (name, value) in map.iter_mut() {
        if let Some(inner) = typed.known(name) {
            nulls(inner, value);
        }
    }
}

struct Walk {
    holder: String,
    /// Without list indices.
    path: String,
    /// With them.
    exact: String,
    unknown: Vec<String>,
}

fn last(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).to_owned()
}

fn is_time_type(name: &str) -> bool {
    name.ends_with(".v1.Time") || name.ends_with(".v1.MicroTime")
}

/// A value that a plain Go field would not print.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

impl Walk {
    fn wrong(&self, typed: Typed<'_>, found: &Value) -> Mismatch {
        Mismatch::Type {
            holder: self.holder.clone(),
            path: self.path.clone(),
            expected: go::type_of(typed),
            found: found.clone(),
        }
    }

    fn value(&mut self, typed: Typed<'_>, value: &mut Value) -> Result<(), Mismatch> {
        let schema = typed.schema();
        if schema.structural && !value.is_object() && !value.is_array() {
            return Ok(());
        }
        match (typed.shape(), &mut *value) {
            (Shape::Any, _)
            | (Shape::Boolean, Value::Bool(_))
            | (Shape::Number, Value::Number(_))
            | (Shape::IntOrString, Value::String(_)) => Ok(()),
            (_, Value::Null) => Ok(()),
            (Shape::Integer | Shape::IntOrString, Value::Number(number)) => {
                let in_range = number.as_i64().is_some_and(|number| {
                    let narrow =
                        schema.format.as_ref() == "int32" || schema.shape == Shape::IntOrString;
                    !narrow || i32::try_from(number).is_ok()
                });
                if in_range { Ok(()) } else { Err(self.wrong(typed, value)) }
            }
            (Shape::Text, Value::String(text)) => check_text(&schema.format, text),
            (Shape::Quantity, found) => settle_quantity(found),
            (Shape::List(of), Value::Array(list)) => self.list(Typed::new(of), list),
            (Shape::Map(of), Value::Object(map)) => self.map(Typed::new(of), map),
            (Shape::Object(fields), Value::Object(map)) => {
                let outer = match &typed.declared().shape {
                    Shape::Ref(name) => Some(std::mem::replace(&mut self.holder, last(name))),
                    _ => None,
                };
                let settled = self.object(typed, fields, map);
                if let (Some(outer), true) = (outer, settled.is_ok()) {
                    self.holder = outer;
                }
                settled
            }
            _ if schema.structural => Ok(()),
            (_, found) => {
                let found = found.clone();
                Err(self.wrong(typed, &found))
            }
        }
    }

    fn within<T>(
        &mut self,
        name: &str,
        inner: impl FnOnce(&mut Self) -> Result<T, Mismatch>,
    ) -> Result<T, Mismatch> {
        let (path, exact) = (self.path.len(), self.exact.len());
        for text in [&mut self.path, &mut self.exact] {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(name);
        }
        let done = inner(self)?;
        self.path.truncate(path);
        self.exact.truncate(exact);
        Ok(done)
    }

    fn list(&mut self, item: Typed<'_>, list: &mut [Value]) -> Result<(), Mismatch> {
        for (i, one) in list.iter_mut().enumerate() {
            let exact = self.exact.len();
            self.exact.push_str(&format!("[{i}]"));
            self.value(item, one)?;
            if one.is_null() {
                *one = zero(item);
            }
            self.exact.truncate(exact);
        }
        Ok(())
    }

    fn map(&mut self, item: Typed<'_>, map: &mut Map<String, Value>) -> Result<(), Mismatch> {
        for (name, one) in map.iter_mut() {
            let exact = self.exact.len();
            self.exact.push_str(&format!(".{name}"));
            self.value(item, one)?;
            if one.is_null() {
                *one = zero(item);
            }
            self.exact.truncate(exact);
        }
        Ok(())
    }

    fn object(
        &mut self,
        typed: Typed<'_>,
        fields: &Fields,
        map: &mut Map<String, Value>,
    ) -> Result<(), Mismatch> {
        let strangers: Vec<String> =
            map.keys().filter(|name| typed.field(name).is_none()).cloned().collect();
        for name in strangers {
            map.remove(&name);
            let dot = if self.exact.is_empty() { "" } else { "." };
            self.unknown.push(format!("{}{dot}{name}", self.exact));
        }
        let mut gone = Vec::new();
        for (name, value) in map.iter_mut() {
            let Some(schema) = fields.known.get(name.as_str()) else { continue };
            self.within(name, |walk| walk.value(Typed::new(schema), value))?;
            if value.is_null() && !schema.nullable && !is_null_time(name, schema)
                || schema.drop_zero && is_zero(value)
            {
                gone.push(name.clone());
            }
        }
        for name in gone {
            map.remove(&name);
        }
        self.fill(fields, map)
    }

    /// Adds what is always there.
    fn fill(&mut self, fields: &Fields, map: &mut Map<String, Value>) -> Result<(), Mismatch> {
        for (name, schema) in &fields.known {
            if map.contains_key(name.as_ref()) {
                continue;
            }
            if is_null_time(name, schema) {
                map.insert(name.to_string(), Value::Null);
            }
            let Some(default) = &schema.default else { continue };
            let mut value = default.clone();
            self.within(name, |walk| walk.value(Typed::new(schema), &mut value))?;
            map.insert(name.to_string(), value);
        }
        Ok(())
    }
}

/// Times that are null where they are absent: plain values in Go, not pointers.
const NULL_TIMES: &[&str] = &[
    "eventTime",
    "firstTimestamp",
    "lastHeartbeatTime",
    "lastProbeTime",
    "lastTimestamp",
    "lastTransitionTime",
    "lastUpdateTime",
];

/// A field that is null when it is absent.
fn is_null_time(name: &str, schema: &Schema) -> bool {
    matches!(&schema.shape, Shape::Ref(of) if is_time_type(of)) && NULL_TIMES.contains(&name)
}

/// What Go makes of a null in a list or a map.
fn zero(typed: Typed<'_>) -> Value {
    match typed.shape() {
        Shape::Text => Value::String(String::new()),
        Shape::Integer | Shape::Number => 0.into(),
        Shape::Boolean => Value::Bool(false),
        Shape::Quantity => "0".into(),
        Shape::Object(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

fn settle_quantity(found: &mut Value) -> Result<(), Mismatch> {
    let text = match &*found {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => other.to_string(),
    };
    let read: Quantity = text
        .parse()
        .map_err(|error: crate::quantity::WrongQuantity| Mismatch::Text(error.to_string()))?;
    let canonical = read.to_string();
    if found.as_str() != Some(&canonical) {
        *found = Value::String(canonical);
    }
    Ok(())
}

fn check_text(format: &str, text: &str) -> Result<(), Mismatch> {
    match format {
        "byte" => match base64_error(text) {
            None => Ok(()),
            Some(at) => Err(Mismatch::Text(format!("illegal base64 data at input byte {at}"))),
        },
        "date-time" if !text.is_empty() => check_time(text),
        _ => Ok(()),
    }
}

/// The position of the first byte that is no base64.
fn base64_error(text: &str) -> Option<usize> {
    let plain: Vec<(usize, u8)> =
        text.bytes().enumerate().filter(|(_, c)| !matches!(c, b'\n' | b'\r')).collect();
    let data = plain.iter().position(|(_, c)| *c == b'=').unwrap_or(plain.len());
    let is_data = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
    if let Some((at, _)) = plain[..data].iter().find(|(_, c)| !is_data(*c)) {
        return Some(*at);
    }
    let padding = plain.len() - data;
    let right = matches!((data % 4, padding), (0, 0) | (2, 2) | (3, 1))
        && plain[data..].iter().all(|(_, c)| *c == b'=');
    (!right).then_some(if padding == 0 {
        data - data % 4
    } else {
        plain.get(data).map_or(data, |(at, _)| *at)
    })
}

/// Whether a text is an RFC 3339 time.
pub(crate) fn is_time(text: &str) -> bool {
    check_time(text).is_ok()
}

/// Checks an RFC 3339 time roughly as Go does: what matters is that other readers will take it.
fn check_time(text: &str) -> Result<(), Mismatch> {
    let layout = "2006-01-02T15:04:05Z07:00";
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| {
        bytes.get(from..to).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let parts = [
        (0, 4, "2006"),
        (5, 7, "01"),
        (8, 10, "02"),
        (11, 13, "15"),
        (14, 16, "04"),
        (17, 19, "05"),
    ];
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let wrong = parts.iter().find(|(from, to, _)| !digits(*from, *to));
    if let Some((from, _, name)) = wrong {
        let rest = text.get(*from..).unwrap_or("");
        return Err(Mismatch::Text(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {name:?}"
        )));
    }
    let mark = marks.iter().find(|(at, mark)| bytes.get(*at) != Some(mark));
    if let Some((at, mark)) = mark {
        let rest = text.get(*at..).unwrap_or("");
        let mark = char::from(*mark).to_string();
        return Err(Mismatch::Text(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {mark:?}"
        )));
    }
    let rest = text.get(19..).unwrap_or("");
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = zone.len() == 6 && zone.starts_with(['+', '-']) && zone.as_bytes()[3] == b':';
    if zone == "Z" || offset {
        return Ok(());
    }
    Err(Mismatch::Text(format!(
        "parsing time {text:?} as {layout:?}: cannot parse {rest:?} as \"Z07:00\""
    )))
}
