//! From messages to phases, and from replies to messages.

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::messages::{
    BodyMutation, CommonResponse, HeaderMap, HeaderMutation, HeaderValue, HeaderValueOption,
    HttpStatus, ImmediateResponse, MetadataContext, OVERWRITE, PhaseResponse, ProcessingRequest,
    ProcessingResponse, Request, Response, StreamedBodyResponse, TrailersResponse,
};
use crate::{
    BodyMode, Chunk, DESTINATION_NAMESPACE, Metadata, Mutation, Phase, Refusal, Reply, SERVED,
    SUBSET, SUBSET_NAMESPACE,
};

/// What a message tells. `None` where it tells nothing.
pub(crate) fn phase(message: ProcessingRequest) -> Option<Phase> {
    let metadata = message.metadata_context.unwrap_or_default();
    let config = message.protocol_config;
    let mode = |of: fn(&crate::messages::ProtocolConfiguration) -> i32| {
        config.as_ref().map_or_else(BodyMode::default, |config| body_mode(of(config)))
    };
    Some(match message.request? {
        Request::RequestHeaders(headers) => Phase::RequestHeaders {
            headers: pairs(headers.headers),
            subset: subset(&metadata),
            modes: (mode(|c| c.request_body_mode), mode(|c| c.response_body_mode)),
            last: headers.end_of_stream,
        },
        Request::RequestBody(body) => {
            Phase::RequestBody { chunk: body.body, last: body.end_of_stream }
        }
        Request::RequestTrailers(_) => Phase::RequestTrailers,
        Request::ResponseHeaders(headers) => {
            let last = headers.end_of_stream;
            let headers = pairs(headers.headers);
            let of = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, v)| v);
            Phase::ResponseHeaders {
                status: of(":status").and_then(|status| status.parse().ok()).unwrap_or(0),
                retry_after: of("retry-after").is_some(),
                served: entry(&metadata, DESTINATION_NAMESPACE, SERVED).and_then(text),
                last,
            }
        }
        Request::ResponseBody(body) => {
            Phase::ResponseBody { chunk: body.body, last: body.end_of_stream }
        }
        Request::ResponseTrailers(_) => Phase::ResponseTrailers,
    })
}

/// A number of `BodySendMode`. `BUFFERED_PARTIAL` (3) is answered as `BUFFERED`; `GRPC` (5) is no mode for this.
fn body_mode(number: i32) -> BodyMode {
    match number {
        1 => BodyMode::Streamed,
        2 | 3 => BodyMode::Buffered,
        4 => BodyMode::FullDuplex,
        _ => BodyMode::None,
    }
}

fn pairs(map: Option<HeaderMap>) -> Vec<(String, String)> {
    let headers = map.unwrap_or_default().headers.into_iter();
    headers
        .map(|header| {
            let value = if header.value.is_empty() {
                String::from_utf8_lossy(&header.raw_value).into_owned()
            } else {
                header.value
            };
            (header.key, value)
        })
        .collect()
}

fn entry<'a>(metadata: &'a MetadataContext, namespace: &str, key: &str) -> Option<&'a Value> {
    metadata.filter_metadata.get(namespace)?.fields.get(key)
}

fn text(value: &Value) -> Option<String> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        _ => None,
    }
}

/// A list of endpoints, or, as some proxies send it, one text with commas. A hint that is there but cannot be read allows nothing.
fn subset(metadata: &MetadataContext) -> Option<Vec<String>> {
    let value = entry(metadata, SUBSET_NAMESPACE, SUBSET)?;
    Some(match &value.kind {
        Some(Kind::ListValue(list)) => list.values.iter().filter_map(text).collect(),
        Some(Kind::StringValue(text)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(ToOwned::to_owned).collect()
        }
        _ => Vec::new(),
    })
}

/// The message of a reply.
pub(crate) fn response(reply: Reply) -> ProcessingResponse {
    let mut metadata = None;
    let mut go_on = |mutation: Mutation, chunk: Option<Chunk>| {
        metadata = dynamic(&mutation.metadata);
        let changed = !mutation.headers.is_empty();
        let body = chunk.map(|chunk| BodyMutation {
            streamed_response: Some(StreamedBodyResponse {
                body: chunk.bytes,
                end_of_stream: chunk.last,
            }),
        });
        let common = CommonResponse {
            header_mutation: changed.then(|| set(mutation.headers)),
            body_mutation: body,
            clear_route_cache: changed,
        };
        PhaseResponse { response: Some(common) }
    };
    let response = match reply {
        Reply::RequestHeaders(mutation) => Response::RequestHeaders(go_on(mutation, None)),
        Reply::RequestBody(mutation, chunk) => Response::RequestBody(go_on(mutation, chunk)),
        Reply::RequestTrailers => Response::RequestTrailers(TrailersResponse {}),
        Reply::ResponseHeaders => Response::ResponseHeaders(go_on(Mutation::default(), None)),
        Reply::ResponseBody(chunk) => Response::ResponseBody(go_on(Mutation::default(), chunk)),
        Reply::ResponseTrailers => Response::ResponseTrailers(TrailersResponse {}),
        Reply::Immediate(refusal) => Response::ImmediateResponse(immediate(refusal)),
    };
    ProcessingResponse { response: Some(response), dynamic_metadata: metadata }
}

fn immediate(refusal: Refusal) -> ImmediateResponse {
    let after = refusal.retry_after_s().map(|s| ("retry-after".to_owned(), s.to_string()));
    let json = ("content-type".to_owned(), "application/json".to_owned());
    let kind = if refusal.status() == 429 { "rate_limit_error" } else { "server_error" };
    let body = format!(
        r#"{{"error":{{"message":"{refusal}","type":"{kind}","code":{}}}}}"#,
        refusal.status()
    );
    ImmediateResponse {
        status: Some(HttpStatus { code: i32::from(refusal.status()) }),
        headers: Some(set(after.into_iter().chain([json]).collect())),
        body: body.into_bytes(),
        details: refusal.to_string(),
    }
}

fn set(headers: Vec<(String, String)>) -> HeaderMutation {
    let option = |(key, value): (String, String)| HeaderValueOption {
        header: Some(HeaderValue { key, value: String::new(), raw_value: value.into_bytes() }),
        append_action: OVERWRITE,
    };
    HeaderMutation { set_headers: headers.into_iter().map(option).collect() }
}

fn dynamic(entries: &[Metadata]) -> Option<Struct> {
    if entries.is_empty() {
        return None;
    }
    let mut namespaces = std::collections::BTreeMap::<String, Struct>::new();
    for Metadata { namespace, key, value } in entries {
        let value = Value { kind: Some(Kind::StringValue(value.clone())) };
        namespaces.entry(namespace.clone()).or_default().fields.insert(key.clone(), value);
    }
    let value = |of: Struct| Value { kind: Some(Kind::StructValue(of)) };
    Some(Struct { fields: namespaces.into_iter().map(|(name, of)| (name, value(of))).collect() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    /// A message with every field somehow set, cut, and with bytes that are turned.
    fn bent() -> impl Strategy<Value = Vec<u8>> {
        let text = ".{0,20}";
        let message =
            (text, prop::collection::vec(any::<u8>(), 0..200), any::<(i32, i32, bool)>(), 0..6_u8);
        let message = message.prop_map(|(text, bytes, (first, second, last), kind)| {
            let header =
                HeaderValue { key: text.clone(), value: text.clone(), raw_value: bytes.clone() };
            let headers = Some(HeaderMap { headers: vec![header; 3] });
            let headers = crate::messages::HttpHeaders { headers, end_of_stream: last };
            let body = crate::messages::HttpBody { body: bytes, end_of_stream: last };
            let trailers = crate::messages::HttpTrailers { trailers: None };
            let request = match kind {
                0 => Request::RequestHeaders(headers),
                1 => Request::ResponseHeaders(headers),
                2 => Request::RequestBody(body),
                3 => Request::ResponseBody(body),
                4 => Request::RequestTrailers(trailers),
                _ => Request::ResponseTrailers(trailers),
            };
            let value = Value { kind: Some(Kind::StringValue(text)) };
            let fields = [(SUBSET.to_owned(), value.clone()), (SERVED.to_owned(), value)].into();
            let metadata = Struct { fields };
            let filter_metadata = [
                (SUBSET_NAMESPACE.to_owned(), metadata.clone()),
                (DESTINATION_NAMESPACE.to_owned(), metadata),
            ];
            ProcessingRequest {
                request: Some(request),
                metadata_context: Some(MetadataContext { filter_metadata: filter_metadata.into() }),
                observability_mode: last,
                protocol_config: Some(crate::messages::ProtocolConfiguration {
                    request_body_mode: first,
                    response_body_mode: second,
                }),
            }
        });
        let turns = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
        (message, turns, any::<prop::sample::Index>()).prop_map(|(message, turns, cut)| {
            let mut bytes = message.encode_to_vec();
            for (at, with) in turns {
                let at = at.index(bytes.len());
                bytes[at] ^= with;
            }
            bytes.truncate(cut.index(2 * bytes.len()).max(1));
            bytes
        })
    }

    proptest! {
        /// Whatever arrives is a phase, nothing, or no message; and what it holds came in it.
        #[test]
        fn bytes_of_any_kind_are_read_or_refused(
            bytes in prop_oneof![bent(), prop::collection::vec(any::<u8>(), 0..300)],
        ) {
            let Ok(message) = ProcessingRequest::decode(&*bytes) else { return Ok(()) };
            // A byte that is not UTF-8 becomes three.
            let most = 3 * bytes.len();
            match phase(message) {
                Some(Phase::RequestHeaders { headers, subset, .. }) => {
                    let long: usize = headers.iter().map(|(key, value)| key.len() + value.len()).sum();
                    let subset: usize = subset.iter().flatten().map(String::len).sum();
                    prop_assert!(long + subset <= most);
                }
                Some(Phase::RequestBody { chunk, .. } | Phase::ResponseBody { chunk, .. }) => {
                    prop_assert!(chunk.len() <= bytes.len());
                }
                _ => {}
            }
        }
    }
}
