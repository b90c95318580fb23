//! One step of a path into an object, as managed fields name it.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A field: `f:NAME`.
    Field(Box<str>),
    /// An item by its key fields, ordered by name: `k:{"name":"a"}`.
    Key(Vec<(Box<str>, Value)>),
    /// An item of a set, which is its own key: `v:"a"`.
    Item(Value),
    /// An item by its place: `i:0`.
    Index(i64),
}

impl Step {
    /// A field.
    #[must_use]
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// As a key of `fieldsV1`.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Item(value) => format!("v:{value}"),
            Self::Index(at) => format!("i:{at}"),
            Self::Key(fields) => {
                let map: Map<String, Value> =
                    fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
                format!("k:{}", Value::Object(map))
            }
        }
    }

    /// Reads a key of `fieldsV1`.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::field(rest)),
            "i" => rest.parse().ok().map(Self::Index),
            "v" => serde_json::from_str(rest).ok().map(Self::Item),
            "k" => {
                let map: Map<String, Value> = serde_json::from_str(rest).ok()?;
                let mut fields: Vec<(Box<str>, Value)> =
                    map.into_iter().map(|(name, value)| (name.into(), value)).collect();
                fields.sort_by(|(one, _), (two, _)| one.cmp(two));
                Some(Self::Key(fields))
            }
            _ => None,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Item(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Step {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(one), Self::Field(two)) => one.cmp(two),
            (Self::Index(one), Self::Index(two)) => one.cmp(two),
            (Self::Item(one), Self::Item(two)) => compare(one, two),
            (Self::Key(one), Self::Key(two)) => {
                let pairs = one.iter().zip(two).map(|((name, value), (other, than))| {
                    name.cmp(other).then_with(|| compare(value, than))
                });
                pairs.fold(Ordering::Equal, Ordering::then).then(one.len().cmp(&two.len()))
            }
            (one, two) => one.rank().cmp(&two.rank()),
        }
    }
}

/// An order of scalars: numbers before texts, each in its own.
fn compare(one: &Value, two: &Value) -> Ordering {
    match (one, two) {
        (Value::String(one), Value::String(two)) => one.cmp(two),
        (Value::Number(one), Value::Number(two)) => match (one.as_i64(), two.as_i64()) {
            (Some(one), Some(two)) => one.cmp(&two),
            _ => one.as_f64().unwrap_or(0.0).total_cmp(&two.as_f64().unwrap_or(0.0)),
        },
        (one, two) => one.to_string().cmp(&two.to_string()),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Index(at) => write!(f, "[{at}]"),
            Self::Item(value) => write!(f, "[={value}]"),
            Self::Key(fields) => {
                let all: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", all.join(","))
            }
        }
    }
}

/// A path as messages show it: `.spec.containers[name="a"].image`.
#[must_use]
pub fn show(path: &[Step]) -> String {
    path.iter().map(Step::to_string).collect()
}
