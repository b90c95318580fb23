//! A container's log.

use apimachinery::{Cause, Meta, Status};
use axum::body::Body;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};

use super::container;
use crate::answer::{self, Answer};
use crate::node_proxy::LogOptions;
use crate::resource::{Request, passing_kind};

/// GET.
pub(crate) async fn log(request: &Request) -> Answer {
    let pod = request.server.store.get(&request.kind, &request.key()?)?;
    let options = options(request, &pod)?;
    if pod.value()["spec"]["nodeName"].as_str().unwrap_or("").is_empty() {
        // Nothing has run yet, so nothing has been said.
        return Ok(answer::text(200, ""));
    }
    let lines = request.server.nodes.logs(pod, options).await?;
    let lines = lines.take_until(request.server.stopped());
    Ok(answer::body(200, "text/plain", Body::from_stream(lines)))
}

fn options(request: &Request, pod: &object_store::ObjectRef) -> Result<LogOptions, Status> {
    let query = &request.query;
    let name = pod.value().name();
    let at_least = |field: &str, least: i64| -> Result<Option<u64>, Status> {
        match query.number(field)? {
            Some(number) if number < least => {
                let bound = if least == 0 { "greater than or equal to" } else { "greater than" };
                let message = format!("Invalid value: {number}: must be {bound} 0");
                Err(invalid(name, field, message))
            }
            number => Ok(number.and_then(|number| u64::try_from(number).ok())),
        }
    };
    let now = request.server.store.now();
    let seconds = at_least("sinceSeconds", 1)?;
    let since = match (seconds, query.get("sinceTime")) {
        (Some(_), Some(_)) => {
            let message =
                "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(invalid(name, "sinceSeconds", message.to_owned()));
        }
        (Some(seconds), None) => {
            let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            Some(now.checked_sub(seconds).unwrap_or(Timestamp::MIN))
        }
        (None, Some(time)) => Some(time.parse().map_err(|_| {
            Status::bad_request(format!("sinceTime: {time:?} is no time of RFC 3339"))
        })?),
        (None, None) => None,
    };
    Ok(LogOptions {
        container: container(pod.value(), query.get("container"))?,
        follow: query.is_on("follow"),
        previous: query.is_on("previous"),
        timestamps: query.is_on("timestamps"),
        since,
        tail_lines: at_least("tailLines", 0)?,
        limit_bytes: at_least("limitBytes", 1)?,
    })
}

fn invalid(pod: &str, field: &str, message: String) -> Status {
    let cause = Cause { reason: "FieldValueInvalid".to_owned(), message, field: field.to_owned() };
    Status::invalid(&passing_kind("", "v1", "PodLogOptions"), pod, vec![cause])
}
