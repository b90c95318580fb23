//! Changes of an object that a request describes: JSON patch, merge patch, strategic merge patch.
//!
//! A server-side apply is no patch of the newest version alone: see [`crate::apply`].

mod json;
mod merge;
mod strategic;

use serde_json::Value;

use crate::decode::{self, FieldValidation, Parsed};
use crate::schema::Typed;
use crate::status::Cause;
use crate::{Kind, Reason, Status};

/// Most operations of a JSON patch, as in Kubernetes.
pub const MOST_OPERATIONS: usize = 10_000;
/// Largest patch in bytes, as in Kubernetes.
pub const LARGEST_PATCH: usize = 3 * 1024 * 1024;

/// What kind of patch a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Lists merge by keys.
    Strategic,
    /// Server-side apply: see [`crate::apply`].
    Apply,
}

impl PatchType {
    /// The type of a media type. `application/apply-patch+yaml` bodies may be JSON.
    #[must_use]
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

/// A patch that was read from a body.
#[derive(Clone, Debug)]
pub struct Patch {
    how: PatchType,
    body: Value,
    findings: Vec<String>,
}

/// A patched object, in the form it is stored in, and warnings for the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Patched {
    /// The object.
    pub object: Value,
    /// `unknown field "spec.foo"`, ...
    pub warnings: Vec<String>,
}

impl Patch {
    /// Reads a body. For [`PatchType::Apply`] use [`crate::decode`].
    ///
    /// # Errors
    /// 400 if it is no patch, 413 if it is too large, 415 for a strategic merge patch of a custom resource.
    pub fn read(how: PatchType, body: &[u8], custom: bool) -> Result<Self, Status> {
        if how == PatchType::Strategic && custom {
            let why = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
            return Err(Status::new(415, Reason::UnsupportedMediaType, why));
        }
        let too_large = |why: String| Status::new(413, Reason::RequestEntityTooLarge, why);
        if body.len() > LARGEST_PATCH {
            return Err(too_large(format!("limit is {LARGEST_PATCH}")));
        }
        let what = if how == PatchType::Strategic { "" } else { "error decoding patch: " };
        let parsed = decode::parse(body, None);
        let Parsed { value, findings } =
            parsed.map_err(|why| Status::bad_request(format!("{what}{why}")))?;
        let (right, name) = match how {
            PatchType::Json => (value.is_array(), "[]handlers.jsonPatchOp"),
            _ => (value.is_object(), "map[string]interface {}"),
        };
        if !right {
            let found = match &value {
                Value::Array(_) => "array",
                Value::Object(_) => "object",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            return Err(Status::bad_request(format!(
                "{what}json: cannot unmarshal {found} into Go value of type {name}"
            )));
        }
        let count = value.as_array().map_or(0, Vec::len);
        if count > MOST_OPERATIONS {
            return Err(too_large(format!(
                "The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {count}"
            )));
        }
        let findings = match how {
            PatchType::Json => {
                findings.into_iter().map(|one| format!("json patch {one}")).collect()
            }
            _ => findings,
        };
        Ok(Self { how, body: value, findings })
    }

    /// The new version of an object.
    ///
    /// # Errors
    /// 422 when the patch does not fit the object, or the result is no object of the kind; under `Strict` unknown
    /// fields too.
    pub fn apply(
        &self,
        kind: &Kind,
        typed: Typed<'_>,
        old: &Value,
        validation: FieldValidation,
    ) -> Result<Patched, Status> {
        let mut new = old.clone();
        match self.how {
            PatchType::Json => {
                json::apply(&mut new, &self.body).map_err(|json::DoesNotApply| {
                    let why = "the server rejected our request due to an error in our request";
                    let mut status = Status::new(422, Reason::Invalid, why);
                    status.details = Some(Box::default());
                    status
                })?
            }
            PatchType::Strategic => {
                strategic::apply(typed, &mut new, &self.body)
                    .map_err(|why| Status::new(500, Reason::Unknown, why))?;
            }
            PatchType::Merge | PatchType::Apply => merge::apply(&mut new, &self.body),
        }
        let patched = new.to_string();
        let unknown = decode::settle(typed, &mut new).map_err(|mismatch| match self.how {
            PatchType::Strategic => {
                refuse(&crate::decode::go_print(&self.body), &mismatch.converted())
            }
            _ => refuse(&patched, &mismatch.to_string()),
        })?;
        let mut findings = self.findings.clone();
        findings.extend(unknown.iter().map(|path| format!("unknown field {path:?}")));
        if validation == FieldValidation::Strict && !findings.is_empty() {
            let why = format!("strict decoding error: {}", findings.join(", "));
            let whole = match self.how {
                PatchType::Strategic => crate::decode::go_print(&self.body),
                _ => patched,
            };
            return Err(refuse(&whole, &why));
        }
        same_kind(kind, &new)?;
        let warnings = if validation == FieldValidation::Warn { findings } else { Vec::new() };
        Ok(Patched { object: new, warnings })
    }
}

/// A patch must not make another kind of an object.
fn same_kind(kind: &Kind, new: &Value) -> Result<(), Status> {
    let (api_version, name) = (new["apiVersion"].as_str(), new["kind"].as_str());
    if api_version == Some(&kind.api_version()) && name == Some(&kind.kind) {
        return Ok(());
    }
    let shown = |text: Option<&str>| text.unwrap_or("").to_owned();
    let (api_version, name) = (shown(api_version), shown(name));
    Err(Status::bad_request(format!(
        "{name} in version {api_version:?} cannot be handled as a {}: the kind of an object cannot change",
        kind.kind
    )))
}

/// 422 about the patch as a whole.
fn refuse(whole: &str, why: &str) -> Status {
    let message = format!("Invalid value: {whole:?}: {why}");
    let cause = Cause {
        reason: "FieldValueInvalid".to_owned(),
        message: message.clone(),
        field: "patch".to_owned(),
    };
    let mut status =
        Status::new(422, Reason::Invalid, format!(" \"\" is invalid: patch: {message}"));
    status.details =
        Some(Box::new(crate::Details { causes: vec![cause], ..crate::Details::default() }));
    status
}
