//! Checks of task 2.6, Kubernetes-native: the endpoint picker and its conversation with a proxy.

use std::collections::BTreeMap;
use std::time::Duration;

use discovery::{Conditions, Event, Family, Slice, SliceEndpoint, SlicePort};
use endpoint_picker::{BodyMode, Chunk, Metadata, Mutation, Phase, Refusal, Reply};
use rand::Rng;
use routing::{
    Ending, EndpointId, EndpointView, Feedback, Happening, Policy, RoundRobin, RouteRequest,
    Scrape, Signals,
};
use testbed::{expect, expect_eq, rng};

use crate::ext_proc::{CHUNK, ExtProc, MAX_BODY, Stage};
use crate::pool_picker::{PoolPicker, Wish};
use crate::slices::Wanted;

const NOW: Duration = Duration::from_secs(100);

/// Sends a request where its prompt's first byte says, and writes down what it hears.
#[derive(Debug, Default)]
struct Reader {
    heard: Vec<(EndpointId, Happening)>,
    /// Chooses nobody.
    full: bool,
    prompts: Vec<Vec<u8>>,
}

impl Policy for Reader {
    fn choose(
        &mut self,
        request: &RouteRequest<'_>,
        endpoints: &[EndpointView],
        _now: Duration,
    ) -> Option<usize> {
        self.prompts.push(request.prompt.to_vec());
        let first = usize::from(*request.prompt.first().unwrap_or(&0));
        (!self.full).then(|| first % endpoints.len())
    }

    fn observe(&mut self, feedback: &Feedback) {
        self.heard.push((feedback.endpoint, feedback.happening));
    }

    fn reads_prompt(&self) -> bool {
        true
    }
}

fn endpoint(number: usize, hint: Option<&str>) -> SliceEndpoint {
    SliceEndpoint {
        addresses: vec![format!("10.0.0.{number}")],
        conditions: Conditions { ready: Some(true), ..Conditions::default() },
        pod: Some(format!("uid-{number}")),
        zone: None,
        for_zones: hint.iter().map(|zone| (*zone).to_owned()).collect(),
    }
}

fn slice(endpoints: Vec<SliceEndpoint>) -> Slice {
    Slice {
        name: "s".to_owned(),
        family: Family::Ipv4,
        ports: vec![SlicePort { name: String::new(), number: Some(8000) }],
        endpoints,
    }
}

fn wanted() -> Wanted {
    Wanted { port: None, family: Family::Ipv4 }
}

/// A picker of `count` ready endpoints, in no zone.
fn picker<P: Policy>(policy: P, count: usize) -> PoolPicker<P> {
    let mut picker = PoolPicker::new(policy, wanted(), None);
    told(&mut picker, (1..=count).map(|number| endpoint(number, None)).collect());
    picker
}

fn told<P: Policy>(picker: &mut PoolPicker<P>, endpoints: Vec<SliceEndpoint>) {
    picker.apply(Event::ListBegins);
    picker.apply(Event::Listed(slice(endpoints)));
    picker.apply(Event::ListEnds);
}

fn subset(of: &[&str]) -> Option<Vec<String>> {
    Some(of.iter().map(|address| (*address).to_owned()).collect())
}

/// Where a wish leads, or the status of its refusal.
fn pick<P: Policy>(picker: &mut PoolPicker<P>, wish: &Wish) -> Result<String, u16> {
    picker.pick(wish, NOW).map(|pick| pick.address.to_string()).map_err(Refusal::status)
}

#[test]
fn task_2_6_picks_only_from_the_subset_that_the_proxy_names() {
    let mut picker = picker(RoundRobin::default(), 4);
    for (context, of, expected) in [
        (
            "two allowed",
            subset(&["10.0.0.2:8000", "10.0.0.3:8000"]),
            ["10.0.0.2:8000", "10.0.0.3:8000"],
        ),
        ("one allowed", subset(&["10.0.0.4:8000"]), ["10.0.0.4:8000"; 2]),
        ("one of two is known", subset(&["10.9.9.9:8000", "10.0.0.1:8000"]), ["10.0.0.1:8000"; 2]),
    ] {
        let wish = Wish { subset: of, ..Wish::default() };
        let mut got = vec![pick(&mut picker, &wish), pick(&mut picker, &wish)];
        got.sort();
        expect_eq(
            format!("{context}: two picks"),
            expected.map(|a| Ok(a.to_owned())).to_vec(),
            got,
        );
    }
    for (context, of) in [
        ("an empty subset", subset(&[])),
        ("a subset without a known endpoint", subset(&["10.9.9.9:8000"])),
        ("the right address, another port", subset(&["10.0.0.1:9000"])),
    ] {
        let wish = Wish { subset: of, ..Wish::default() };
        expect_eq(context, Err(503), pick(&mut picker, &wish));
    }
}

#[test]
fn task_2_6_answers_503_without_ready_and_429_where_the_policy_declines() {
    let mut none = picker(RoundRobin::default(), 0);
    expect_eq("no endpoint at all", Err(503), pick(&mut none, &Wish::default()));
    let mut draining = endpoint(1, None);
    draining.conditions.terminating = Some(true);
    told(&mut none, vec![draining]);
    expect_eq("the only endpoint drains", Err(503), pick(&mut none, &Wish::default()));
    let mut full = picker(Reader { full: true, ..Reader::default() }, 3);
    expect_eq("the policy chooses nobody", Err(429), pick(&mut full, &Wish::default()));
    let refused = full.pick(&Wish::default(), NOW).err().and_then(Refusal::retry_after_s);
    expect(
        "a client that is shed is told when to come again",
        refused.is_some(),
        "Retry-After",
        "none",
    );
    let sent = (0..3).map(|id| full.in_flight(EndpointId(id))).sum::<u32>();
    expect_eq("nothing was sent: in flight", 0, sent);
}

#[test]
fn task_2_6_sheds_what_can_wait_only_where_all_are_saturated() {
    let scrape = |waiting, kv_usage, at| Scrape {
        signals: Signals { waiting, running: 8, kv_usage },
        at: Duration::from_secs(at),
    };
    let (idle, queue, memory, old) =
        (scrape(0, 0.2, 100), scrape(9, 0.2, 100), scrape(0, 0.95, 100), scrape(0, 0.0, 60));
    for (context, scrapes, priority, expected) in [
        ("both saturated, priority -1", [Some(queue), Some(memory)], -1, false),
        ("both saturated, priority 0", [Some(queue), Some(memory)], 0, true),
        ("one idle, priority -1", [Some(queue), Some(idle)], -1, true),
        ("one saturated, one old, priority -1", [Some(queue), Some(old)], -1, false),
        ("one saturated, one silent, priority -5", [Some(memory), None], -5, false),
    ] {
        let mut picker = picker(RoundRobin::default(), 2);
        for (id, scrape) in scrapes.into_iter().enumerate() {
            scrape.into_iter().for_each(|scrape| picker.scraped(EndpointId(id as u32), scrape));
        }
        let got = pick(&mut picker, &Wish { priority, ..Wish::default() });
        let status = got.err().unwrap_or(200);
        expect_eq(format!("{context}: status"), if expected { 200 } else { 429 }, status);
    }
}

#[test]
fn task_2_6_asks_for_the_subset_before_the_zone() {
    let mut picker = PoolPicker::new(RoundRobin::default(), wanted(), Some("a".to_owned()));
    told(&mut picker, vec![endpoint(1, Some("a")), endpoint(2, Some("b")), endpoint(3, Some("a"))]);
    let mut got: Vec<_> = (0..4).map(|_| pick(&mut picker, &Wish::default())).collect();
    got.sort();
    let expected = ["10.0.0.1:8000", "10.0.0.1:8000", "10.0.0.3:8000", "10.0.0.3:8000"];
    expect_eq(
        "hints a, b, a; in zone a: four picks",
        expected.map(|a| Ok(a.to_owned())).to_vec(),
        got,
    );
    let wish = Wish { subset: subset(&["10.0.0.2:8000"]), ..Wish::default() };
    let context = "in zone a, the proxy allows only the endpoint of zone b";
    expect_eq(context, Ok("10.0.0.2:8000".to_owned()), pick(&mut picker, &wish));
}

// --- the conversation ---

fn headers(modes: (BodyMode, BodyMode), last: bool) -> Phase {
    let headers =
        [(":method", "POST"), (":path", "/v1/completions"), ("content-type", "application/json")];
    let headers = headers.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
    Phase::RequestHeaders { headers, subset: None, modes, last }
}

fn body(bytes: &[u8], last: bool) -> Phase {
    Phase::RequestBody { chunk: bytes.to_vec(), last }
}

fn answer(status: u16, last: bool) -> Phase {
    Phase::ResponseHeaders { status, retry_after: false, served: None, last }
}

fn whole(body: &[u8]) -> Vec<u8> {
    body.to_vec()
}

/// What the protocol asks for when this endpoint is picked.
fn sent_to(address: &str) -> Mutation {
    Mutation {
        headers: vec![("x-gateway-destination-endpoint".to_owned(), address.to_owned())],
        metadata: vec![Metadata {
            namespace: "envoy.lb".to_owned(),
            key: "x-gateway-destination-endpoint".to_owned(),
            value: address.to_owned(),
        }],
    }
}

#[test]
fn task_2_6_names_the_endpoint_in_the_header_and_in_the_metadata() {
    let mut picker = picker(RoundRobin::default(), 2);
    for address in ["10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.1:8000"] {
        let mut request = ExtProc::new(whole);
        let replies =
            request.on_request(headers((BodyMode::None, BodyMode::None), false), &mut picker, NOW);
        expect_eq(
            "headers, no body to see",
            vec![Reply::RequestHeaders(sent_to(address))],
            replies,
        );
    }
}

#[test]
fn task_2_6_names_fallbacks_behind_the_endpoint_that_it_picked() {
    for (context, allowed, expected) in [
        ("all allowed", None, "10.0.0.2:8000,10.0.0.1:8000,10.0.0.3:8000"),
        (
            "the proxy allows two",
            subset(&["10.0.0.3:8000", "10.0.0.4:8000"]),
            "10.0.0.4:8000,10.0.0.3:8000",
        ),
        ("the proxy allows one", subset(&["10.0.0.3:8000"]), "10.0.0.3:8000"),
    ] {
        // The prompt begins with a 1: the second of those that are allowed.
        let mut picker = picker(Reader::default(), 4).with_fallbacks(2);
        let mut request = ExtProc::new(whole);
        let Phase::RequestHeaders { headers, modes, last, .. } =
            headers((BodyMode::Buffered, BodyMode::None), false)
        else {
            unreachable!("headers")
        };
        let phase = Phase::RequestHeaders { headers, subset: allowed, modes, last };
        request.on_request(phase, &mut picker, NOW);
        let replies = request.on_request(body(&[1], true), &mut picker, NOW);
        let expected = vec![Reply::RequestBody(sent_to(expected), None)];
        expect_eq(format!("four endpoints, two fallbacks, {context}"), expected, replies);
        let sent: Vec<_> = picker.policy().heard.clone();
        expect_eq(format!("{context}: what the policy heard"), 1, sent.len());
    }
}

#[test]
fn task_2_6_waits_for_the_body_only_where_the_policy_reads_it() {
    for (mode, waits, at_headers) in [
        (BodyMode::FullDuplex, true, 0),
        (BodyMode::Buffered, true, 1),
        (BodyMode::Streamed, false, 1),
        (BodyMode::None, false, 1),
    ] {
        let mut reads = picker(Reader::default(), 2);
        let mut request = ExtProc::new(whole);
        let replies = request.on_request(headers((mode, mode), false), &mut reads, NOW);
        expect_eq(format!("{mode:?}, a policy that reads: replies"), at_headers, replies.len());
        let decided = request.stage() == Stage::Picked;
        expect_eq(format!("{mode:?}, a policy that reads: decided at once"), !waits, decided);
        let mut blind = picker(RoundRobin::default(), 2);
        let mut request = ExtProc::new(whole);
        let replies = request.on_request(headers((mode, mode), false), &mut blind, NOW);
        let expected = vec![Reply::RequestHeaders(sent_to("10.0.0.1:8000"))];
        expect_eq(format!("{mode:?}, a policy that does not read"), expected, replies);
    }
    let mut reads = picker(Reader::default(), 2);
    let mut request = ExtProc::new(whole);
    let modes = (BodyMode::FullDuplex, BodyMode::FullDuplex);
    let replies = request.on_request(headers(modes, true), &mut reads, NOW);
    expect_eq("a request without a body: replies", 1, replies.len());
}

#[test]
fn task_2_6_gives_back_the_body_that_it_collected_byte_for_byte() {
    let mut random = rng("body");
    for case in 0..20 {
        let length = random.random_range(0..4 * CHUNK);
        let sent: Vec<u8> = (0..length).map(|_| random.random()).collect();
        let mut picker = picker(Reader::default(), 2);
        let mut request = ExtProc::new(whole);
        let modes = (BodyMode::FullDuplex, BodyMode::FullDuplex);
        let mut replies = request.on_request(headers(modes, false), &mut picker, NOW);
        let size = random.random_range(1..=90_000);
        let pieces: Vec<&[u8]> = sent.chunks(size).collect();
        for piece in &pieces {
            let more = request.on_request(body(piece, false), &mut picker, NOW);
            expect_eq(format!("case {case}: a piece that is not the last: replies"), 0, more.len());
            replies.extend(more);
        }
        let trailers = case % 2 == 1;
        let end = if trailers { Phase::RequestTrailers } else { body(b"", true) };
        replies.extend(request.on_request(end, &mut picker, NOW));
        let context =
            format!("case {case}: {length} bytes in pieces of {size}, trailers: {trailers}");
        expect_eq(format!("{context}: what the policy read"), vec![sent.clone()], given(&picker));
        let first = usize::from(*sent.first().unwrap_or(&0)) % 2 + 1;
        let expected = Some(Reply::RequestHeaders(sent_to(&format!("10.0.0.{first}:8000"))));
        expect_eq(format!("{context}: the first reply"), expected, replies.first().cloned());
        let chunks: Vec<&Chunk> = replies
            .iter()
            .filter_map(|reply| match reply {
                Reply::RequestBody(_, Some(chunk)) => Some(chunk),
                _ => None,
            })
            .collect();
        let back: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.bytes.clone()).collect();
        expect(format!("{context}: the body that goes on"), back == sent, "the same", back.len());
        let largest = chunks.iter().map(|chunk| chunk.bytes.len()).max().unwrap_or(0);
        expect(format!("{context}: the largest piece"), largest <= CHUNK, "at most CHUNK", largest);
        let ends: Vec<bool> = chunks.iter().map(|chunk| chunk.last).collect();
        let expected: Vec<bool> =
            (1..=ends.len()).map(|n| n == chunks.len() && !trailers).collect();
        expect_eq(format!("{context}: which pieces say that they are the last"), expected, ends);
        let closing = replies.last() == Some(&Reply::RequestTrailers);
        expect_eq(format!("{context}: the trailers are answered at the end"), trailers, closing);
    }
}

/// The prompts that the policy was given.
fn given(picker: &PoolPicker<Reader>) -> Vec<Vec<u8>> {
    picker.policy().prompts.clone()
}

#[test]
fn task_2_6_decides_on_a_buffered_body_and_lets_a_streamed_one_pass() {
    let mut reads = picker(Reader::default(), 2);
    let mut request = ExtProc::new(whole);
    let modes = (BodyMode::Buffered, BodyMode::Streamed);
    let first = request.on_request(headers(modes, false), &mut reads, NOW);
    expect_eq("buffered: the headers", vec![Reply::RequestHeaders(Mutation::default())], first);
    let second = request.on_request(body(&[1, 9], true), &mut reads, NOW);
    let expected = vec![Reply::RequestBody(sent_to("10.0.0.2:8000"), None)];
    expect_eq("buffered: the body, which goes on by itself", expected, second);
    request.on_response(answer(200, false), &mut reads, NOW);
    let piece = Phase::ResponseBody { chunk: vec![7], last: false };
    let replies = request.on_response(piece, &mut reads, NOW);
    expect_eq("an answer that is streamed", vec![Reply::ResponseBody(None)], replies);

    let mut blind = picker(RoundRobin::default(), 2);
    for (mode, back) in [(BodyMode::Streamed, false), (BodyMode::FullDuplex, true)] {
        let mut request = ExtProc::new(whole);
        request.on_request(headers((mode, mode), false), &mut blind, NOW);
        let chunk = Chunk { bytes: vec![3, 4], last: true };
        let replies = request.on_request(body(&[3, 4], true), &mut blind, NOW);
        let expected = vec![Reply::RequestBody(Mutation::default(), back.then(|| chunk.clone()))];
        expect_eq(format!("{mode:?}, picked already: the body"), expected, replies);
        request.on_response(answer(200, false), &mut blind, NOW);
        let piece = Phase::ResponseBody { chunk: vec![3, 4], last: true };
        let replies = request.on_response(piece, &mut blind, NOW);
        let expected = vec![Reply::ResponseBody(back.then_some(chunk))];
        expect_eq(format!("{mode:?}: the answer's body"), expected, replies);
    }
}

#[test]
fn task_2_6_refuses_with_one_reply_and_then_says_no_more() {
    let modes = (BodyMode::FullDuplex, BodyMode::FullDuplex);
    let mut none = picker(RoundRobin::default(), 0);
    let mut request = ExtProc::new(whole);
    let replies = request.on_request(headers(modes, false), &mut none, NOW);
    expect_eq("nobody is ready", vec![Reply::Immediate(Refusal::NoneReady)], replies);
    let replies = request.on_request(body(b"{}", true), &mut none, NOW);
    expect_eq("refused, and the body comes: replies", 0, replies.len());

    let mut reads = picker(Reader::default(), 2);
    let mut request = ExtProc::new(whole);
    request.on_request(headers(modes, false), &mut reads, NOW);
    let half = vec![0; MAX_BODY / 2 + 1];
    let mut replies = request.on_request(body(&half, false), &mut reads, NOW);
    replies.extend(request.on_request(body(&half, false), &mut reads, NOW));
    expect_eq("a body that is too long", vec![Reply::Immediate(Refusal::TooLong)], replies);
    request.closed(&mut reads, NOW);
    expect_eq("it was never sent: what the policy heard", 0, reads.policy().heard.len());
}

#[test]
fn task_2_6_tells_the_policy_what_became_of_its_choice() {
    let later = |ms| NOW + Duration::from_millis(ms);
    let modes = (BodyMode::None, BodyMode::Streamed);
    for (status, retry_after, ending) in [
        (200, false, Ending::Answered),
        (404, false, Ending::ClientError),
        (429, false, Ending::Refused),
        (503, true, Ending::Refused),
        (503, false, Ending::Failed),
        (500, false, Ending::Failed),
    ] {
        let mut picker = picker(Reader::default(), 1);
        let mut request = ExtProc::new(whole);
        request.on_request(headers(modes, true), &mut picker, NOW);
        expect_eq(
            format!("{status}, before the answer: in flight"),
            1,
            picker.in_flight(EndpointId(0)),
        );
        let head = Phase::ResponseHeaders { status, retry_after, served: None, last: false };
        request.on_response(head, &mut picker, later(30));
        for (chunk, at, last) in [(vec![], 40, false), (vec![1], 50, false), (vec![2], 80, true)] {
            request.on_response(Phase::ResponseBody { chunk, last }, &mut picker, later(at));
        }
        request.closed(&mut picker, later(90));
        let mut expected = vec![(EndpointId(0), Happening::Sent)];
        if ending == Ending::Answered {
            expected.push((EndpointId(0), Happening::FirstToken(Duration::from_millis(50))));
        }
        let took = Duration::from_millis(80);
        expected.push((EndpointId(0), Happening::Ended { ending, took }));
        expect_eq(
            format!("{status}: what the policy heard"),
            expected,
            picker.policy().heard.clone(),
        );
        expect_eq(format!("{status}, at the end: in flight"), 0, picker.in_flight(EndpointId(0)));
    }
}

#[test]
fn task_2_6_counts_a_client_that_goes_away_once() {
    let mut picker = picker(Reader::default(), 1);
    let mut request = ExtProc::new(whole);
    request.on_request(headers((BodyMode::None, BodyMode::None), true), &mut picker, NOW);
    request.on_response(answer(200, false), &mut picker, NOW);
    request.closed(&mut picker, NOW + Duration::from_secs(1));
    request.closed(&mut picker, NOW + Duration::from_secs(2));
    let took = Duration::from_secs(1);
    let expected = vec![
        (EndpointId(0), Happening::Sent),
        (EndpointId(0), Happening::Ended { ending: Ending::Cancelled, took }),
    ];
    expect_eq("the stream closes within the answer", expected, picker.policy().heard.clone());
}

#[test]
fn task_2_6_blames_who_was_picked_and_credits_who_served() {
    let mut picker = picker(Reader::default(), 2);
    let mut request = ExtProc::new(whole);
    request.on_request(headers((BodyMode::None, BodyMode::None), true), &mut picker, NOW);
    let served = Some("10.0.0.2:8000".to_owned());
    let head = Phase::ResponseHeaders { status: 200, retry_after: false, served, last: true };
    request.on_response(head, &mut picker, NOW + Duration::from_millis(5));
    let endings: BTreeMap<EndpointId, Vec<Ending>> =
        picker.policy().heard.iter().fold(BTreeMap::new(), |mut all, (id, happening)| {
            if let Happening::Ended { ending, .. } = happening {
                all.entry(*id).or_default().push(*ending);
            }
            all
        });
    let expected = BTreeMap::from([
        (EndpointId(0), vec![Ending::Failed]),
        (EndpointId(1), vec![Ending::Answered]),
    ]);
    expect_eq("endpoint 0 was picked, endpoint 1 answered: endings", expected, endings);
    let left = [0, 1].map(|id| picker.in_flight(EndpointId(id)));
    expect_eq("at the end: in flight", [0, 0], left);
}
