//! A span, and the JSON of many.

use std::time::Duration;

use serde_json::{Value, json};

/// OTLP's `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// A key and what it says. Made by [`attribute`].
pub type Attribute = Value;

/// Whose side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody's: a part of another span.
    Internal,
    /// Whoever is called.
    Server,
    /// Whoever calls.
    Client,
}

/// Something that took time. Times are since 1970.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// All spans of a request, in all services.
    pub trace_id: u128,
    /// This one.
    pub id: u64,
    /// The one that it is a part of, or that called.
    pub parent: Option<u64>,
    /// What was done.
    pub name: &'static str,
    /// Whose side.
    pub kind: Kind,
    /// When it began.
    pub from: Duration,
    /// When it ended.
    pub to: Duration,
    /// What else is known.
    pub attributes: Vec<Attribute>,
    /// What failed.
    pub error: Option<&'static str>,
}

// === impl Span ===

impl Span {
    fn to_json(&self) -> Value {
        let kind = match self.kind {
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
        };
        // 64-bit numbers are texts in OTLP's JSON.
        let nanos = |at: Duration| at.as_nanos().to_string();
        let mut span = json!({
            "traceId": format!("{:032x}", self.trace_id),
            "spanId": format!("{:016x}", self.id),
            "name": self.name,
            "kind": kind,
            "startTimeUnixNano": nanos(self.from),
            "endTimeUnixNano": nanos(self.to),
            "attributes": self.attributes,
        });
        if let Some(parent) = self.parent {
            span["parentSpanId"] = json!(format!("{parent:016x}"));
        }
        if let Some(message) = self.error {
            span["status"] = json!({"code": ERROR, "message": message});
        }
        span
    }
}

/// The body of one export.
#[must_use]
pub fn body(service: &str, spans: &[Span]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let spans: Vec<Value> = spans.iter().map(Span::to_json).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            attribute::text("service.name", service),
            attribute::text("service.version", version),
        ]},
        "scopeSpans": [{"scope": {"name": "llm-systems-lab", "version": version}, "spans": spans}],
    }]})
}

/// Attributes by the type of their value.
pub mod attribute {
    use super::{Attribute, json};

    /// A text.
    #[must_use]
    pub fn text(key: &str, value: &str) -> Attribute {
        json!({"key": key, "value": {"stringValue": value}})
    }

    /// A number of things.
    #[must_use]
    pub fn number(key: &str, value: usize) -> Attribute {
        json!({"key": key, "value": {"intValue": value.to_string()}})
    }

    /// A time in seconds.
    #[must_use]
    pub fn seconds(key: &str, value: f64) -> Attribute {
        json!({"key": key, "value": {"doubleValue": value}})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_written_as_collectors_read_it() {
        let span = Span {
            trace_id: 0xa,
            id: 0xb,
            parent: Some(0xc),
            name: "route",
            kind: Kind::Client,
            from: Duration::from_nanos(1_700_000_000_000_000_001),
            to: Duration::from_secs(1_700_000_001),
            attributes: vec![attribute::number("attempts", 2)],
            error: Some("no endpoint"),
        };
        let body = body("router", &[span]);
        let written = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(written["traceId"], "0000000000000000000000000000000a");
        assert_eq!(written["spanId"], "000000000000000b");
        assert_eq!(written["parentSpanId"], "000000000000000c");
        assert_eq!(written["kind"], 3);
        assert_eq!(written["startTimeUnixNano"], "1700000000000000001");
        assert_eq!(written["status"]["code"], 2);
        assert_eq!(written["attributes"][0]["value"]["intValue"], "2");
    }
}
