//! Selectors of a request.

use apimachinery::{Meta, Status};
use object_store::Selection;
use serde_json::Value;

use super::Request;

/// Which objects a request means.
///
/// # Errors
/// 400 for a selector that cannot be read.
pub(crate) fn selection(request: &Request) -> Result<Selection, Status> {
    let labels = pairs(request.query.get("labelSelector").unwrap_or(""))?;
    let fields = pairs(request.query.get("fieldSelector").unwrap_or(""))?;
    let selection = Selection {
        namespace: request.namespace.clone(),
        name: request.name.clone(),
        matches: None,
    };
    if labels.is_empty() && fields.is_empty() {
        return Ok(selection);
    }
    Ok(selection.matching(move |object: &Value| {
        labels.iter().all(|(key, value)| object.label(key) == Some(value))
            && fields.iter().all(|(path, value)| {
                let found = path.split('.').fold(object, |value, part| &value[part]);
                found.as_str().unwrap_or("") == value
            })
    }))
}

fn pairs(text: &str) -> Result<Vec<(String, String)>, Status> {
    let split = |pair: &str| {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Status::bad_request(format!("invalid selector: {pair:?}")))?;
        Ok((key.to_owned(), value.trim_start_matches('=').to_owned()))
    };
    text.split(',').filter(|pair| !pair.is_empty()).map(split).collect()
}
