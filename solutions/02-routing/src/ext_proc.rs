//! Task 2.6, Kubernetes-native, its last part: one request of a proxy, from its headers to the last byte of its answer.
//!
//! A proxy that speaks Envoy's external processing tells a request's phases and waits for replies. This is the machine between:
//! no transport, no clock, one request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use endpoint_picker::{
    BodyMode, Chunk, DESTINATION, DESTINATION_NAMESPACE, Metadata, Mutation, OBJECTIVE, Phase,
    Refusal, Reply,
};
use routing::{Ending, Feedback, Happening, Policy};

use crate::picker_metrics::Outcome;
use crate::pool_picker::{Pick, PoolPicker, Wish};

/// The longest body that is kept until its end is there.
pub const MAX_BODY: usize = 16 << 20;
/// The longest piece of a body that goes back at once: Envoy's window for a message is 64 KiB, and something comes around it.
pub const CHUNK: usize = 62_000;

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was said yet.
    Headers,
    /// The headers wait while the body is collected, piece by piece.
    Collecting,
    /// The headers wait at the proxy, which collects the body and sends it whole.
    Buffered,
    /// An endpoint is picked; whatever comes goes on.
    Picked,
    /// The proxy answers the client itself.
    Refused,
    /// The answer is over.
    Ended,
}

/// The state of one request.
#[derive(Debug)]
pub struct ExtProc {
    stage: Stage,
    modes: (BodyMode, BodyMode),
    wish: Wish,
    body: Vec<u8>,
    /// The prompt in a body.
    prompt: fn(&[u8]) -> Vec<u8>,
    picked: Option<Pick>,
    sent: Duration,
    /// Whether a byte of the answer came.
    begun: bool,
    ending: Ending,
}

// === impl ExtProc ===

impl ExtProc {
    /// A request that begins. `prompt` finds the prompt in a body, for policies that read it.
    #[must_use]
    pub fn new(prompt: fn(&[u8]) -> Vec<u8>) -> Self {
        Self {
            stage: Stage::Headers,
            modes: (BodyMode::None, BodyMode::None),
            wish: Wish::default(),
            body: Vec::new(),
            prompt,
            picked: None,
            sent: Duration::ZERO,
            begun: false,
            ending: Ending::Failed,
        }
    }

    /// How far it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Replies to a phase of the request itself.
    pub fn on_request<P: Policy>(
        &mut self,
        phase: Phase,
        picker: &mut PoolPicker<P>,
        now: Duration,
    ) -> Vec<Reply> {
        // Headers. `self.read` notes what they say. A policy that does not read prompts decides at once (`self.decide`), and so does one
        //   that will see no body: there is none, or the proxy keeps it or sends it when the headers are gone (`None`, `Streamed`).
        //   Otherwise `Buffered`: reply `RequestHeaders` without changes, and decide when the body comes. `FullDuplex`: no reply until
        //   the body has ended.
        // Body. While `Collecting`, keep each piece; more than `MAX_BODY` together is `Refusal::TooLong` (`self.refuse`). With the last
        //   piece, `self.release(true, ...)`: it decides, and replies the headers and behind them the whole body, which would be lost
        //   otherwise. In `Buffered`, decide with the whole body; the reply is a `RequestBody` with the changes. When `Picked`, let it pass:
        //   `RequestBody` without changes, with the piece itself only in `FullDuplex`.
        // Trailers end a body whose last piece did not say so: while `Collecting`, `self.release(false, ...)`, and the reply to the
        //   trailers behind it. When `Picked`, they pass.
        // A refusal is one `Immediate` and nothing behind it, and nothing more is replied after it.
        // ANCHOR: task_2_6_request
        match (self.stage, phase) {
            (Stage::Headers, Phase::RequestHeaders { headers, subset, modes, last }) => {
                self.read(&headers, subset, modes, picker);
                let mode = if last || !picker.reads_prompt() { BodyMode::None } else { modes.0 };
                match mode {
                    BodyMode::Buffered => {
                        self.stage = Stage::Buffered;
                        vec![Reply::RequestHeaders(Mutation::default())]
                    }
                    BodyMode::FullDuplex => {
                        self.stage = Stage::Collecting;
                        Vec::new()
                    }
                    BodyMode::None | BodyMode::Streamed => self
                        .decide(picker, now)
                        .map_or_else(only, |m| vec![Reply::RequestHeaders(m)]),
                }
            }
            (Stage::Collecting, Phase::RequestBody { chunk, last }) => {
                if self.body.len() + chunk.len() > MAX_BODY {
                    return only(self.refuse(Refusal::TooLong));
                }
                self.body.extend(chunk);
                if last { self.release(true, picker, now) } else { Vec::new() }
            }
            (Stage::Collecting, Phase::RequestTrailers) => {
                let mut replies = self.release(false, picker, now);
                if self.stage == Stage::Picked {
                    replies.push(Reply::RequestTrailers);
                }
                replies
            }
            (Stage::Buffered, Phase::RequestBody { chunk, .. }) => {
                self.body = chunk;
                self.decide(picker, now).map_or_else(only, |m| vec![Reply::RequestBody(m, None)])
            }
            (Stage::Picked, Phase::RequestBody { chunk, last }) => {
                let piece = Chunk { bytes: chunk, last };
                let back = (self.modes.0 == BodyMode::FullDuplex).then_some(piece);
                vec![Reply::RequestBody(Mutation::default(), back)]
            }
            (Stage::Picked, Phase::RequestTrailers) => vec![Reply::RequestTrailers],
            _ => Vec::new(),
        }
        // ANCHOR_END: task_2_6_request
    }

    /// Decides, and lets the headers and the body go that were held back. `ends`: no trailers follow.
    fn release<P: Policy>(
        &mut self,
        ends: bool,
        picker: &mut PoolPicker<P>,
        now: Duration,
    ) -> Vec<Reply> {
        match self.decide(picker, now) {
            Ok(mutation) => {
                let mut replies = vec![Reply::RequestHeaders(mutation)];
                let pieces = self.pieces(ends).into_iter();
                replies.extend(pieces.map(|p| Reply::RequestBody(Mutation::default(), Some(p))));
                replies
            }
            Err(refused) => only(refused),
        }
    }

    /// Picks an endpoint, and says what the proxy must change so that the request gets there; or the refusal.
    fn decide<P: Policy>(
        &mut self,
        picker: &mut PoolPicker<P>,
        now: Duration,
    ) -> Result<Mutation, Reply> {
        if picker.reads_prompt() {
            self.wish.prompt = (self.prompt)(&self.body);
        }
        // Ask the picker. The protocol wants the destination twice: in the header `DESTINATION` of the request, and in the metadata, key
        // `DESTINATION` of the namespace `DESTINATION_NAMESPACE`; both must say the same. It is the address that was picked, and behind
        // it, with commas between and no spaces, those that the proxy may try next (`picker.fallbacks`). Note what was picked and when it
        // was sent. A refusal goes through `self.refuse`.
        // ANCHOR: task_2_6_decide
        let picked = picker.pick(&self.wish, now).map_err(|refusal| self.refuse(refusal))?;
        (self.picked, self.sent, self.stage) = (Some(picked), now, Stage::Picked);
        let others = picker.fallbacks(&self.wish, &picked, now);
        let all = std::iter::once(picked.address).chain(others);
        let all = all.map(|address| address.to_string()).collect::<Vec<_>>().join(",");
        let entry = Metadata {
            namespace: DESTINATION_NAMESPACE.to_owned(),
            key: DESTINATION.to_owned(),
            value: all.clone(),
        };
        let headers = vec![(DESTINATION.to_owned(), all)];
        Ok(Mutation { headers, metadata: vec![entry] })
        // ANCHOR_END: task_2_6_decide
    }

    /// Replies to a phase of the answer.
    pub fn on_response<P: Policy>(
        &mut self,
        phase: Phase,
        picker: &mut PoolPicker<P>,
        now: Duration,
    ) -> Vec<Reply> {
        // Everything goes on: `ResponseHeaders`, `ResponseBody` (with the piece itself only where the answer's mode is `FullDuplex`),
        // `ResponseTrailers`. On the way the policy learns, through `self.tell`, what became of its choice:
        // - The status decides the ending (`ending_of`).
        // - A proxy may have gone on to another endpoint, and says so (`served`). Then the one that was picked has `Failed`, and the other
        //   one, if we know it (`picker.at`), is `Sent` the request now: `self.moved_to` does both.
        // - The first piece with bytes in it of an answer that will be `Answered` is the first token.
        // - The end (`last`, or trailers) is `self.end` with the ending.
        // ANCHOR: task_2_6_response
        match phase {
            Phase::ResponseHeaders { status, retry_after, served, last } => {
                let served = served.and_then(|address| picker.at(&address));
                if let Some(other) =
                    served.filter(|id| self.picked.is_some_and(|p| p.endpoint != *id))
                {
                    self.moved_to(other, picker, now);
                }
                self.ending = ending_of(status, retry_after);
                if last {
                    self.end(self.ending, picker, now);
                }
                vec![Reply::ResponseHeaders]
            }
            Phase::ResponseBody { chunk, last } => {
                if !chunk.is_empty() && !self.begun && self.ending == Ending::Answered {
                    self.begun = true;
                    let waited = now.saturating_sub(self.sent);
                    self.tell(Happening::FirstToken(waited), picker, now);
                }
                if last {
                    self.end(self.ending, picker, now);
                }
                let piece = Chunk { bytes: chunk, last };
                vec![Reply::ResponseBody((self.modes.1 == BodyMode::FullDuplex).then_some(piece))]
            }
            Phase::ResponseTrailers => {
                self.end(self.ending, picker, now);
                vec![Reply::ResponseTrailers]
            }
            _ => Vec::new(),
        }
        // ANCHOR_END: task_2_6_response
    }

    /// The proxy hung up. If the answer had not ended, the client went away, or the proxy did.
    pub fn closed<P: Policy>(&mut self, picker: &mut PoolPicker<P>, now: Duration) {
        self.end(Ending::Cancelled, picker, now);
    }

    /// Notes what the headers say.
    fn read<P: Policy>(
        &mut self,
        headers: &[(String, String)],
        subset: Option<Vec<String>>,
        modes: (BodyMode, BodyMode),
        picker: &PoolPicker<P>,
    ) {
        let of = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_str());
        self.modes = modes;
        self.wish = Wish {
            prompt: Vec::new(),
            session: of("x-session-id").map(ToOwned::to_owned),
            priority: picker.priority(of(OBJECTIVE)),
            subset,
        };
    }

    /// From here on the proxy answers.
    fn refuse(&mut self, refusal: Refusal) -> Reply {
        self.stage = Stage::Refused;
        self.body = Vec::new();
        Reply::Immediate(refusal)
    }

    /// The body that was kept, in pieces that a proxy takes; at least one, the last of which says so where the body `ends`.
    fn pieces(&mut self, ends: bool) -> Vec<Chunk> {
        let body = std::mem::take(&mut self.body);
        let mut pieces: Vec<Chunk> =
            body.chunks(CHUNK).map(|part| Chunk { bytes: part.to_vec(), last: false }).collect();
        if pieces.is_empty() {
            pieces.push(Chunk { bytes: Vec::new(), last: false });
        }
        if let Some(last) = pieces.last_mut() {
            last.last = ends;
        }
        pieces
    }

    /// The proxy gave up on the endpoint that was picked, and went to another one.
    fn moved_to<P: Policy>(
        &mut self,
        endpoint: routing::EndpointId,
        picker: &mut PoolPicker<P>,
        now: Duration,
    ) {
        if self.stage != Stage::Picked {
            return;
        }
        let took = now.saturating_sub(self.sent);
        self.tell(Happening::Ended { ending: Ending::Failed, took }, picker, now);
        picker.tally_mut().moved();
        if let Some(picked) = &mut self.picked {
            picked.endpoint = endpoint;
        }
        self.tell(Happening::Sent, picker, now);
    }

    /// Ends it, once.
    fn end<P: Policy>(&mut self, ending: Ending, picker: &mut PoolPicker<P>, now: Duration) {
        if self.stage == Stage::Picked {
            let took = now.saturating_sub(self.sent);
            self.tell(Happening::Ended { ending, took }, picker, now);
        }
        if self.stage != Stage::Refused {
            self.stage = Stage::Ended;
        }
    }

    /// Tells the policy, as long as the request lasts: a proxy that goes on talking afterwards must not spoil what was counted.
    fn tell<P: Policy>(&self, happening: Happening, picker: &mut PoolPicker<P>, now: Duration) {
        if let Some(Pick { request, endpoint, .. }) =
            self.picked.filter(|_| self.stage == Stage::Picked)
        {
            picker.observe(&Feedback { request, endpoint, happening, at: now });
        }
    }
}

/// One reply and no other.
fn only(reply: Reply) -> Vec<Reply> {
    vec![reply]
}

/// What a status code says about the endpoint that sent it.
#[must_use]
pub fn ending_of(status: u16, retry_after: bool) -> Ending {
    match status {
        429 => Ending::Refused,
        503 if retry_after => Ending::Refused,
        400..=499 => Ending::ClientError,
        200..=399 => Ending::Answered,
        _ => Ending::Failed,
    }
}

/// A picker that many requests share, as `endpoint_picker` serves it.
#[derive(Debug)]
pub struct Shared<P> {
    picker: Arc<Mutex<PoolPicker<P>>>,
    prompt: fn(&[u8]) -> Vec<u8>,
}

impl<P: Policy> Shared<P> {
    /// Around a picker. A choice takes microseconds, so one lock for all is enough.
    #[must_use]
    pub fn new(picker: Arc<Mutex<PoolPicker<P>>>, prompt: fn(&[u8]) -> Vec<u8>) -> Self {
        Self { picker, prompt }
    }
}

impl<P: Policy + 'static> endpoint_picker::Picker for Shared<P> {
    type Session = SharedExtProc<P>;

    fn open(&self) -> SharedExtProc<P> {
        let request = ExtProc::new(self.prompt);
        SharedExtProc { picker: Arc::clone(&self.picker), request, began: None }
    }

    fn is_ready(&self) -> bool {
        lock(&self.picker).table().is_synced()
    }
}

/// One request of a [`Shared`] picker.
#[derive(Debug)]
pub struct SharedExtProc<P> {
    picker: Arc<Mutex<PoolPicker<P>>>,
    request: ExtProc,
    /// When its headers came.
    began: Option<Duration>,
}

impl<P: Policy> SharedExtProc<P> {
    /// Counts a decision, if this step was one.
    fn count(&self, before: Stage, replies: &[Reply], picker: &mut PoolPicker<P>, now: Duration) {
        let outcome = match (before, self.request.stage, replies.first()) {
            (Stage::Picked | Stage::Refused | Stage::Ended, ..) => return,
            (_, Stage::Picked, _) => Outcome::Picked,
            (_, Stage::Refused, Some(Reply::Immediate(refusal))) => Outcome::from(*refusal),
            _ => return,
        };
        let waited = now.saturating_sub(self.began.unwrap_or(now));
        picker.tally_mut().decided(self.request.wish.priority, outcome, waited);
    }
}

impl<P: Policy + 'static> endpoint_picker::Session for SharedExtProc<P> {
    fn on(&mut self, phase: Phase, now: Duration) -> Vec<Reply> {
        let mut picker = lock(&self.picker);
        match phase {
            Phase::RequestHeaders { .. } | Phase::RequestBody { .. } | Phase::RequestTrailers => {
                self.began.get_or_insert(now);
                let before = self.request.stage();
                let replies = self.request.on_request(phase, &mut picker, now);
                self.count(before, &replies, &mut picker, now);
                replies
            }
            _ => self.request.on_response(phase, &mut picker, now),
        }
    }

    fn closed(&mut self, now: Duration) {
        self.request.closed(&mut lock(&self.picker), now);
    }
}

fn lock<P>(picker: &Mutex<PoolPicker<P>>) -> MutexGuard<'_, PoolPicker<P>> {
    picker.lock().unwrap_or_else(PoisonError::into_inner)
}
