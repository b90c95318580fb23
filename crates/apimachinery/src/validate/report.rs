//! What is wrong, field by field, and where.

use std::fmt;

use serde_json::Value;

use crate::Cause;

/// Most causes that one answer names.
const MOST_CAUSES: usize = 100;

/// A place in an object. Its text is made only when something is wrong there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'a> {
    Root(&'a str),
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
    Key(&'a Path<'a>, &'a str),
}

impl Path<'_> {
    pub(super) fn field<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path::Field(self, name)
    }

    pub(super) fn index(&self, at: usize) -> Path<'_> {
        Path::Index(self, at)
    }

    pub(super) fn key<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path::Key(self, name)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root(name) => f.write_str(name),
            Path::Field(Path::Root(""), name) => f.write_str(name),
            Path::Field(above, name) => write!(f, "{above}.{name}"),
            Path::Index(above, at) => write!(f, "{above}[{at}]"),
            Path::Key(above, name) => write!(f, "{above}[{name}]"),
        }
    }
}

/// What is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) causes: Vec<Cause>,
}

impl Report {
    fn push(&mut self, reason: &str, at: &Path<'_>, message: String, why: &str) {
        if self.causes.len() == MOST_CAUSES {
            return;
        }
        let message = if why.is_empty() { message } else { format!("{message}: {why}") };
        self.causes.push(Cause { reason: reason.to_owned(), message, field: at.to_string() });
    }

    pub(super) fn required(&mut self, at: &Path<'_>, why: &str) {
        self.push("FieldValueRequired", at, "Required value".to_owned(), why);
    }

    pub(super) fn forbidden(&mut self, at: &Path<'_>, why: &str) {
        self.push("FieldValueForbidden", at, "Forbidden".to_owned(), why);
    }

    pub(super) fn invalid(&mut self, at: &Path<'_>, value: &Value, why: &str) {
        self.push("FieldValueInvalid", at, format!("Invalid value: {value}"), why);
    }

    pub(super) fn invalid_text(&mut self, at: &Path<'_>, value: &str, why: &str) {
        self.push("FieldValueInvalid", at, format!("Invalid value: {value:?}"), why);
    }

    pub(super) fn duplicate(&mut self, at: &Path<'_>, value: &Value) {
        self.push("FieldValueDuplicate", at, format!("Duplicate value: {value}"), "");
    }

    pub(super) fn not_found(&mut self, at: &Path<'_>, value: &str) {
        self.push("FieldValueNotFound", at, format!("Not found: {value:?}"), "");
    }

    pub(super) fn too_long(&mut self, at: &Path<'_>, limit: usize) {
        self.push(
            "FieldValueTooLong",
            at,
            format!("Too long: may not be more than {limit} bytes"),
            "",
        );
    }

    pub(super) fn too_many(&mut self, at: &Path<'_>, count: usize, most: usize) {
        self.push(
            "FieldValueTooMany",
            at,
            format!("Too many: {count}: must have at most {most} items"),
            "",
        );
    }

    pub(super) fn wrong_type(&mut self, at: &Path<'_>, found: &str, why: &str) {
        self.push("FieldValueTypeInvalid", at, format!("Invalid value: {found:?}"), why);
    }

    pub(super) fn unsupported(&mut self, at: &Path<'_>, value: &str, supported: &[&str]) {
        self.unsupported_value(at, &format!("{value:?}"), supported);
    }

    pub(super) fn unsupported_value(&mut self, at: &Path<'_>, shown: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        let why = format!("supported values: {}", supported.join(", "));
        self.push("FieldValueNotSupported", at, format!("Unsupported value: {shown}"), &why);
    }

    /// One of a few texts; absent is required.
    pub(super) fn choice(&mut self, at: &Path<'_>, value: &str, supported: &[&str]) {
        if value.is_empty() {
            self.required(at, "");
        } else if !supported.contains(&value) {
            self.unsupported(at, value, supported);
        }
    }

    /// What a check of a name says.
    pub(super) fn name(
        &mut self,
        at: &Path<'_>,
        value: &str,
        check: fn(&str) -> crate::names::Wrong,
    ) {
        for why in check(value) {
            self.invalid_text(at, value, &why);
        }
    }

    /// Not less than zero; absent is fine.
    pub(super) fn not_negative(&mut self, at: &Path<'_>, value: &Value) {
        if value.as_i64().is_some_and(|number| number < 0) {
            self.invalid(at, value, "must be greater than or equal to 0");
        }
    }

    /// A port's number.
    pub(super) fn port(&mut self, at: &Path<'_>, value: &Value) {
        if !value.as_i64().is_some_and(|port| (1..=65_535).contains(&port)) {
            self.invalid(at, value, "must be between 1 and 65535, inclusive");
        }
    }

    /// A port's number or name.
    pub(super) fn port_or_name(&mut self, at: &Path<'_>, value: &Value) {
        match value {
            Value::String(name) => self.name(at, name, crate::names::port_name),
            number => self.port(at, number),
        }
    }
}

/// A field's text; empty when it is absent.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("")
}

/// A field's list; empty when it is absent.
pub(super) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A field's entries; none when it is absent.
pub(super) fn entries<'a>(
    value: &'a Value,
    field: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(field).and_then(Value::as_object).into_iter().flatten()
}

/// A field that is there.
pub(super) fn some<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    value.get(field).filter(|value| !value.is_null())
}
