//! Custom resources: objects against their schema, and definitions.

use serde_json::Value;

use super::report::{Path, Report};
use crate::Cause;
use crate::schema::Typed;

/// What is wrong with a custom resource, by its definition's schema.
#[must_use]
pub fn against(_typed: Typed<'_>, _object: &Value) -> Vec<Cause> {
    Vec::new()
}

pub(super) fn definition(_new: &Value, _r: &mut Report) {
    let _ = Path::Root("");
}
