//! In which form a client wants its answer.

use apimachinery::{Reason, Status};
use http::header::{ACCEPT, HeaderMap};

/// In which form a client wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects themselves.
    Object,
    /// Their metadata alone.
    Metadata,
    /// Rows and columns for people.
    Table,
}

/// The first form that a client accepts and the server has. `version` of the others must be `v1`.
///
/// # Errors
/// 406 when there is none.
pub(crate) fn form(headers: &HeaderMap) -> Result<Form, Status> {
    let mut any = false;
    for accept in headers.get_all(ACCEPT) {
        for range in accept.to_str().unwrap_or("").split(',') {
            any |= !range.trim().is_empty();
            if let Some(form) = read(range) {
                return Ok(form);
            }
        }
    }
    if any { Err(not_acceptable()) } else { Ok(Form::Object) }
}

fn read(range: &str) -> Option<Form> {
    let mut parts = range.split(';').map(str::trim);
    if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
        return None;
    }
    let (mut as_kind, mut group, mut version) = ("", "", "");
    for part in parts {
        match part.split_once('=') {
            Some(("as", value)) => as_kind = value,
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            _ => {}
        }
    }
    match (as_kind, group, version) {
        ("", _, _) => Some(Form::Object),
        ("Table", "meta.k8s.io", "v1") => Some(Form::Table),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => {
            Some(Form::Metadata)
        }
        _ => None,
    }
}

fn not_acceptable() -> Status {
    let message = "only the following media types are accepted: application/json";
    Status { details: Some(Box::default()), ..Status::new(406, Reason::NotAcceptable, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_is_known_is_given() {
        let of = |accept: &str| {
            let headers = [(ACCEPT, accept.parse().unwrap())].into_iter().collect();
            form(&headers).map_err(|status| status.code)
        };
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(of(kubectl), Ok(Form::Table));
        assert_eq!(
            of("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"),
            Ok(Form::Object)
        );
        assert_eq!(of("application/vnd.kubernetes.protobuf, */*"), Ok(Form::Object));
        assert_eq!(
            of("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Ok(Form::Metadata)
        );
        assert_eq!(of("text/html"), Err(406));
        assert_eq!(form(&HeaderMap::new()).map_err(|status| status.code), Ok(Form::Object));
    }
}
