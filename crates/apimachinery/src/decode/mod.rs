//! From a request's text to an object of a kind: duplicate and unknown fields, wrong types, the form it is stored in.
//!
//! Messages are those of kube-apiserver 1.34, whose decoder is Go's. Defaults that depend on other fields, and what values
//! mean, are not known here.

mod go;
mod json;
mod settle;

pub(crate) use go::print as go_print;
pub use json::{JSON_DEPTH, Parsed, parse};
pub(crate) use settle::is_time;
pub use settle::{Mismatch, blank, settle};

use serde_json::Value;

use crate::schema::Typed;
use crate::{Kind, Meta, Status};

/// What becomes of unknown and duplicate fields: `fieldValidation` of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, and the answer warns.
    #[default]
    Warn,
    /// They are refused.
    Strict,
}

impl FieldValidation {
    /// Reads the query's value; empty: the default.
    ///
    /// # Errors
    /// 422 for another word.
    pub fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" | "Warn" => Ok(Self::Warn),
            "Ignore" => Ok(Self::Ignore),
            "Strict" => Ok(Self::Strict),
            other => {
                let why = format!(
                    "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                );
                Err(Status::new(422, crate::Reason::Invalid, why))
            }
        }
    }
}

/// An object as a request's body says it, in the form it is stored in, and warnings for the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object.
    pub object: Value,
    /// `unknown field "spec.foo"`, `duplicate field "spec.replicas"`.
    pub warnings: Vec<String>,
}

/// Reads a body as an object of a kind: of `typed`, the kind's schema.
///
/// # Errors
/// 400: no JSON, another kind, wrong types; under `Strict` unknown and duplicate fields too.
pub fn object(
    kind: &Kind,
    typed: Typed<'_>,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let parsed = parse(body, Some(typed)).map_err(|why| {
        let text = String::from_utf8_lossy(body);
        let shown = if text.is_empty() { "<empty>".into() } else { text };
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {why} ({shown:.64})",
            kind.kind
        ))
    })?;
    let Parsed { mut value, findings } = parsed;
    let refuse = |name: &str, why: String| {
        let (version, own) = (&kind.version, &kind.kind);
        Status::bad_request(format!(
            "{name} in version {version:?} cannot be handled as a {own}: {why}"
        ))
    };
    if !value.is_object() {
        let found = go::kind(&value);
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type object",
            kind.kind
        )));
    }
    named(kind, &value).map_err(|(name, why)| refuse(&name, why))?;
    value["apiVersion"] = kind.api_version().into();
    value["kind"] = kind.kind.as_str().into();
    settle(typed, &mut value).map_err(|mismatch| refuse(&kind.kind, mismatch.to_string()))?;
    if validation == FieldValidation::Strict && !findings.is_empty() {
        let why = format!("strict decoding error: {}", findings.join(", "));
        return Err(refuse(&kind.kind, why));
    }
    let warnings = if validation == FieldValidation::Warn { findings } else { Vec::new() };
    Ok(Decoded { object: value, warnings })
}

/// Reads a body as a configuration to apply: what it says and nothing more, for [`crate::apply`]. `name` and `namespace`
/// are the path's.
///
/// # Errors
/// 400: no JSON object, another kind, name or namespace; under `Strict` duplicate fields too.
pub fn config(
    kind: &Kind,
    name: &str,
    namespace: &str,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let refuse = |why: String| Err(Status::bad_request(why));
    let Parsed { value, findings } = parse(body, None)
        .map_err(|why| Status::bad_request(format!("error decoding YAML: {why}")))?;
    if !value.is_object() {
        return refuse(format!(
            "error decoding YAML: cannot unmarshal {} into an object",
            go::kind(&value)
        ));
    }
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("");
    let (version, own) = (text("apiVersion"), text("kind"));
    if version != kind.api_version() || own != kind.kind {
        let version = match version {
            "" => "/".to_owned(),
            core if !core.contains('/') => format!("/{core}"),
            other => other.to_owned(),
        };
        return refuse(format!("invalid object type: {version}, Kind={own}"));
    }
    match value.name() {
        "" => {
            return refuse(format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            ));
        }
        other if other != name => {
            return refuse(format!(
                "the name of the object ({other}) does not match the name on the URL ({name})"
            ));
        }
        _ => {}
    }
    if !value.namespace().is_empty() && value.namespace() != namespace {
        let why =
            "the namespace of the provided object does not match the namespace sent on the request";
        return refuse(why.to_owned());
    }
    if validation == FieldValidation::Strict && !findings.is_empty() {
        return refuse(format!("strict decoding error: {}", findings.join(", ")));
    }
    let warnings = if validation == FieldValidation::Warn { findings } else { Vec::new() };
    Ok(Decoded { object: value, warnings })
}

/// Refuses an object that calls itself another kind.
fn named(kind: &Kind, value: &Value) -> Result<(), (String, String)> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("");
    let (api_version, name) = (text("apiVersion"), text("kind"));
    let own = kind.api_version();
    let right =
        (api_version.is_empty() || api_version == own) && (name.is_empty() || name == kind.kind);
    if right {
        return Ok(());
    }
    let name = if name.is_empty() { &kind.kind } else { name };
    let api_version = if api_version.is_empty() { &own } else { api_version };
    let known = crate::schema::builtin().of_kind(api_version, name).is_some();
    let why = if known {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let package = |group: &str| match group.split('.').next() {
            None | Some("") => "core".to_owned(),
            Some(first) => first.to_owned(),
        };
        format!(
            "converting ({version}.{name}) to ({}.{}): unknown conversion",
            package(if kind.group.is_empty() { group } else { &kind.group }),
            kind.kind
        )
    } else {
        format!(
            "no kind {name:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:110\""
        )
    };
    Err((name.to_owned(), why))
}
