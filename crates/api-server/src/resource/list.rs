//! Reads: one object, or a page of many.

use apimachinery::{Cause, Details, Key, Reason, Status};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use object_store::ListOptions;
use serde::{Deserialize, Serialize};

use super::{Request, select};
use crate::answer::{self, Answer};

/// How long a client is told to wait before it asks again for a revision that is still to come.
const RETRY_SECONDS: u32 = 1;

/// GET of one object.
pub(crate) fn get(request: &Request) -> Answer {
    let key = request.key()?;
    if let Some(version) = request.query.get("resourceVersion") {
        not_newer(request, revision(version)?)?;
    }
    let object = request.server.store.get(&request.kind, &key)?;
    Ok(answer::json_text(200, request.show().object(&object)))
}

/// GET of many objects.
pub(crate) fn list(request: &Request) -> Answer {
    let selection = select::selection(request)?;
    let options = options(request)?;
    let list = request.server.store.list(&request.kind, &selection, &options)?;
    let token = list.next.as_ref().map(|key| Token::new(list.revision, key).encode());
    Ok(answer::json_text(200, request.show().list(&list, token)))
}

/// Where a list goes on. Opaque to clients.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: u64,
    namespace: String,
    name: String,
}

/// The version of tokens.
const TOKEN_VERSION: &str = "embedded/v1";

impl Token {
    fn new(rv: u64, key: &Key) -> Self {
        let (namespace, name) = (key.namespace.clone(), key.name.clone());
        Self { v: TOKEN_VERSION.to_owned(), rv, namespace, name }
    }

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::json!(self).to_string())
    }

    fn decode(text: &str) -> Result<Self, Status> {
        let wrong = || Status::bad_request("continue key is not valid");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        if token.v == TOKEN_VERSION { Ok(token) } else { Err(wrong()) }
    }
}

fn options(request: &Request) -> Result<ListOptions, Status> {
    let query = &request.query;
    let limit = query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0);
    let version = query.get("resourceVersion");
    let exact = is_exact(query.get("resourceVersionMatch"), version)?;
    if let Some(token) = query.get("continue") {
        if version.is_some_and(|version| version != "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let token = Token::decode(token)?;
        let after = Some((token.rv, Key::namespaced(token.namespace, token.name)));
        return Ok(ListOptions { limit, after, at: None });
    }
    let version = version.map(revision).transpose()?;
    if let Some(version) = version {
        not_newer(request, version)?;
    }
    Ok(ListOptions { limit, after: None, at: version.filter(|_| exact) })
}

/// Whether a list must be of exactly the version named.
fn is_exact(matching: Option<&str>, version: Option<&str>) -> Result<bool, Status> {
    let refuse = |what, why: &str| Err(invalid_option("resourceVersionMatch", what, why));
    match (matching, version) {
        (None, _) | (Some("NotOlderThan"), Some(_)) => Ok(false),
        (Some(_), None) => refuse(
            "Forbidden",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (Some("Exact"), Some("0")) => refuse(
            "Forbidden",
            "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
        ),
        (Some("Exact"), Some(_)) => Ok(true),
        (Some(other), Some(_)) => refuse(
            "Unsupported value",
            &format!("{other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""),
        ),
    }
}

/// A revision that a client names.
pub(crate) fn revision(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| {
        Status::bad_request(format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"))
    })
}

/// Refuses what is still to come.
pub(crate) fn not_newer(request: &Request, version: u64) -> Result<(), Status> {
    let newest = request.server.store.revision();
    if version <= newest {
        return Ok(());
    }
    let message = format!("Timeout: Too large resource version: {version}, current: {newest}");
    let cause = Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    };
    let details =
        Details { causes: vec![cause], retry_after_seconds: RETRY_SECONDS, ..Details::default() };
    Err(Status { details: Some(Box::new(details)), ..Status::new(504, Reason::Timeout, message) })
}

/// 422 for an option of a list or a watch. `what` is `Forbidden` or `Unsupported value`.
pub(crate) fn invalid_option(field: &str, what: &str, why: &str) -> Status {
    let message = format!("{what}: {why}");
    let reason = if what == "Forbidden" { "FieldValueForbidden" } else { "FieldValueNotSupported" };
    let cause =
        Cause { reason: reason.to_owned(), message: message.clone(), field: field.to_owned() };
    let details = Details {
        group: "meta.k8s.io".to_owned(),
        kind: "ListOptions".to_owned(),
        causes: vec![cause],
        ..Details::default()
    };
    let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {message}");
    Status { details: Some(Box::new(details)), ..Status::new(422, Reason::Invalid, message) }
}
