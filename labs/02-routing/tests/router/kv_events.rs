//! What an endpoint tells of its KV cache, from its socket to the policy.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use discovery::{Conditions, Event, Family, Slice, SliceEndpoint, SlicePort};
use kv_events::{Batch, Told};
use lab02_routing::kv_events::{KvNames, TOKEN_BYTES};
use lab02_routing::load::Limits;
use lab02_routing::pool_picker::PoolPicker;
use lab02_routing::prefix_aware::PrefixAware;
use lab02_routing::prefix_blocks::PrefixBlocks;
use lab02_routing::recency::Recency;
use lab02_routing::slices::Wanted;
use lab02_routing::{Dispatcher, Rules};
use routing::{Direct, Dispatch, EndpointId, EndpointView, KvEvent, Policy, RouteRequest};

use crate::common::{LIMIT, Router, Server};

/// `[1.0, [["AllBlocksCleared"]]]`
const CLEARED: &[u8] = b"\x92\xcb\x3f\xf0\0\0\0\0\0\0\x91\x91\xb0AllBlocksCleared";

/// The router, once it has subscribed.
fn subscriber(publisher: &TcpListener) -> TcpStream {
    let (mut stream, _) = publisher.accept().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut greeting = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL".to_vec();
    greeting.resize(64, 0);
    stream.write_all(&greeting).unwrap();
    stream.write_all(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB").unwrap();
    // Greeting, READY, SUBSCRIBE to all.
    stream.read_exact(&mut [0; 64 + 27 + 12]).unwrap();
    stream
}

/// The message of it: topic, number, batch.
fn cleared() -> Vec<u8> {
    let size = u8::try_from(CLEARED.len()).unwrap();
    [&b"\x01\0\x01\x08\0\0\0\0\0\0\0\0\0"[..], &[size], CLEARED].concat()
}

#[test]
fn the_router_hears_who_tells_of_its_cache() {
    let (server, publisher) = (Server::start(200), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = publisher.local_addr().unwrap().port().to_string();
    let url = server.url();
    let router = Router::start(&["--endpoints", &url, "--policy", "prefix", "--kv-events", &port]);
    let mut stream = subscriber(&publisher);
    router.wait_for(&format!("llm_router_kv_joined{{endpoint=\"{}\"}}", server.address), 1.0);
    stream.write_all(&cleared()).unwrap();
    router.wait_for("llm_router_kv_emptied_total{why=\"cleared\"}", 1.0);
    drop(stream);
    router.wait_for("llm_router_kv_emptied_total{why=\"connection\"}", 1.0);
}

#[test]
fn a_picker_hears_who_tells_of_its_cache() {
    let (server, publisher) = (Server::start(200), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = publisher.local_addr().unwrap().port().to_string();
    let url = server.url();
    let picker = Router::start(&[
        "--picker",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
        "--endpoints",
        &url,
        "--policy",
        "prefix",
        "--kv-events",
        &port,
    ]);
    let mut stream = subscriber(&publisher);
    picker.wait_for(&format!("llm_picker_kv_joined{{endpoint=\"{}\"}}", server.address), 1.0);
    stream.write_all(&cleared()).unwrap();
    picker.wait_for("llm_picker_kv_emptied_total{why=\"cleared\"}", 1.0);
    drop(stream);
    picker.wait_for("llm_picker_kv_emptied_total{why=\"connection\"}", 1.0);
}

#[test]
fn a_picker_tells_its_policy_of_endpoints_that_are_there() {
    let heard = Hears::default();
    let wanted = Wanted { port: None, family: Family::Ipv4 };
    let mut picker = PoolPicker::new(heard.clone(), wanted, None);
    let endpoint = SliceEndpoint {
        addresses: vec!["10.0.0.1".to_owned()],
        conditions: Conditions { ready: Some(true), ..Conditions::default() },
        pod: None,
        zone: None,
        for_zones: Vec::new(),
    };
    let slice = Slice {
        name: "s".to_owned(),
        family: Family::Ipv4,
        ports: vec![SlicePort { name: String::new(), number: Some(8000) }],
        endpoints: vec![endpoint],
    };
    for event in [Event::ListBegins, Event::Listed(slice), Event::ListEnds] {
        picker.apply(event);
    }
    let there = picker.table().replicas()[0].id;
    picker.kv_event(there, &KvEvent::Cleared);
    picker.kv_event(EndpointId(there.0 + 1), &KvEvent::Cleared);
    assert_eq!(*heard.0.lock().unwrap(), [(there, KvEvent::Cleared)]);
}

/// Remembers what it is told.
#[derive(Default, Clone)]
struct Hears(Arc<Mutex<Vec<(EndpointId, KvEvent)>>>);

impl Policy for Hears {
    fn choose(
        &mut self,
        _request: &RouteRequest<'_>,
        _endpoints: &[EndpointView],
        _now: Duration,
    ) -> Option<usize> {
        None
    }

    fn kv_event(&mut self, endpoint: EndpointId, event: &KvEvent) {
        self.0.lock().unwrap().push((endpoint, event.clone()));
    }
}

#[test]
fn whoever_decides_tells_its_policy() {
    let heard = Hears::default();
    let all: [Box<dyn Dispatch>; 2] = [
        Box::new(Dispatcher::new(heard.clone(), Rules::default())),
        Box::new(Direct::new(heard.clone())),
    ];
    for mut dispatch in all {
        dispatch.kv_event(EndpointId(7), &KvEvent::Cleared);
        assert_eq!(
            std::mem::take(&mut *heard.0.lock().unwrap()),
            [(EndpointId(7), KvEvent::Cleared)]
        );
    }
}

#[test]
fn an_empty_cache_is_not_believed_to_hold_anything_and_others_are() {
    let mut policy = PrefixAware::new(Limits::default(), 7);
    let endpoints = [1, 2].map(|id| EndpointView::unknown(EndpointId(id)));
    let ask = |policy: &mut PrefixAware, prompt: &str, view: EndpointView| {
        let request = RouteRequest { prompt: prompt.as_bytes(), ..RouteRequest::new(1) };
        policy.choose(&request, &[view], Duration::ZERO).unwrap();
    };
    ask(&mut policy, &"a".repeat(1024), endpoints[0]);
    ask(&mut policy, &"b".repeat(512), endpoints[1]);
    assert_eq!(policy.index().len(), 4 + 2);
    policy.kv_event(EndpointId(1), &KvEvent::Cleared);
    policy.kv_event(EndpointId(3), &KvEvent::Cleared);
    assert_eq!(policy.index().len(), 2);
}

/// What a real vLLM published: see `crates/kv-events/tests/recorded.rs`.
fn recorded() -> Vec<Told> {
    let path = "../../crates/kv-events/tests/recorded/vllm-0.32.0.txt";
    let text = std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let batches = lines.map(|line| {
        let digits = line.rsplit(' ').next().unwrap();
        let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
        let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        Batch::decode(&bytes).unwrap().events
    });
    batches.flatten().collect()
}

#[test]
fn what_a_real_vllm_holds_of_a_prompt_is_known_by_its_tokens() {
    let blocks = PrefixBlocks::new(32 * TOKEN_BYTES);
    let (mut names, mut held) = (KvNames::default(), Recency::new(64));
    let mut named = Vec::new();
    let (mut prompts, mut lost) = (0, false);
    for told in recorded().iter().filter(|told| told.plain) {
        names.apply(&told.event, &blocks, &mut held);
        match &told.event {
            KvEvent::Stored { parent: None, tokens, .. } => {
                let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
                blocks.name(&bytes, &mut named);
                assert_eq!(named.len(), tokens.len() / 32);
                assert!(named.iter().all(|name| held.contains(*name)), "{told:?}");
                prompts += 1;
            }
            KvEvent::Removed { .. } => lost |= named.iter().any(|name| !held.contains(*name)),
            KvEvent::Stored { .. } => {}
            KvEvent::Cleared => assert!(held.is_empty()),
        }
    }
    // Nothing that was removed belonged to the prompt before: the oldest goes first.
    assert!(!lost);
    assert_eq!((prompts, held.len()), (12, 5));
}
