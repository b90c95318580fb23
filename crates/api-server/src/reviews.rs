//! Who one is and what one may do: everything, for whoever bears the token.

use apimachinery::Status;
use serde_json::{Value, json};

use crate::answer::{self, Answer, no_such_method, no_such_resource};
use crate::body;
use crate::route::Ask;

/// Who the token's bearer is.
const USER: &str = "embedded-admin";
/// The group of the token's bearer.
const GROUPS: [&str; 2] = ["system:masters", "system:authenticated"];

/// POST of a review.
pub(crate) async fn review(mut ask: Ask, resource: &str) -> Answer {
    let status = match resource {
        "selfsubjectaccessreviews" => json!({"allowed": true}),
        "selfsubjectreviews" => json!({"userInfo": {"username": USER, "groups": GROUPS}}),
        "selfsubjectrulesreviews" => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
        _ => return Err(no_such_resource()),
    };
    if ask.parts.method != http::Method::POST {
        return Err(no_such_method());
    }
    let body = ask.read_body().await?;
    let mut review = read(&ask, &body)?;
    review["status"] = status;
    Ok(answer::json(201, &review))
}

fn read(ask: &Ask, body: &bytes::Bytes) -> Result<Value, Status> {
    body::object(&ask.parts.headers, body)?
        .ok_or_else(|| Status::bad_request("the request has no body"))
}
