//! What an endpoint tells of its KV cache, from its socket to the policy.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{LIMIT, Router, Server};
use lab02_routing::load::Limits;
use lab02_routing::prefix_aware::PrefixAware;
use lab02_routing::{Dispatcher, Rules};
use routing::{Direct, Dispatch, EndpointId, EndpointView, KvEvent, Policy, RouteRequest};

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

#[test]
fn the_router_hears_who_tells_of_its_cache() {
    let (server, publisher) = (Server::start(200), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = publisher.local_addr().unwrap().port().to_string();
    let url = server.url();
    let router = Router::start(&["--endpoints", &url, "--policy", "prefix", "--kv-events", &port]);
    let mut stream = subscriber(&publisher);
    router.wait_for(&format!("llm_router_kv_joined{{endpoint=\"{}\"}}", server.address), 1.0);
    let size = u8::try_from(CLEARED.len()).unwrap();
    let message = [&b"\x01\0\x01\x08\0\0\0\0\0\0\0\0\0"[..], &[size], CLEARED].concat();
    stream.write_all(&message).unwrap();
    router.wait_for("llm_router_kv_emptied_total{why=\"cleared\"}", 1.0);
    drop(stream);
    router.wait_for("llm_router_kv_emptied_total{why=\"connection\"}", 1.0);
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
