//! What an API server answers when it refuses: `meta/v1` `Status`.
//!
//! Source of reasons, codes and wordings: Kubernetes' API conventions ("Response status kind") and observed answers of kube-apiserver 1.34.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Kind;

/// A refusal, as clients of Kubernetes know it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
}

/// Machine-readable reasons of `meta/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    Expired,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    TooManyRequests,
    Timeout,
    InternalError,
    ServiceUnavailable,
    /// What this cluster does not do: HTTP 501, a reason of ours.
    NotImplemented,
    /// None: the API server gives no reason either.
    Unknown,
}

/// What a refusal is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource's plural, or its kind where a body was wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Field by field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again; 0: not said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, `FieldManagerConflict`, ...
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field's path, like `spec.replicas`.
    pub field: String,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl Status {
    /// A refusal without details.
    #[must_use]
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    /// 400: the request makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }

    /// 404: no such object.
    #[must_use]
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", kind.resource());
        Self::about(404, Reason::NotFound, message, kind, name)
    }

    /// 409: the name is taken.
    #[must_use]
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", kind.resource());
        Self::about(409, Reason::AlreadyExists, message, kind, name)
    }

    /// 409: the writer saw an older version.
    #[must_use]
    pub fn stale(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// 409, with a reason in words.
    #[must_use]
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.resource());
        Self::about(409, Reason::Conflict, message, kind, name)
    }

    /// 403.
    #[must_use]
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", kind.resource());
        Self::about(403, Reason::Forbidden, message, kind, name)
    }

    /// 422: fields are wrong; each is named.
    #[must_use]
    pub fn invalid(kind: &Kind, name: &str, causes: Vec<Cause>) -> Self {
        let mut each: Vec<String> = Vec::new();
        for cause in &causes {
            let text = format!("{}: {}", cause.field, cause.message);
            if !each.contains(&text) {
                each.push(text);
            }
        }
        let list = match each.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let of = if kind.group.is_empty() {
            kind.kind.clone()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        let details = Details {
            name: name.to_owned(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes,
            retry_after_seconds: 0,
        };
        let message = format!("{of} {name:?} is invalid: {list}");
        Self { code: 422, reason: Reason::Invalid, message, details: Some(Box::new(details)) }
    }

    /// 410: the version asked for has been compacted away; list again.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }

    /// 500: our mistake, with its cause.
    #[must_use]
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::new(500, Reason::InternalError, format!("Internal error occurred: {cause}"))
    }

    /// 501: this cluster does not do that.
    #[must_use]
    pub fn not_implemented(what: impl std::fmt::Display) -> Self {
        let message = format!("the embedded cluster does not support {what}");
        Self::new(501, Reason::NotImplemented, message)
    }

    /// A refusal about one object.
    #[must_use]
    pub fn about(code: u16, reason: Reason, message: String, kind: &Kind, name: &str) -> Self {
        let details = Details {
            name: name.to_owned(),
            group: kind.group.clone(),
            kind: kind.plural.clone(),
            ..Details::default()
        };
        Self { code, reason, message, details: Some(Box::new(details)) }
    }

    /// The body that goes over the wire.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if self.reason == Reason::Unknown
            && let Some(map) = body.as_object_mut()
        {
            map.remove("reason");
        }
        if let Some(details) = &self.details {
            body["details"] = json!(details);
        }
        body
    }
}
