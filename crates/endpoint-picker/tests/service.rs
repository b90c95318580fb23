//! A proxy's side of the conversation, over a real connection: messages as Envoy would send them, replies as it would read them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use endpoint_picker::messages::{
    HeaderMap, HeaderValue, HttpBody, HttpHeaders, MetadataContext, OVERWRITE, PhaseResponse,
    ProcessingRequest, ProcessingResponse, ProtocolConfiguration, Request, Response,
};
use endpoint_picker::{
    Answer, BodyMode, Chunk, Metadata, Mutation, Phase, Picker, Refusal, Reply, Session, ask, serve,
};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_prost::ProstCodec;

/// Plays back replies, and keeps the phases that it heard.
#[derive(Default)]
struct Script {
    phases: Arc<Mutex<Vec<Phase>>>,
    replies: Mutex<Vec<Vec<Reply>>>,
    closed: Arc<AtomicUsize>,
    ready: AtomicBool,
}

struct Played {
    phases: Arc<Mutex<Vec<Phase>>>,
    replies: std::vec::IntoIter<Vec<Reply>>,
    closed: Arc<AtomicUsize>,
}

impl Picker for Script {
    type Session = Played;

    fn open(&self) -> Played {
        Played {
            phases: Arc::clone(&self.phases),
            replies: std::mem::take(&mut *self.replies.lock().unwrap()).into_iter(),
            closed: Arc::clone(&self.closed),
        }
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }
}

impl Session for Played {
    fn on(&mut self, phase: Phase, _now: Duration) -> Vec<Reply> {
        self.phases.lock().unwrap().push(phase);
        self.replies.next().unwrap_or_default()
    }

    fn closed(&mut self, _now: Duration) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

/// A server with a script, and a client of it.
struct Stage {
    script: Arc<Script>,
    client: Grpc<Channel>,
    channel: Channel,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Stage {
    async fn set(replies: Vec<Vec<Reply>>) -> Self {
        let script = Arc::new(Script { replies: Mutex::new(replies), ..Script::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let served = serve(listener, Arc::clone(&script), shutdown);
        let task = tokio::spawn(async { served.await.unwrap() });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = channel.connect().await.unwrap();
        let client = Grpc::new(channel.clone());
        Self { script, client, channel, stop, task }
    }

    /// Opens a stream.
    async fn open(&mut self) -> (mpsc::Sender<ProcessingRequest>, Streaming<ProcessingResponse>) {
        let (requests, outgoing) = mpsc::channel(8);
        self.client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(
            "/envoy.service.ext_proc.v3.ExternalProcessor/Process",
        );
        let request = tonic::Request::new(ReceiverStream::new(outgoing));
        let codec = ProstCodec::<ProcessingRequest, ProcessingResponse>::default();
        let replies = self.client.streaming(request, path, codec).await.unwrap();
        (requests, replies.into_inner())
    }

    async fn strike(self) {
        let Self { client, channel, stop, task, .. } = self;
        drop((client, channel));
        let _ = stop.send(());
        tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
    }
}

fn text(value: &str) -> Value {
    Value { kind: Some(Kind::StringValue(value.to_owned())) }
}

fn metadata(namespace: &str, key: &str, value: Value) -> MetadataContext {
    let fields = BTreeMap::from([(key.to_owned(), value)]);
    MetadataContext { filter_metadata: BTreeMap::from([(namespace.to_owned(), Struct { fields })]) }
}

fn headers(pairs: &[(&str, &str)]) -> HttpHeaders {
    let header = |(key, value): &(&str, &str)| HeaderValue {
        key: (*key).to_owned(),
        value: String::new(),
        raw_value: value.as_bytes().to_vec(),
    };
    let headers = HeaderMap { headers: pairs.iter().map(header).collect() };
    HttpHeaders { headers: Some(headers), end_of_stream: false }
}

fn head() -> ProcessingRequest {
    ProcessingRequest {
        request: Some(Request::RequestHeaders(headers(&[(":path", "/v1"), ("x-a", "b")]))),
        protocol_config: Some(ProtocolConfiguration {
            request_body_mode: 4,
            response_body_mode: 1,
        }),
        ..ProcessingRequest::default()
    }
}

fn destination() -> Mutation {
    Mutation {
        headers: vec![("x-gateway-destination-endpoint".to_owned(), "10.0.0.1:8000".to_owned())],
        metadata: vec![Metadata {
            namespace: "envoy.lb".to_owned(),
            key: "x-gateway-destination-endpoint".to_owned(),
            value: "10.0.0.1:8000".to_owned(),
        }],
    }
}

#[tokio::test]
async fn a_destination_is_set_as_a_header_and_as_metadata() {
    let piece = Chunk { bytes: b"{}".to_vec(), last: true };
    let replies = vec![
        vec![],
        vec![
            Reply::RequestHeaders(destination()),
            Reply::RequestBody(Mutation::default(), Some(piece)),
        ],
    ];
    let mut stage = Stage::set(replies).await;
    let (requests, mut answers) = stage.open().await;
    let list = ListValue { values: vec![text("10.0.0.1:8000"), text("10.0.0.2:8000")] };
    let subset = Value { kind: Some(Kind::ListValue(list)) };
    let key = "x-gateway-destination-endpoint-subset";
    let context = Some(metadata("envoy.lb.subset_hint", key, subset));
    requests.send(ProcessingRequest { metadata_context: context, ..head() }).await.unwrap();
    let body = HttpBody { body: b"{}".to_vec(), end_of_stream: true };
    let body =
        ProcessingRequest { request: Some(Request::RequestBody(body)), ..Default::default() };
    requests.send(body).await.unwrap();

    let first = answers.message().await.unwrap().unwrap();
    let Some(Response::RequestHeaders(PhaseResponse { response: Some(common) })) = first.response
    else {
        panic!("{first:?}")
    };
    let set = common.header_mutation.unwrap().set_headers;
    let header = set[0].header.clone().unwrap();
    assert_eq!(header.key, "x-gateway-destination-endpoint");
    assert_eq!(header.raw_value, b"10.0.0.1:8000");
    assert_eq!(set[0].append_action, OVERWRITE, "a client's own header must not survive");
    assert!(common.clear_route_cache);
    let dynamic = first.dynamic_metadata.unwrap();
    let Some(Kind::StructValue(lb)) = &dynamic.fields["envoy.lb"].kind else {
        panic!("{dynamic:?}")
    };
    assert_eq!(lb.fields["x-gateway-destination-endpoint"], text("10.0.0.1:8000"));

    let second = answers.message().await.unwrap().unwrap();
    let Some(Response::RequestBody(PhaseResponse { response: Some(common) })) = second.response
    else {
        panic!("{second:?}")
    };
    let streamed = common.body_mutation.unwrap().streamed_response.unwrap();
    assert_eq!((&*streamed.body, streamed.end_of_stream), (&b"{}"[..], true));

    drop(requests);
    assert_eq!(answers.message().await.unwrap(), None, "the stream ends with the proxy's half");
    assert_eq!(stage.script.closed.load(Ordering::SeqCst), 1);
    let heard = stage.script.phases.lock().unwrap().clone();
    let expected = Phase::RequestHeaders {
        headers: vec![(":path".into(), "/v1".into()), ("x-a".into(), "b".into())],
        subset: Some(vec!["10.0.0.1:8000".into(), "10.0.0.2:8000".into()]),
        modes: (BodyMode::FullDuplex, BodyMode::Streamed),
        last: false,
    };
    assert_eq!(heard[0], expected);
    stage.strike().await;
}

#[tokio::test]
async fn who_asks_as_a_proxy_hears_endpoints_refusals_and_what_is_broken() {
    let mut two = destination();
    two.headers[0].1.push_str(",10.0.0.2:8000");
    let twice = two.headers[0].1.clone();
    let split = Reply::RequestHeaders(two.clone());
    two.metadata[0].value = twice;
    let good = Reply::RequestHeaders(two);
    let back = |bytes: &[u8], last| {
        Reply::RequestBody(Mutation::default(), Some(Chunk { bytes: bytes.to_vec(), last }))
    };
    let refusal = Reply::Immediate(Refusal::NoneReady);
    let picked = ["10.0.0.1:8000", "10.0.0.2:8000"].map(str::to_owned).to_vec();
    let cases = [
        (vec![good.clone(), back(b"{", false), back(b"}", true)], Ok(picked)),
        (vec![refusal], Err("refused 503")),
        (vec![split], Err("the metadata")),
        (vec![good, back(b"{", true)], Err("of 2 bytes of a body 1 came back")),
        (vec![back(b"{}", true)], Err("no endpoint")),
        (vec![Reply::RequestTrailers], Err("no answer to a request")),
    ];
    for (replies, expected) in cases {
        let stage = Stage::set(vec![vec![], replies]).await;
        let answer = ask(&stage.channel, b"{}").await.unwrap();
        match (answer, expected) {
            (Answer::Picked(endpoints), Ok(wanted)) => assert_eq!(endpoints, wanted),
            (Answer::Refused(status), Err(wanted)) => {
                assert_eq!(format!("refused {status}"), wanted)
            }
            (Answer::Broken(why), Err(wanted)) => assert!(why.contains(wanted), "{why}"),
            (answer, expected) => panic!("{answer:?}, not {expected:?}"),
        }
        stage.strike().await;
    }
}

#[tokio::test]
async fn a_refusal_is_an_answer_to_the_client_and_the_end() {
    let shed = Refusal::Shed { after: Duration::from_millis(1500) };
    let mut stage = Stage::set(vec![vec![Reply::Immediate(shed), Reply::RequestTrailers]]).await;
    let (requests, mut answers) = stage.open().await;
    requests.send(head()).await.unwrap();
    let first = answers.message().await.unwrap().unwrap();
    let Some(Response::ImmediateResponse(immediate)) = first.response else { panic!("{first:?}") };
    assert_eq!(immediate.status.unwrap().code, 429);
    let headers = immediate.headers.unwrap().set_headers;
    let headers: BTreeMap<String, Vec<u8>> =
        headers.into_iter().filter_map(|h| h.header).map(|h| (h.key, h.raw_value)).collect();
    assert_eq!(headers["retry-after"], b"2", "seconds, rounded up");
    assert!(String::from_utf8(immediate.body).unwrap().contains(r#""code":429"#));
    assert_eq!(answers.message().await.unwrap(), None, "nothing comes behind a refusal");
    stage.strike().await;
}

#[tokio::test]
async fn a_proxy_that_only_looks_on_gets_no_reply() {
    let mut stage = Stage::set(vec![vec![Reply::RequestHeaders(destination())]]).await;
    let (requests, mut answers) = stage.open().await;
    requests.send(ProcessingRequest { observability_mode: true, ..head() }).await.unwrap();
    drop(requests);
    assert_eq!(answers.message().await.unwrap(), None);
    assert_eq!(stage.script.phases.lock().unwrap().len(), 1, "but it was heard");
    stage.strike().await;
}

#[tokio::test]
async fn a_proxy_says_who_served() {
    let mut stage = Stage::set(vec![]).await;
    let (requests, mut answers) = stage.open().await;
    let key = "x-gateway-destination-endpoint-served";
    let head = headers(&[(":status", "503"), ("retry-after", "1")]);
    let response = ProcessingRequest {
        request: Some(Request::ResponseHeaders(head)),
        metadata_context: Some(metadata("envoy.lb", key, text("10.0.0.2:8000"))),
        ..ProcessingRequest::default()
    };
    requests.send(response).await.unwrap();
    drop(requests);
    assert_eq!(answers.message().await.unwrap(), None);
    let expected = Phase::ResponseHeaders {
        status: 503,
        retry_after: true,
        served: Some("10.0.0.2:8000".to_owned()),
        last: false,
    };
    assert_eq!(*stage.script.phases.lock().unwrap(), [expected]);
    stage.strike().await;
}

/// The messages of gRPC's health check.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Check {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Checked {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[tokio::test]
async fn a_picker_is_alive_before_it_is_ready() {
    let mut stage = Stage::set(vec![]).await;
    let check = async |stage: &mut Stage, service: &str| {
        stage.client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        let request = tonic::Request::new(Check { service: service.to_owned() });
        let codec = ProstCodec::<Check, Checked>::default();
        let answer = stage.client.unary(request, path, codec).await;
        answer.map(|answer| answer.into_inner().status).map_err(|status| status.code())
    };
    let processor = "envoy.service.ext_proc.v3.ExternalProcessor";
    assert_eq!(check(&mut stage, "liveness").await, Ok(1));
    assert_eq!(check(&mut stage, "readiness").await, Ok(2));
    assert_eq!(check(&mut stage, processor).await, Ok(2));
    stage.script.ready.store(true, Ordering::SeqCst);
    assert_eq!(check(&mut stage, "readiness").await, Ok(1));
    assert_eq!(check(&mut stage, processor).await, Ok(1));
    assert_eq!(check(&mut stage, "something else").await, Err(Code::NotFound));
    stage.strike().await;
}
