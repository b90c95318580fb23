//! Answers of the router's own.

use std::time::Duration;

use protocol::openai::{ErrorBody, ErrorDetail, Problem, ProblemBody};
use protocol::sse;
use routing::Reason;

use crate::request::push_field;

/// An answer that comes from no endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn text(status: u16, body: &str) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status, content_type, retry_after: None, body: body.to_owned() }
    }

    /// What was asked for.
    pub(crate) fn json(body: &impl serde::Serialize) -> Self {
        let body = serde_json::to_string(body).unwrap_or_default();
        Self { status: 200, content_type: "application/json", retry_after: None, body }
    }

    /// An error in the shape of OpenAI's.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        let body = serde_json::to_string(&error(status, message)).unwrap_or_default();
        Self { status, content_type: "application/json", retry_after: None, body }
    }

    /// An error in OpenAI's own shape, of whoever decides.
    pub(crate) fn problem(status: u16, problem: Problem) -> Self {
        let body = serde_json::to_string(&ProblemBody { error: problem }).unwrap_or_default();
        Self { status, content_type: "application/json", retry_after: None, body }
    }

    /// Appends it as HTTP. `without_body` answers a HEAD.
    pub(crate) fn write(&self, out: &mut Vec<u8>, keep_alive: bool, without_body: bool) {
        let line = format!("HTTP/1.1 {} {}\r\n", self.status, phrase(self.status));
        out.extend_from_slice(line.as_bytes());
        push_field(out, "content-type", self.content_type.as_bytes());
        push_field(out, "content-length", self.body.len().to_string().as_bytes());
        if let Some(after) = self.retry_after {
            // Whole seconds, and not 0: that would mean at once.
            let seconds = after.as_millis().div_ceil(1000).max(1);
            push_field(out, "retry-after", seconds.to_string().as_bytes());
        }
        push_field(out, "connection", if keep_alive { b"keep-alive" } else { b"close" });
        out.extend_from_slice(b"\r\n");
        if !without_body {
            out.extend_from_slice(self.body.as_bytes());
        }
    }
}

fn error(status: u16, message: &str) -> ErrorBody {
    let kind = match status {
        400 => "BadRequestError".to_owned(),
        404 => "NotFoundError".to_owned(),
        _ => phrase(status).to_owned(),
    };
    ErrorBody {
        error: ErrorDetail { message: message.to_owned(), kind, param: None, code: status },
    }
}

/// The events that end a stream before its end, as vLLM ends one.
pub(crate) fn last_events(reason: Reason) -> String {
    let mut events = String::new();
    // Strings and numbers always have a JSON form.
    let _always = sse::push_frame(&mut events, &error(reason.status(), message(reason)));
    events.push_str(sse::DONE);
    events
}

/// A reason in words for the client.
pub(crate) fn message(reason: Reason) -> &'static str {
    match reason {
        Reason::Shed => "The service has more requests than it can take; try again later.",
        Reason::QueueTimeout => "The request waited too long for its turn; try again later.",
        Reason::NobodyReady => "No model server is ready.",
        Reason::Draining => "The router is shutting down.",
        Reason::Deadline => "The request took longer than it may.",
        Reason::EndpointFailed => "The model server failed while it worked on the request.",
        Reason::NoRoute => "No route takes this request.",
        Reason::NoBackend => "The route of this request leads to a backend that does not exist.",
        Reason::Unknown => "Nobody here serves what is asked for.",
        Reason::Unable => "Nobody here can serve this request as it is.",
    }
}

/// The status in words.
fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_that_we_answer_has_a_name() {
        for reason in Reason::ALL {
            assert_ne!(phrase(reason.status()), "Error", "{reason:?}");
        }
    }

    #[test]
    fn a_stream_ends_with_an_error_and_done() {
        let events = last_events(Reason::EndpointFailed);
        let data: Vec<&str> = sse::data(&events).collect();
        assert_eq!(data.len(), 2);
        assert_eq!(data[1], "[DONE]");
        let error: ErrorBody = serde_json::from_str(data[0]).unwrap();
        assert_eq!((error.error.code, error.error.kind.as_str()), (502, "Bad Gateway"));
    }

    #[test]
    fn retry_after_is_in_whole_seconds_and_never_zero() {
        let write = |ms| {
            let answer =
                Answer { retry_after: Some(Duration::from_millis(ms)), ..Answer::error(429, "no") };
            let mut out = Vec::new();
            answer.write(&mut out, true, true);
            String::from_utf8(out).unwrap()
        };
        assert!(write(0).contains("\r\nretry-after: 1\r\n"));
        assert!(write(1001).contains("\r\nretry-after: 2\r\n"));
    }
}
