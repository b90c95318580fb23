//! From a protobuf message of Kubernetes to the JSON that says the same.

use std::borrow::Cow;

use apimachinery::schema::builtin;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number, Value, json};

use super::fields::{self, Field, Of, Times};

/// What a body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Deepest nesting that is read.
const DEEPEST: usize = 64;
/// Messages that JSON says otherwise are recognised by the end of their names.
const META: &str = "apimachinery.pkg.apis.meta.v1.";

/// Messages of kinds that have no schema: `apiVersion`, kind, message.
const OTHERS: [(&str, &str, &str); 5] = [
    ("autoscaling/v1", "HorizontalPodAutoscaler", "api.autoscaling.v1.HorizontalPodAutoscaler"),
    ("authentication.k8s.io/v1", "SelfSubjectReview", "api.authentication.v1.SelfSubjectReview"),
    ("authentication.k8s.io/v1", "TokenRequest", "api.authentication.v1.TokenRequest"),
    (
        "authorization.k8s.io/v1",
        "SelfSubjectAccessReview",
        "api.authorization.v1.SelfSubjectAccessReview",
    ),
    (
        "authorization.k8s.io/v1",
        "SelfSubjectRulesReview",
        "api.authorization.v1.SelfSubjectRulesReview",
    ),
];

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongMessage {
    /// It does not follow the format.
    #[error("the protobuf body is malformed")]
    Malformed,
    /// Its fields are not known here.
    #[error("a protobuf body of {0} is not supported")]
    Unknown(String),
}

use WrongMessage::{Malformed, Unknown};

type Outcome<T> = Result<T, WrongMessage>;

/// The object in a body.
pub(crate) fn decode(body: &[u8]) -> Outcome<Value> {
    let mut rest = body.strip_prefix(MAGIC).ok_or(Malformed)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), None);
    while let Some((number, wire)) = next(&mut rest)? {
        match (number, wire) {
            (1, Wire::Bytes(mut meta)) => {
                while let Some((number, wire)) = next(&mut meta)? {
                    match (number, wire) {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?.into_owned(),
                        (2, Wire::Bytes(text)) => kind = utf8(text)?.into_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = Some(bytes),
            _ => {}
        }
    }
    let unknown = || Unknown(format!("{api_version} {kind}"));
    let other = OTHERS.iter().find(|(version, name, _)| *version == api_version && *name == kind);
    let message = match (other, builtin().of_kind(&api_version, &kind)) {
        (Some((_, _, message)), _) => *message,
        (None, Some(found)) => found.name.strip_prefix("io.k8s.").ok_or_else(unknown)?,
        (None, None) => return Err(unknown()),
    };
    if fields::of(message).is_none() {
        return Err(unknown());
    }
    let mut value = object(message, raw.unwrap_or_default(), 0)?;
    if let Value::Object(map) = &mut value {
        map.insert("apiVersion".to_owned(), json!(api_version));
        map.insert("kind".to_owned(), json!(kind));
    }
    Ok(value)
}

/// A field as it stands on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Takes the next field.
fn next<'a>(rest: &mut &'a [u8]) -> Outcome<Option<(u32, Wire<'a>)>> {
    if rest.is_empty() {
        return Ok(None);
    }
    let tag = varint(rest)?;
    let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
    let wire = match tag & 7 {
        0 => Wire::Number(varint(rest)?),
        1 => {
            let (bytes, after) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
            *rest = after;
            Wire::Number(u64::from_le_bytes(*bytes))
        }
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed)?;
            *rest = after;
            Wire::Bytes(bytes)
        }
        5 => {
            let (bytes, after) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
            *rest = after;
            Wire::Number(u64::from(u32::from_le_bytes(*bytes)))
        }
        _ => return Err(Malformed),
    };
    Ok(Some((number, wire)))
}

fn varint(rest: &mut &[u8]) -> Outcome<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(Malformed)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn utf8(bytes: &[u8]) -> Outcome<Cow<'_, str>> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Malformed)
}

/// A message as JSON.
fn object(message: &str, bytes: &[u8], depth: usize) -> Outcome<Value> {
    if depth > DEEPEST {
        return Err(Malformed);
    }
    if let Some(value) = special(message, bytes)? {
        return Ok(value);
    }
    let mut map = Map::new();
    fill(message, bytes, depth, &mut map)?;
    Ok(Value::Object(map))
}

/// Puts a message's fields into an object.
fn fill(message: &str, bytes: &[u8], depth: usize, map: &mut Map<String, Value>) -> Outcome<()> {
    let known = fields::of(message).ok_or_else(|| Unknown(message.to_owned()))?;
    let mut rest = bytes;
    while let Some((number, wire)) = next(&mut rest)? {
        let Some(field) = known.get(&number) else { continue };
        if let (Of::Inline(inner), Wire::Bytes(bytes)) = (field.of, &wire) {
            if depth > DEEPEST {
                return Err(Malformed);
            }
            fill(inner, bytes, depth + 1, map)?;
            continue;
        }
        match field.times {
            Times::Once => {
                let value = value(field, &wire, depth)?;
                map.insert(field.name.to_owned(), value);
            }
            Times::Many => {
                let list = map.entry(field.name).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(value(field, &wire, depth)?);
                }
            }
            Times::Map => {
                let (key, value) = entry(field, &wire, depth)?;
                map.entry(field.name).or_insert_with(|| json!({}))[key] = value;
            }
        }
    }
    Ok(())
}

/// An entry of a map: a message of a key and a value.
fn entry(field: &Field, wire: &Wire<'_>, depth: usize) -> Outcome<(String, Value)> {
    let &Wire::Bytes(mut rest) = wire else { return Err(Malformed) };
    let mut key = String::new();
    let mut found = match field.of {
        Of::Text | Of::Bytes => json!(""),
        _ => Value::Null,
    };
    while let Some((number, wire)) = next(&mut rest)? {
        match (number, &wire) {
            (1, Wire::Bytes(text)) => key = utf8(text)?.into_owned(),
            (2, _) => found = value(field, &wire, depth)?,
            _ => {}
        }
    }
    Ok((key, found))
}

fn value(field: &Field, wire: &Wire<'_>, depth: usize) -> Outcome<Value> {
    Ok(match (field.of, wire) {
        (Of::Text, Wire::Bytes(text)) => json!(utf8(text)?),
        (Of::Bytes, Wire::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
        (Of::Boolean, Wire::Number(number)) => json!(*number != 0),
        (Of::Integer, Wire::Number(number)) => json!(number.cast_signed()),
        (Of::Fraction, Wire::Number(number)) => {
            Number::from_f64(f64::from_bits(*number)).map_or(Value::Null, Value::Number)
        }
        (Of::Message(message), Wire::Bytes(bytes)) => object(message, bytes, depth + 1)?,
        _ => return Err(Malformed),
    })
}

/// Messages that are no objects in JSON.
fn special(message: &str, bytes: &[u8]) -> Outcome<Option<Value>> {
    let numbered = |wanted: u32| -> Outcome<Option<u64>> {
        let (mut rest, mut found) = (bytes, None);
        while let Some((number, wire)) = next(&mut rest)? {
            if let Wire::Number(value) = wire
                && number == wanted
            {
                found = Some(value);
            }
        }
        Ok(found)
    };
    let worded = |wanted: u32| -> Outcome<Option<&[u8]>> {
        let (mut rest, mut found) = (bytes, None);
        while let Some((number, wire)) = next(&mut rest)? {
            if let Wire::Bytes(value) = wire
                && number == wanted
            {
                found = Some(value);
            }
        }
        Ok(found)
    };
    let json_of = |raw: Option<&[u8]>| match raw {
        None | Some([]) => Ok(Value::Null),
        Some(raw) => serde_json::from_slice(raw).map_err(|_| Malformed),
    };
    let time = |micros: bool| -> Outcome<Value> {
        let Some(seconds) = numbered(1)? else { return Ok(Value::Null) };
        let nanos = numbered(2)?.unwrap_or(0).cast_signed();
        let nanos = i32::try_from(nanos).map_err(|_| Malformed)?;
        let time = Timestamp::new(seconds.cast_signed(), nanos).map_err(|_| Malformed)?;
        let format = if micros { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
        Ok(json!(time.strftime(format).to_string()))
    };
    let name = message.strip_prefix(META).unwrap_or(message);
    Ok(Some(match name {
        "Time" => time(false)?,
        "MicroTime" => time(true)?,
        "FieldsV1" | "apimachinery.pkg.runtime.RawExtension" => json_of(worded(1)?)?,
        "apimachinery.pkg.api.resource.Quantity" => json!(utf8(worded(1)?.unwrap_or_default())?),
        "apimachinery.pkg.util.intstr.IntOrString" => match numbered(1)? {
            Some(1) => json!(utf8(worded(3)?.unwrap_or_default())?),
            _ => json!(numbered(2)?.unwrap_or(0).cast_signed()),
        },
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Message;
    use super::*;

    fn body(api_version: &str, kind: &str, raw: Message) -> Vec<u8> {
        let (mut meta, mut unknown) = (Message::default(), Message::default());
        meta.text(1, api_version);
        meta.text(2, kind);
        unknown.message(1, meta);
        unknown.message(2, raw);
        [MAGIC, &unknown.into_bytes()].concat()
    }

    #[test]
    fn a_config_map_is_read_with_its_maps_and_bytes() {
        let (mut map, mut metadata) = (Message::default(), Message::default());
        metadata.text(1, "name");
        map.message(1, metadata);
        let (mut entry, mut bytes) = (Message::default(), Message::default());
        entry.text(1, "key");
        entry.text(2, "value");
        bytes.text(1, "binary");
        bytes.text(2, "\u{1}");
        map.message(2, entry);
        map.message(3, bytes);
        let expected = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "name"},
            "data": {"key": "value"}, "binaryData": {"binary": "AQ=="},
        });
        assert_eq!(decode(&body("v1", "ConfigMap", map)), Ok(expected));
    }

    #[test]
    fn a_kind_without_numbers_is_named_in_the_refusal() {
        let refused = decode(&body("v1", "Foo", Message::default())).unwrap_err();
        assert_eq!(refused.to_string(), "a protobuf body of v1 Foo is not supported");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_object_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = object("api.core.v1.PodSpec", &bytes, 0);
            let _ = object("api.apps.v1.Deployment", &bytes, 0);
        }
    }
}
