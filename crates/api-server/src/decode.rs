//! Objects in requests' bodies: JSON, YAML or protobuf, held against the schema of their kind.

use apimachinery::decode::{self, Decoded, FieldValidation};
use apimachinery::schema::Typed;
use apimachinery::{Kind, Status};
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::query::Query;
use crate::{body, protobuf};

/// What a request says about fields that are not known.
///
/// # Errors
/// 422 for a word that is not known.
pub(crate) fn validation(query: &Query) -> Result<FieldValidation, Status> {
    FieldValidation::parse(query.get("fieldValidation").unwrap_or(""))
}

/// The object in a body.
///
/// # Errors
/// 400 for what is no object of the kind, 415 for a media type that is not known.
pub(crate) fn object(
    kind: &Kind,
    typed: Typed<'_>,
    headers: &HeaderMap,
    text: &Bytes,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let text = json(headers, text)?;
    decode::object(kind, typed, &text, validation)
}

/// A body as JSON text, whatever its media type.
///
/// # Errors
/// 400 for what cannot be read, 415 for a media type that is not known.
pub(crate) fn json(headers: &HeaderMap, text: &Bytes) -> Result<Bytes, Status> {
    match body::media_type(headers) {
        "application/json" | "*/*" => Ok(text.clone()),
        "application/yaml" | "application/apply-patch+yaml" => yaml(text),
        "application/vnd.kubernetes.protobuf" => {
            let value = protobuf::decode(text)
                .map_err(|why| body::unsupported_because(&why.to_string()))?;
            Ok(Bytes::from(value.to_string()))
        }
        _ => Err(body::unsupported()),
    }
}

/// YAML as JSON. JSON is YAML too, and most clients send it under this name.
fn yaml(text: &Bytes) -> Result<Bytes, Status> {
    if text.trim_ascii_start().starts_with(b"{") {
        return Ok(text.clone());
    }
    let value: Value = serde_saphyr::from_slice(text)
        .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
    Ok(Bytes::from(value.to_string()))
}
