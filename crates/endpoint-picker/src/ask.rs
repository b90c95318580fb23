//! The proxy's side: one request as Envoy tells it in full duplex, and what the picker makes of it.

use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use crate::messages::{
    CommonResponse, HeaderMap, HeaderValue, HttpBody, HttpHeaders, PhaseResponse,
    ProcessingRequest, ProcessingResponse, ProtocolConfiguration, Request as Told, Response,
};
use crate::{DESTINATION, DESTINATION_NAMESPACE};

/// The longest that a picker gets for one request.
const LIMIT: Duration = Duration::from_secs(10);
/// Messages that one request has at most, and room for them all.
const MESSAGES: usize = 4;
/// `FULL_DUPLEX_STREAMED`, a number of `BodySendMode`.
const FULL_DUPLEX: i32 = 4;
/// The one method.
const METHOD: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

/// What a picker makes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The endpoints, as the header names them: the first, and then those to fall back on. The metadata name the same.
    Picked(Vec<String>),
    /// The proxy answers the client itself, by this status.
    Refused(i32),
    /// Nothing that a proxy could go on with.
    Broken(String),
}

/// The picker cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No connection, or no such service behind it.
    #[error("the picker does not take a request: {0}")]
    Unheard(#[from] tonic::Status),
    /// The connection.
    #[error("the picker is not reached: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// It said nothing for too long.
    #[error("the picker has not answered within {LIMIT:?}")]
    Late,
}

/// Asks where a request with this body should go, and tells, where somebody was picked, that the answer came from there.
///
/// # Errors
/// [`AskError`] where nobody answers. A bad answer is [`Answer::Broken`].
pub async fn ask(channel: &Channel, body: &[u8]) -> Result<Answer, AskError> {
    timeout(LIMIT, converse(channel, body)).await.unwrap_or(Err(AskError::Late))
}

async fn converse(channel: &Channel, body: &[u8]) -> Result<Answer, AskError> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await?;
    let (requests, outgoing) = mpsc::channel(MESSAGES);
    let codec = ProstCodec::<ProcessingRequest, ProcessingResponse>::default();
    let path = PathAndQuery::from_static(METHOD);
    tell(&requests, Told::RequestHeaders(headers(&[(":method", "POST")], false)));
    let whole = HttpBody { body: body.to_vec(), end_of_stream: true };
    tell(&requests, Told::RequestBody(whole));
    let request = Request::new(ReceiverStream::new(outgoing));
    let mut replies = client.streaming(request, path, codec).await?.into_inner();
    let answer = decision(&mut replies, body).await;
    if let Answer::Picked(_) = &answer {
        tell(&requests, Told::ResponseHeaders(headers(&[(":status", "200")], true)));
    }
    Ok(answer)
}

/// There is room for all that one request has to say; who does not listen any more will not answer either.
fn tell(requests: &mpsc::Sender<ProcessingRequest>, told: Told) {
    let modes =
        ProtocolConfiguration { request_body_mode: FULL_DUPLEX, response_body_mode: FULL_DUPLEX };
    let message = ProcessingRequest {
        request: Some(told),
        protocol_config: Some(modes),
        ..ProcessingRequest::default()
    };
    let _gone = requests.try_send(message);
}

fn headers(pairs: &[(&str, &str)], last: bool) -> HttpHeaders {
    let header = |(key, value): &(&str, &str)| HeaderValue {
        key: (*key).to_owned(),
        value: String::new(),
        raw_value: value.as_bytes().to_vec(),
    };
    let headers = HeaderMap { headers: pairs.iter().map(header).collect() };
    HttpHeaders { headers: Some(headers), end_of_stream: last }
}

/// Reads until the request may go on, whole, or may not.
async fn decision(replies: &mut Streaming<ProcessingResponse>, body: &[u8]) -> Answer {
    let (mut named, mut back) = (None, Vec::new());
    loop {
        let reply = match replies.message().await {
            Ok(Some(reply)) => reply,
            Ok(None) => return Answer::Broken("the picker hung up".to_owned()),
            Err(status) => return Answer::Broken(format!("the picker hung up: {status}")),
        };
        let metadata = reply.dynamic_metadata;
        match reply.response {
            Some(Response::ImmediateResponse(immediate)) => {
                return Answer::Refused(immediate.status.map_or(0, |status| status.code));
            }
            Some(Response::RequestHeaders(PhaseResponse { response: Some(common) })) => {
                match destination(&common, metadata.as_ref()) {
                    Ok(endpoints) => named = Some(endpoints),
                    Err(why) => return Answer::Broken(why),
                }
            }
            Some(Response::RequestBody(PhaseResponse { response: Some(common) })) => {
                let piece = common.body_mutation.and_then(|body| body.streamed_response);
                let Some(piece) = piece else { continue };
                back.extend(piece.body);
                if !piece.end_of_stream {
                    continue;
                }
                if back != body {
                    let (sent, came) = (body.len(), back.len());
                    return Answer::Broken(format!("of {sent} bytes of a body {came} came back"));
                }
                return match named {
                    Some(endpoints) => Answer::Picked(endpoints),
                    None => Answer::Broken("the body came back, and no endpoint".to_owned()),
                };
            }
            other => return Answer::Broken(format!("no answer to a request: {other:?}")),
        }
    }
}

/// The endpoints of a reply, which names them twice.
fn destination(common: &CommonResponse, metadata: Option<&Struct>) -> Result<Vec<String>, String> {
    let set = common.header_mutation.iter().flat_map(|mutation| &mutation.set_headers);
    let header = set
        .filter_map(|option| option.header.as_ref())
        .find(|header| header.key == DESTINATION)
        .map(|header| String::from_utf8_lossy(&header.raw_value).into_owned())
        .ok_or("no header names an endpoint")?;
    let text = |value: &Value| match &value.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        _ => None,
    };
    let space = metadata.and_then(|all| all.fields.get(DESTINATION_NAMESPACE));
    let same = match space.and_then(|value| value.kind.as_ref()) {
        Some(Kind::StructValue(space)) => space.fields.get(DESTINATION).and_then(text),
        _ => None,
    };
    if same.as_ref() != Some(&header) {
        return Err(format!("the header names {header}, the metadata {same:?}"));
    }
    Ok(header.split(',').map(|endpoint| endpoint.trim().to_owned()).collect())
}
