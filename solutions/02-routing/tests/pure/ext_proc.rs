//! A proxy that says anything, in any order, and stops anywhere. The conversation must not panic, keep more than it may, or leave a
//! request counted for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use discovery::{Conditions, Event, Family, Slice, SliceEndpoint, SlicePort};
use endpoint_picker::{BodyMode, Chunk, OBJECTIVE, Phase, Picker, Reply, Session};
use proptest::prelude::*;
use routing::{EndpointId, EndpointView, Feedback, Happening, Policy, RouteRequest};
use sol02_routing::ext_proc::{CHUNK, MAX_BODY, Shared};
use sol02_routing::picker_metrics::Outcome;
use sol02_routing::pool_picker::PoolPicker;
use sol02_routing::slices::Wanted;

const ENDPOINTS: u32 = 4;

/// Takes the endpoints in turn, and writes down what it hears.
#[derive(Default, Clone)]
struct Hears {
    reads: bool,
    heard: Arc<Mutex<Vec<Feedback>>>,
}

impl Policy for Hears {
    fn choose(
        &mut self,
        request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        _now: Duration,
    ) -> Option<usize> {
        (request.id as usize).checked_rem(endpoints.len())
    }

    fn observe(&mut self, feedback: &Feedback) {
        self.heard.lock().expect("a lock").push(*feedback);
    }

    fn reads_prompt(&self) -> bool {
        self.reads
    }
}

fn endpoints() -> Slice {
    let endpoint = |number: u32| SliceEndpoint {
        addresses: vec![format!("10.0.0.{number}")],
        conditions: Conditions { ready: Some(true), ..Conditions::default() },
        pod: Some(number.to_string()),
        zone: None,
        for_zones: Vec::new(),
    };
    Slice {
        name: "s".to_owned(),
        family: Family::Ipv4,
        ports: vec![SlicePort { name: String::new(), number: Some(8000) }],
        endpoints: (1..=ENDPOINTS).map(endpoint).collect(),
    }
}

fn mode() -> impl Strategy<Value = BodyMode> {
    prop_oneof![
        Just(BodyMode::None),
        Just(BodyMode::Streamed),
        Just(BodyMode::Buffered),
        Just(BodyMode::FullDuplex),
    ]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (1..=ENDPOINTS + 1).prop_map(|number| format!("10.0.0.{number}:8000")),
        1 => ".{0,40}",
    ]
}

/// A name and a value of a header; some are long, and some are names that mean something.
fn header() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![
        Just(OBJECTIVE.to_owned()),
        Just("x-session-id".to_owned()),
        Just(":path".to_owned()),
        ".{0,30}",
    ];
    let value = prop_oneof![
        4 => ".{0,30}",
        2 => Just("batch".to_owned()),
        1 => (0..200_000_usize).prop_map(|length| "v".repeat(length)),
    ];
    (name, value)
}

fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![8 => 0..2000_usize, 1 => 0..3 * CHUNK, 1 => 0..(4_usize << 20)];
    length.prop_map(|length| vec![b'x'; length])
}

fn phase() -> impl Strategy<Value = Phase> {
    let last = any::<bool>();
    prop_oneof![
        2 => (
            prop::collection::vec(header(), 0..6),
            prop::option::of(prop::collection::vec(address(), 0..4)),
            (mode(), mode()),
            last,
        )
            .prop_map(|(headers, subset, modes, last)| Phase::RequestHeaders {
                headers, subset, modes, last
            }),
        4 => (chunk(), last).prop_map(|(chunk, last)| Phase::RequestBody { chunk, last }),
        1 => Just(Phase::RequestTrailers),
        2 => (any::<u16>(), any::<bool>(), prop::option::of(address()), last).prop_map(
            |(status, retry_after, served, last)| Phase::ResponseHeaders {
                status, retry_after, served, last
            }
        ),
        3 => (chunk(), last).prop_map(|(chunk, last)| Phase::ResponseBody { chunk, last }),
        1 => Just(Phase::ResponseTrailers),
    ]
}

/// Headers first, as a proxy that keeps to the protocol sends them; or anything.
fn conversation() -> impl Strategy<Value = Vec<Phase>> {
    let headers = (mode(), mode()).prop_map(|modes| Phase::RequestHeaders {
        headers: Vec::new(),
        subset: None,
        modes,
        last: false,
    });
    let polite = (headers, prop::collection::vec(phase(), 0..24)).prop_map(|(first, mut rest)| {
        rest.insert(0, first);
        rest
    });
    prop_oneof![polite, prop::collection::vec(phase(), 0..24)]
}

/// Bytes of bodies in replies.
fn given_back(replies: &[Reply]) -> usize {
    let bytes = |piece: &Option<Chunk>| piece.as_ref().map_or(0, |piece| piece.bytes.len());
    let of = |reply: &Reply| match reply {
        Reply::RequestBody(_, piece) | Reply::ResponseBody(piece) => bytes(piece),
        _ => 0,
    };
    replies.iter().map(of).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_proxy_says_the_books_balance(
        conversations in prop::collection::vec(conversation(), 1..4),
        reads in any::<bool>(),
        fallbacks in 0..6_usize,
    ) {
        let policy = Hears { reads, ..Hears::default() };
        let heard = Arc::clone(&policy.heard);
        let wanted = Wanted { port: None, family: Family::Ipv4 };
        let mut picker = PoolPicker::new(policy, wanted, None).with_fallbacks(fallbacks);
        picker.set_objectives(BTreeMap::from([("batch".to_owned(), -1)]));
        for event in [Event::ListBegins, Event::Listed(endpoints()), Event::ListEnds] {
            picker.apply(event);
        }
        let picker = Arc::new(Mutex::new(picker));
        let shared = Shared::new(Arc::clone(&picker), <[u8]>::to_vec);
        let (mut now, mut refused) = (Duration::ZERO, 0);
        let mut decided = 0;
        for phases in conversations {
            let mut session = shared.open();
            // What the picker may owe: the body that came and has not gone back.
            let (mut came, mut went, mut is_refused) = (0, 0, false);
            for phase in phases {
                now += Duration::from_millis(1);
                let bytes = match &phase {
                    Phase::RequestBody { chunk, .. } | Phase::ResponseBody { chunk, .. } => {
                        chunk.len()
                    }
                    _ => 0,
                };
                came += bytes;
                let is_request = !matches!(
                    phase,
                    Phase::ResponseHeaders { .. } | Phase::ResponseBody { .. } | Phase::ResponseTrailers
                );
                let replies = session.on(phase, now);
                went += given_back(&replies);
                prop_assert!(went <= came, "{went} bytes went back of {came}");
                if is_refused && is_request {
                    prop_assert!(replies.is_empty(), "after a refusal: {} replies", replies.len());
                }
                let immediate = replies.iter().filter(|r| matches!(r, Reply::Immediate(_))).count();
                prop_assert!(immediate == 0 || replies.len() == 1, "a refusal with other replies");
                refused += immediate;
                is_refused |= immediate > 0;
                prop_assert!(replies.len() <= MAX_BODY / CHUNK + 4, "{} replies", replies.len());
            }
            session.closed(now);
            session.closed(now);
        }
        let picker = picker.lock().expect("a lock");
        for id in 0..ENDPOINTS {
            prop_assert_eq!(picker.in_flight(EndpointId(id)), 0, "in flight at endpoint {}", id);
        }
        let mut open = BTreeMap::<(u64, EndpointId), bool>::new();
        for Feedback { request, endpoint, happening, .. } in &*heard.lock().expect("a lock") {
            let is_open = open.entry((*request, *endpoint)).or_default();
            match happening {
                Happening::Sent => {
                    prop_assert!(!*is_open, "request {request} is sent twice");
                    *is_open = true;
                }
                Happening::FirstToken(_) => prop_assert!(*is_open, "a token of {request} after its end"),
                Happening::Ended { .. } => {
                    prop_assert!(*is_open, "request {request} ends twice");
                    *is_open = false;
                }
            }
        }
        prop_assert!(open.values().all(|is_open| !is_open), "a request never ends");
        decided += picker.tally().count(Outcome::Picked) as usize;
        let counted: u64 = [Outcome::Shed, Outcome::NoneReady, Outcome::TooLong]
            .map(|outcome| picker.tally().count(outcome)).iter().sum();
        prop_assert_eq!(counted as usize, refused, "refusals that were counted");
        let numbers: std::collections::BTreeSet<u64> = open.keys().map(|(request, _)| *request).collect();
        prop_assert_eq!(decided, numbers.len(), "picks that were counted");
    }
}
