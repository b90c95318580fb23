//! The messages of Envoy's external processing, as far as a picker needs them, with the field numbers of the public definitions.
//!
//! prost skips fields that are not named here, so a newer proxy is understood too.
//! Sources: `envoy/service/ext_proc/v3/external_processor.proto`, `envoy/config/core/v3/base.proto`,
//! `envoy/type/v3/http_status.proto`, `envoy/extensions/filters/http/ext_proc/v3/processing_mode.proto`.

use std::collections::BTreeMap;

use prost::{Message, Oneof};
use prost_types::Struct;

/// What the proxy sends.
#[derive(Clone, PartialEq, Message)]
pub struct ProcessingRequest {
    /// The phase.
    #[prost(oneof = "Request", tags = "2, 3, 4, 5, 6, 7")]
    pub request: Option<Request>,
    /// What filters before this one found out.
    #[prost(message, optional, tag = "8")]
    pub metadata_context: Option<MetadataContext>,
    /// The proxy only looks on, and takes no answer.
    #[prost(bool, tag = "10")]
    pub observability_mode: bool,
    /// How bodies come; in the first message.
    #[prost(message, optional, tag = "11")]
    pub protocol_config: Option<ProtocolConfiguration>,
}

/// The phase of a request.
#[derive(Clone, PartialEq, Oneof)]
pub enum Request {
    /// A request's headers.
    #[prost(message, tag = "2")]
    RequestHeaders(HttpHeaders),
    /// An answer's headers.
    #[prost(message, tag = "3")]
    ResponseHeaders(HttpHeaders),
    /// A piece of a request's body.
    #[prost(message, tag = "4")]
    RequestBody(HttpBody),
    /// A piece of an answer's body.
    #[prost(message, tag = "5")]
    ResponseBody(HttpBody),
    /// A request's trailers.
    #[prost(message, tag = "6")]
    RequestTrailers(HttpTrailers),
    /// An answer's trailers.
    #[prost(message, tag = "7")]
    ResponseTrailers(HttpTrailers),
}

/// How the proxy was set up. Modes are numbers of `BodySendMode`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ProtocolConfiguration {
    /// For requests.
    #[prost(int32, tag = "1")]
    pub request_body_mode: i32,
    /// For answers.
    #[prost(int32, tag = "2")]
    pub response_body_mode: i32,
}

/// Structs by namespace: `config.core.v3.Metadata`.
#[derive(Clone, PartialEq, Message)]
pub struct MetadataContext {
    /// By namespace.
    #[prost(btree_map = "string, message", tag = "1")]
    pub filter_metadata: BTreeMap<String, Struct>,
}

/// Headers of a request or an answer.
#[derive(Clone, PartialEq, Message)]
pub struct HttpHeaders {
    /// The headers.
    #[prost(message, optional, tag = "1")]
    pub headers: Option<HeaderMap>,
    /// No body follows.
    #[prost(bool, tag = "3")]
    pub end_of_stream: bool,
}

/// A piece of a body.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HttpBody {
    /// The bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    /// The last, without trailers behind it.
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

/// Trailers.
#[derive(Clone, PartialEq, Message)]
pub struct HttpTrailers {
    /// The trailers.
    #[prost(message, optional, tag = "1")]
    pub trailers: Option<HeaderMap>,
}

/// Headers in their order.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderMap {
    /// One after the other.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

/// One header. Its value is in one of two fields.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HeaderValue {
    /// Its name, in lower case.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value as text; empty where `raw_value` is used.
    #[prost(string, tag = "2")]
    pub value: String,
    /// Its value as bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

/// What the picker sends.
#[derive(Clone, PartialEq, Message)]
pub struct ProcessingResponse {
    /// The answer to a phase.
    #[prost(oneof = "Response", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub response: Option<Response>,
    /// For later filters, and for the choice of a host.
    #[prost(message, optional, tag = "8")]
    pub dynamic_metadata: Option<Struct>,
}

/// The answer to a phase.
#[derive(Clone, PartialEq, Oneof)]
pub enum Response {
    /// To a request's headers.
    #[prost(message, tag = "1")]
    RequestHeaders(PhaseResponse),
    /// To an answer's headers.
    #[prost(message, tag = "2")]
    ResponseHeaders(PhaseResponse),
    /// To a piece of a request's body.
    #[prost(message, tag = "3")]
    RequestBody(PhaseResponse),
    /// To a piece of an answer's body.
    #[prost(message, tag = "4")]
    ResponseBody(PhaseResponse),
    /// To a request's trailers.
    #[prost(message, tag = "5")]
    RequestTrailers(TrailersResponse),
    /// To an answer's trailers.
    #[prost(message, tag = "6")]
    ResponseTrailers(TrailersResponse),
    /// Instead of all that would come.
    #[prost(message, tag = "7")]
    ImmediateResponse(ImmediateResponse),
}

/// `HeadersResponse` and `BodyResponse`, which are alike.
#[derive(Clone, PartialEq, Message)]
pub struct PhaseResponse {
    /// What to change.
    #[prost(message, optional, tag = "1")]
    pub response: Option<CommonResponse>,
}

/// An answer to trailers, which changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct TrailersResponse {}

/// What to change.
#[derive(Clone, PartialEq, Message)]
pub struct CommonResponse {
    /// Headers.
    #[prost(message, optional, tag = "2")]
    pub header_mutation: Option<HeaderMutation>,
    /// The body.
    #[prost(message, optional, tag = "3")]
    pub body_mutation: Option<BodyMutation>,
    /// Choose the route once more, by the changed headers.
    #[prost(bool, tag = "5")]
    pub clear_route_cache: bool,
}

/// Headers to set.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderMutation {
    /// Each with what becomes of one that is there.
    #[prost(message, repeated, tag = "1")]
    pub set_headers: Vec<HeaderValueOption>,
}

/// A header to set.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HeaderValueOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// `HeaderAppendAction`: [`OVERWRITE`].
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// `OVERWRITE_IF_EXISTS_OR_ADD`: a client must not be able to name an endpoint by sending the header itself.
pub const OVERWRITE: i32 = 2;

/// What becomes of a body.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BodyMutation {
    /// The piece that goes on, where bodies are streamed both ways.
    #[prost(message, optional, tag = "3")]
    pub streamed_response: Option<StreamedBodyResponse>,
}

/// A piece that goes on.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamedBodyResponse {
    /// The bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    /// The last.
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

/// An answer to the client.
#[derive(Clone, PartialEq, Message)]
pub struct ImmediateResponse {
    /// The status code.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Headers besides the usual ones.
    #[prost(message, optional, tag = "2")]
    pub headers: Option<HeaderMutation>,
    /// The body.
    #[prost(bytes = "vec", tag = "3")]
    pub body: Vec<u8>,
    /// Why, for logs.
    #[prost(string, tag = "5")]
    pub details: String,
}

/// A status code.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct HttpStatus {
    /// The code.
    #[prost(int32, tag = "1")]
    pub code: i32,
}
