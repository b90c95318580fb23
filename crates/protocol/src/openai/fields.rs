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

/// Whether Python takes a value for true.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
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

    /// A field that is there, null or not.
    pub(super) fn raw(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    /// A field that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether Python would take a field for true.
    pub(super) fn truthy(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(truthy)
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

    pub(super) fn integers(&self, name: &str) -> Result<Option<Vec<i64>>, RequestError> {
        let read = |value| integers(value, self.location(name));
        self.get(name).map(read).transpose()
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

pub(super) fn integers(value: &Value, location: String) -> Result<Vec<i64>, RequestError> {
    list(value, location)?.map(|(item, location)| integer(item, location)).collect()
}

pub(super) fn string(value: &Value, location: String) -> Result<String, RequestError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(wrong_type("string_type", location, "Input should be a valid string", other)),
    }
}

pub(super) fn float(value: &Value, location: String) -> Result<f64, RequestError> {
    let parsed = match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        Value::String(text) => text.trim().parse().ok(),
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

/// A number of 64 bits; larger ones, which Python takes, become the largest.
pub(super) fn integer(value: &Value, location: String) -> Result<i64, RequestError> {
    let wide = wide_integer(value, location)?;
    Ok(i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX }))
}

/// Where 64 bits end: 2^63.
const EDGE: f64 = 9_223_372_036_854_775_808.0;

/// A number as far as 128 bits go.
pub(super) fn wide_integer(value: &Value, location: String) -> Result<i128, RequestError> {
    let (kind, reason) = match value {
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(integer), ..) => return Ok(integer.into()),
            (None, Some(integer), _) => return Ok(integer.into()),
            // Beyond 64 bits a float is near the number only; that it is beyond is what counts.
            (.., Some(float)) if float.fract() == 0.0 => {
                let beyond = i128::from(float >= EDGE) - i128::from(float <= -EDGE);
                return Ok((float as i128).saturating_add(beyond));
            }
            _ => (
                "int_from_float",
                "Input should be a valid integer, got a number with a fractional part",
            ),
        },
        Value::Bool(yes) => return Ok(i128::from(*yes)),
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

pub(super) fn boolean(value: &Value, location: String) -> Result<bool, RequestError> {
    let parsed = match value {
        Value::Bool(yes) => Some(*yes),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
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
