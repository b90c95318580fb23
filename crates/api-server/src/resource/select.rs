//! Selectors of a request.

use apimachinery::Status;
use apimachinery::selector::{FieldSelector, LabelSelector};
use object_store::Selection;

use super::Request;

/// Which objects a request means.
///
/// # Errors
/// 400 for a selector that cannot be read.
pub(crate) fn selection(request: &Request) -> Result<Selection, Status> {
    let labels = LabelSelector::parse(request.query.get("labelSelector").unwrap_or(""))?;
    let fields = request.query.get("fieldSelector").unwrap_or("");
    let fields = FieldSelector::parse(&request.kind, &[], fields)?;
    let selection = Selection {
        namespace: request.namespace.clone(),
        name: request.name.clone(),
        matches: None,
    };
    if labels.is_everything() && fields.is_everything() {
        return Ok(selection);
    }
    Ok(selection.matching(move |object| labels.matches(object) && fields.matches(object)))
}
