//! Spans, on their way to a collector such as Jaeger: OTLP over HTTP, as JSON, from a thread of its own.
//!
//! Whoever has something to tell hands it over as it is and goes on; the exporter's thread turns it into [`Span`]s. What a span is about is
//! not known here.
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

mod exporter;
mod ids;
mod span;

pub use exporter::Exporter;
pub use ids::{Ids, RandomIds};
pub use span::{Attribute, Kind, Span, attribute, body};
