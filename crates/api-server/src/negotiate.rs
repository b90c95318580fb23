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

/// Whether a client wants discovery of all groups at once: by the first form that it accepts and the server has.
///
/// # Errors
/// 406 when there is none.
pub(crate) fn wants_aggregated(headers: &HeaderMap) -> Result<bool, Status> {
    let accepts = headers.get_all(ACCEPT).into_iter().filter_map(|accept| accept.to_str().ok());
    let ranges = accepts.flat_map(|accept| accept.split(','));
    let mut ranges = ranges.filter(|range| !range.trim().is_empty()).peekable();
    if ranges.peek().is_none() {
        return Ok(false);
    }
    let mut known = ranges.filter_map(|range| match parameters(range)? {
        ("", ..) => Some(false),
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Some(true),
        _ => None,
    });
    known.next().ok_or_else(not_acceptable)
}

/// What a range of JSON asks for: kind, group and version, where it names one.
fn parameters(range: &str) -> Option<(&str, &str, &str)> {
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
    Some((as_kind, group, version))
}

fn read(range: &str) -> Option<Form> {
    match parameters(range)? {
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
    #[test]
    fn discovery_comes_at_once_for_who_asks_for_a_known_version_first() {
        let of = |accept: &str| {
            let headers = [(ACCEPT, accept.parse().unwrap())].into_iter().collect();
            wants_aggregated(&headers).map_err(|status| status.code)
        };
        let version = |version: &str| {
            format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
        };
        assert_eq!(of(&version("v2")), Ok(true));
        assert_eq!(of(&version("v9")), Err(406));
        assert_eq!(of(&format!("{},application/json", version("v2beta1"))), Ok(false));
        assert_eq!(of(&format!("application/json,{}", version("v2"))), Ok(false));
        assert_eq!(of("*/*"), Ok(false));
        assert_eq!(wants_aggregated(&HeaderMap::new()).ok(), Some(false));
    }
}
