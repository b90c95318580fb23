//! What is wrong with an object, in the API server's words.

use serde_json::Value;

use crate::{Cause, Kind};

/// What is wrong with a new object, or with a change of an old one; nothing when it may be stored.
#[must_use]
pub fn object(_kind: &Kind, _new: &Value, _old: Option<&Value>) -> Vec<Cause> {
    Vec::new()
}
