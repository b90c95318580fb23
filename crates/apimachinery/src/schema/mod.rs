//! What the fields of a kind are: types, defaults, how lists merge.
//!
//! The built-in kinds come from `schema/kinds.json`: facts that `cargo run -p apimachinery --example schema` reads from a
//! cluster's `/openapi/v3`. A custom resource's schema is read from its definition by the same parser. How a value is
//! validated, defaulted or merged is not known here.

mod builtin;
mod parse;
mod print;
mod typed;

use std::collections::BTreeMap;

use serde_json::Value;

pub use builtin::{Definition, Definitions, builtin};
pub use parse::WrongSchema;
pub use print::Dialect;
pub use typed::Typed;

/// What a value may be.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Shape {
    /// Anything.
    #[default]
    Any,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Text.
    Text,
    /// A whole number, or text like `25%`.
    IntOrString,
    /// An amount like `500m` or `1Gi`; a number is read as one.
    Quantity,
    /// Named fields.
    Object(Fields),
    /// Any names, values of one type.
    Map(Box<Schema>),
    /// Items of one type.
    List(Box<Schema>),
    /// A type of [`builtin`], by name.
    Ref(Box<str>),
}

/// The fields of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    /// By name.
    pub known: BTreeMap<Box<str>, Schema>,
    /// Names of those that must be there.
    pub required: Vec<Box<str>>,
    /// Of a custom resource that names fields and allows others too: what the others are.
    pub others: Option<Box<Schema>>,
}

/// How two versions of a list become one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// The new one replaces the old one.
    #[default]
    Atomic,
    /// Items are themselves their keys.
    Set,
    /// Items are objects; these fields are their key.
    Map(Vec<Box<str>>),
}

/// How a strategic merge patch treats a list or an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// Items are merged, not replaced.
    pub merge: bool,
    /// Fields that the patch does not name in `$retainKeys` are dropped.
    pub retain_keys: bool,
    /// The field that tells items apart; none: the items are scalars.
    pub key: Option<Box<str>>,
}

/// Bounds of a custom resource's field, as JSON schema names them.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are JSON schema's own")]
pub struct Limits {
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<usize>,
    pub max_length: Option<usize>,
    pub pattern: Option<String>,
    pub min_items: Option<usize>,
    pub max_items: Option<usize>,
    pub unique_items: bool,
    pub min_properties: Option<usize>,
    pub max_properties: Option<usize>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Schema>,
    /// `x-kubernetes-validations`, as they are.
    pub rules: Vec<Value>,
}

/// The type of one field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    /// What a value may be.
    pub shape: Shape,
    /// `int32`, `date-time`, `byte`, ...; empty: none.
    pub format: Box<str>,
    /// The value when it is absent; the API server's zero value for fields that are always there.
    pub default: Option<Value>,
    /// The values allowed; empty: all.
    pub choices: Vec<Value>,
    /// `null` is a value of its own.
    pub nullable: bool,
    /// How lists merge.
    pub list_type: ListType,
    /// An object or map that is replaced as a whole.
    pub atomic: bool,
    /// How a strategic merge patch treats it.
    pub merge: Merge,
    /// Fields that are not known are kept.
    pub preserve_unknown: bool,
    /// An object of any kind, with `apiVersion`, `kind` and `metadata`.
    pub embedded: bool,
    /// A zero value is as good as none: it is dropped (Go's `omitempty` on a plain value).
    pub drop_zero: bool,
    /// Of a custom resource: what has the wrong type is for its validation to say, not for the decoder.
    pub structural: bool,
    /// Bounds.
    pub limits: Option<Box<Limits>>,
    /// For people; empty: none.
    pub description: Box<str>,
}

impl Schema {
    /// A type of [`builtin`], by name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { shape: Shape::Ref(name.into()), ..Self::default() }
    }
}
