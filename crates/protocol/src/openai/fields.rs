//! Reads one JSON object field by field, as leniently as pydantic's default mode and with its error names.

use serde_json::{Map, Value};

use super::RequestError;

/// Input that is echoed in an error body is cut here, in characters.
const MAX_ECHO: usize = 100;

/// An object and where it is in the body.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    location: String,
}

/// Reads a body that must be a JSON object.
pub(super) fn parse_object(body: &[u8]) -> Result<Map<String, Value>, RequestError> {
    let value = serde_json::from_slice(body).map_err(|error| not_json(body, &error))?;
    match value {
        Value::Object(map) => Ok(map),
        other => Err(wrong_type(
            "model_attributes_type",
            "body".to_owned(),
            "Input should be a valid dictionary or object to extract fields from",
            &other,
        )),
    }
}

fn not_json(body: &[u8], error: &serde_json::Error) -> RequestError {
    let before: usize =
        body.split_inclusive(|&byte| byte == b'\n').take(error.line() - 1).map(<[u8]>::len).sum();
    let offset = (before + error.column()).min(body.len());
    let last = body[..offset].iter().rev().find(|byte| !byte.is_ascii_whitespace());
    let reason = if error.is_eof() && matches!(last, Some(b'{' | b',')) {
        "Expecting property name enclosed in double quotes".to_owned()
    } else {
        let reason = error.to_string();
        reason.split(" at line ").next().unwrap_or_default().to_owned()
    };
    RequestError::NotJson { offset, reason }
}

pub(super) fn wrong_type(
    kind: &'static str,
    location: String,
    reason: &'static str,
    input: &Value,
) -> RequestError {
    RequestError::WrongType { kind, location, reason, input: python(input) }
}

/// A value as Python would print it; containers only by their size, as vLLM does.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => format!("'<list of {} items>'", items.len()),
        Value::Object(map) => items_of(map),
        Value::String(text) => {
            let text: String = text.chars().take(MAX_ECHO).collect();
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            let escaped: String = text.chars().flat_map(|c| escape(c, quote)).collect();
            format!("{quote}{escaped}{quote}")
        }
    }
}

fn escape(c: char, quote: char) -> Vec<char> {
    if c == quote {
        vec!['\\', c]
    } else if c.is_control() || c == '\\' {
        c.escape_default().collect()
    } else {
        vec![c]
    }
}

fn items_of(map: &Map<String, Value>) -> String {
    format!("'<dict of {} items>'", map.len())
}

impl<'a> Fields<'a> {
    /// The body itself.
    pub(super) fn body(map: &'a Map<String, Value>) -> Self {
        Self { map, location: "body".to_owned() }
    }

    /// An object somewhere in the body.
    pub(super) fn at(value: &'a Value, location: String) -> Result<Self, RequestError> {
        match value {
            Value::Object(map) => Ok(Self { map, location }),
            other => {
                let reason = "Input should be a valid dictionary";
                Err(wrong_type("dict_type", location, reason, other))
            }
        }
    }

    /// Where a field of this object is in the body.
    pub(super) fn location(&self, name: &str) -> String {
        format!("{}.{name}", self.location)
    }

    /// A field that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// All fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.map.iter()
    }

    /// The error for a required field that is not there.
    pub(super) fn missing(&self, name: &str) -> RequestError {
        RequestError::WrongType {
            kind: "missing",
            location: self.location(name),
            reason: "Field required",
            input: items_of(self.map),
        }
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<String>, RequestError> {
        self.get(name).map(|value| string(value, self.location(name))).transpose()
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, RequestError> {
        self.get(name).map(|value| Fields::at(value, self.location(name))).transpose()
    }

    pub(super) fn float(&self, name: &str) -> Result<Option<f64>, RequestError> {
        self.get(name).map(|value| float(value, self.location(name))).transpose()
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, RequestError> {
        self.get(name).map(|value| integer(value, self.location(name))).transpose()
    }

    pub(super) fn boolean(&self, name: &str, default: bool) -> Result<bool, RequestError> {
        self.get(name).map_or(Ok(default), |value| boolean(value, self.location(name)))
    }
}

/// The items of a list, each with its location.
pub(super) fn list(
    value: &Value,
    location: String,
) -> Result<impl Iterator<Item = (&Value, String)>, RequestError> {
    match value {
        Value::Array(items) => {
            Ok(items.iter().enumerate().map(move |(i, item)| (item, format!("{location}.{i}"))))
        }
        other => Err(wrong_type("list_type", location, "Input should be a valid list", other)),
    }
}

pub(super) fn string(value: &Value, location: String) -> Result<String, RequestError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(wrong_type("string_type", location, "Input should be a valid string", other)),
    }
}

fn float(value: &Value, location: String) -> Result<f64, RequestError> {
    let parsed = match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    };
    parsed.ok_or_else(|| match value {
        Value::String(_) => wrong_type(
            "float_parsing",
            location,
            "Input should be a valid number, unable to parse string as a number",
            value,
        ),
        _ => wrong_type("float_type", location, "Input should be a valid number", value),
    })
}

pub(super) fn integer(value: &Value, location: String) -> Result<i64, RequestError> {
    let (kind, reason) = match value {
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => return Ok(integer),
            (None, Some(float)) if float.fract() == 0.0 && float.abs() < 2f64.powi(53) => {
                return Ok(float as i64);
            }
            (None, Some(float)) if float.fract() != 0.0 => (
                "int_from_float",
                "Input should be a valid integer, got a number with a fractional part",
            ),
            _ => (
                "int_parsing_size",
                "Unable to parse input string as an integer, exceeded maximum size",
            ),
        },
        Value::Bool(yes) => return Ok(i64::from(*yes)),
        Value::String(text) => match text.trim().parse() {
            Ok(integer) => return Ok(integer),
            Err(_) => (
                "int_parsing",
                "Input should be a valid integer, unable to parse string as an integer",
            ),
        },
        _ => ("int_type", "Input should be a valid integer"),
    };
    Err(wrong_type(kind, location, reason, value))
}

fn boolean(value: &Value, location: String) -> Result<bool, RequestError> {
    let parsed = match value {
        Value::Bool(yes) => Some(*yes),
        Value::Number(number) if number.as_i64() == Some(0) => Some(false),
        Value::Number(number) if number.as_i64() == Some(1) => Some(true),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    parsed.ok_or_else(|| {
        wrong_type(
            "bool_parsing",
            location,
            "Input should be a valid boolean, unable to interpret input",
            value,
        )
    })
}
