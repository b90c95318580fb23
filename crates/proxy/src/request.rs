//! A client's request, read from its socket and written as its endpoint gets it.
//!
//! Read strictly and written anew: a body leaves with one `Content-Length`, and fields that belong to the connection stay
//! here. So whatever the endpoint reads, it reads one request.
//!
//! Source: RFC 9112, sections 6.1, 6.3 and 11.2.

use std::ops::Range;
use std::time::Duration;

use otlp::RandomIds;
use protocol::traceparent::{self, TraceParent};
use protocol::wishes::{COST_HEADER, TIER_HEADER};

use crate::caller::Caller;
use crate::chunked::Chunks;
use crate::hop::Connection;
use crate::limits::{KEPT_CAPACITY, MAX_HEADERS, MAX_REQUEST_HEAD};
use crate::traces::Place;

/// Which queue a request waits in: the header of the Gateway API's inference extension.
pub const TENANT_HEADER: &str = "x-gateway-inference-fairness-id";
/// What a client calls its conversation.
pub const SESSION_HEADER: &str = "x-session-id";
/// Which version of a model a client asks for by name.
pub const VERSION_HEADER: &str = "x-llm-version";
/// How many milliseconds the client wants to wait for the end of the answer.
pub const TIMEOUT_HEADER: &str = "x-request-timeout-ms";

/// Why a request is not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    #[error("the request is no well-formed HTTP/1.1: {0}")]
    Malformed(&'static str),
    #[error(
        "the head of the request is larger than {MAX_REQUEST_HEAD} bytes or {MAX_HEADERS} fields"
    )]
    HeadTooLarge,
    #[error("the body of the request is larger than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the method is not served here")]
    Method,
    #[error("the expectation cannot be met")]
    Expectation,
    #[error("the request took too long to come")]
    Timeout,
}

impl BadRequest {
    /// The HTTP status that says so.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Method => 405,
            Self::Timeout => 408,
            Self::BodyTooLarge { .. } => 413,
            Self::Expectation => 417,
            Self::HeadTooLarge => 431,
        }
    }
}

/// What has to be known of a request besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Whether it is a HEAD, whose answer has no body.
    pub(crate) is_head: bool,
    /// Whether it is a GET.
    pub(crate) is_get: bool,
    /// The path, without the query.
    pub(crate) path: String,
    /// Whether the client speaks HTTP/1.1, and knows chunks.
    pub(crate) is_1_1: bool,
    /// Whether the client wants the connection for another request.
    pub(crate) keep_alive: bool,
    pub(crate) tenant: String,
    pub(crate) session: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) patience: Option<Duration>,
    pub(crate) tier: Option<String>,
    pub(crate) max_cost: Option<String>,
    /// Where it is in a trace; `None` where nobody records it.
    pub(crate) place: Option<Place>,
}

/// How far a request was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// More has to come.
    Partial,
    /// The client waits for a `100 Continue` before it sends the body.
    WantsContinue,
    /// It is complete.
    Complete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Length(usize),
    Chunked(Chunks),
    Complete,
}

/// Reads one request after the other.
#[derive(Debug)]
pub(crate) struct Reader {
    state: State,
    max_body: usize,
    /// Whose requests they are.
    caller: Caller,
    /// What has come of a head, or was sent ahead.
    pending: Vec<u8>,
    /// The request as it goes to the endpoint.
    message: Vec<u8>,
    body: Range<usize>,
    /// Whether the client waits before it sends the body.
    expects: bool,
    head: Option<Head>,
    /// Where spans get their names from; `None` where nobody asked for traces.
    ids: Option<RandomIds>,
}

impl Reader {
    pub(crate) fn new(max_body: usize, caller: Caller) -> Self {
        Self {
            state: State::Head,
            max_body,
            caller,
            pending: Vec::new(),
            message: Vec::new(),
            body: 0..0,
            expects: false,
            head: None,
            ids: None,
        }
    }

    /// Gives each request a span of its own, below its caller's.
    pub(crate) fn with_traces(mut self) -> Self {
        self.ids = Some(RandomIds::default());
        self
    }

    /// Whether nothing has come of the next request.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Head && self.pending.is_empty()
    }

    #[cfg(test)]
    /// Bytes that were sent ahead.
    pub(crate) fn ahead(&self) -> usize {
        self.pending.len()
    }

    /// Keeps bytes for the next request.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The head, once it is read.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The whole request, as an endpoint gets it.
    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Its head, as an endpoint gets it.
    pub(crate) fn head_as_sent(&self) -> &[u8] {
        self.message.get(..self.body.start).unwrap_or_default()
    }

    /// Its body.
    pub(crate) fn body(&self) -> &[u8] {
        self.message.get(self.body.clone()).unwrap_or_default()
    }

    /// Forgets the request, and begins with the next one.
    pub(crate) fn next(&mut self) {
        self.state = State::Head;
        self.head = None;
        self.message.clear();
        self.message.shrink_to(KEPT_CAPACITY);
        self.pending.shrink_to(KEPT_CAPACITY);
    }

    /// Reads what was kept from before.
    pub(crate) fn resume(&mut self) -> Result<Read, BadRequest> {
        let mut pending = std::mem::take(&mut self.pending);
        self.feed(&mut pending)
    }

    /// Reads what came from the socket; what is not of this request is kept. `bytes` is scratch space afterwards.
    pub(crate) fn feed(&mut self, bytes: &mut [u8]) -> Result<Read, BadRequest> {
        if self.state != State::Head {
            return self.feed_body(bytes);
        }
        if self.pending.is_empty() {
            return match self.read_head(bytes)? {
                Some(head) => self.after_head(&mut bytes[head..]),
                None => {
                    self.pending.extend_from_slice(bytes);
                    Ok(Read::Partial)
                }
            };
        }
        self.pending.extend_from_slice(bytes);
        let mut pending = std::mem::take(&mut self.pending);
        match self.read_head(&pending)? {
            Some(head) => self.after_head(&mut pending[head..]),
            None => {
                self.pending = pending;
                Ok(Read::Partial)
            }
        }
    }

    fn after_head(&mut self, rest: &mut [u8]) -> Result<Read, BadRequest> {
        let read = self.feed_body(rest)?;
        Ok(if read == Read::Partial && self.expects { Read::WantsContinue } else { read })
    }

    fn feed_body(&mut self, bytes: &mut [u8]) -> Result<Read, BadRequest> {
        let read = match &mut self.state {
            State::Length(left) => {
                let count = (*left).min(bytes.len());
                self.message.extend_from_slice(&bytes[..count]);
                *left -= count;
                if *left == 0 {
                    self.state = State::Complete;
                }
                count
            }
            State::Chunked(chunks) => {
                let decoded = chunks.decode(bytes);
                let (data, read) =
                    decoded.map_err(|_| BadRequest::Malformed("a chunk is not one"))?;
                if self.message.len() - self.body.start + data > self.max_body {
                    return Err(BadRequest::BodyTooLarge { limit: self.max_body });
                }
                self.message.extend_from_slice(&bytes[..data]);
                if chunks.is_done() {
                    self.finish_chunked();
                }
                read
            }
            State::Head | State::Complete => 0,
        };
        self.body.end = self.message.len();
        if self.state == State::Complete {
            self.pending.extend_from_slice(&bytes[read..]);
            return Ok(Read::Complete);
        }
        Ok(Read::Partial)
    }

    /// Now its length is known: writes it into the place that was kept for it.
    fn finish_chunked(&mut self) {
        let length = self.message.len() - self.body.start;
        let digits = format!("{length:0LENGTH_DIGITS$}");
        let end = self.body.start - 4;
        self.message[end - LENGTH_DIGITS..end].copy_from_slice(digits.as_bytes());
        self.state = State::Complete;
    }

    /// Reads a head, if it is complete, and writes it as the endpoint gets it. Returns its length.
    fn read_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, BadRequest> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length <= MAX_REQUEST_HEAD => length,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_REQUEST_HEAD => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(BadRequest::HeadTooLarge),
            Err(_) => return Err(BadRequest::Malformed("it cannot be parsed")),
        };
        let (method, version) = (request.method.unwrap_or(""), request.version.unwrap_or(0));
        let target = target(method, request.path.unwrap_or(""))?;
        let fields = Fields::read(request.headers, version)?;
        let framing = fields.framing;
        if let Framing::Length(length) = framing
            && length > self.max_body
        {
            return Err(BadRequest::BodyTooLarge { limit: self.max_body });
        }
        let place = self.ids.as_mut().and_then(|ids| Place::below(fields.caller, ids));
        let message = &mut self.message;
        message.clear();
        message.reserve(length + ADDED);
        for part in [method.as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"] {
            message.extend_from_slice(part);
        }
        for header in request.headers.iter() {
            let replaced = place.is_some() && is(header, traceparent::HEADER);
            let replaced = replaced || self.caller.replaces(header.name);
            if !replaced && !fields.connection.keeps(header.name) {
                push_field(message, header.name, header.value);
            }
        }
        let goes_on = |header: &&httparse::Header<'_>| !fields.connection.keeps(header.name);
        self.caller.write(message, request.headers.iter().filter(goes_on), version);
        if let Some(place) = place {
            push_field(message, traceparent::HEADER, place.own.to_string().as_bytes());
        }
        match framing {
            Framing::None => {}
            Framing::Length(length) => {
                push_field(message, "content-length", length.to_string().as_bytes());
            }
            Framing::Chunked => {
                push_field(message, "content-length", &[b'0'; LENGTH_DIGITS]);
            }
        }
        message.extend_from_slice(b"\r\n");
        self.body = message.len()..message.len();
        self.state = match framing {
            Framing::None | Framing::Length(0) => State::Complete,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunks::default()),
        };
        self.expects = fields.wants_continue && version == 1;
        let path = target.split(['?', '#']).next().unwrap_or(target).to_owned();
        self.head = Some(Head {
            is_head: method == "HEAD",
            is_get: method == "GET",
            path,
            is_1_1: version == 1,
            keep_alive: fields.keep_alive,
            tenant: fields.tenant.to_owned(),
            session: fields.session.map(str::to_owned),
            version: fields.version.map(str::to_owned),
            patience: fields.patience,
            tier: fields.tier.map(str::to_owned),
            max_cost: fields.max_cost.map(str::to_owned),
            place,
        });
        Ok(Some(length))
    }
}

/// Bytes that a head may grow by on its way, about: its length, the client's address, our name.
const ADDED: usize = 192;
/// Digits of the length of a body that comes in chunks: enough for any that is read, and leading zeros are allowed.
const LENGTH_DIGITS: usize = 12;

/// The target in origin form.
fn target<'a>(method: &str, target: &'a str) -> Result<&'a str, BadRequest> {
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(BadRequest::Method);
    }
    if target.starts_with('/') {
        return Ok(target);
    }
    // RFC 9112, 3.2.2: a server must take the absolute form, too.
    let after = target.split_once("://").filter(|(scheme, _)| scheme.eq_ignore_ascii_case("http"));
    let path = after.and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    path.ok_or(BadRequest::Malformed("its target is no path"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// What header fields say to us.
struct Fields<'a> {
    framing: Framing,
    keep_alive: bool,
    wants_continue: bool,
    connection: Connection<'a>,
    tenant: &'a str,
    session: Option<&'a str>,
    version: Option<&'a str>,
    patience: Option<Duration>,
    tier: Option<&'a str>,
    max_cost: Option<&'a str>,
    caller: Option<TraceParent>,
}

impl<'a> Fields<'a> {
    fn read(headers: &[httparse::Header<'a>], version: u8) -> Result<Self, BadRequest> {
        let mut fields = Self {
            framing: Framing::None,
            keep_alive: version == 1,
            wants_continue: false,
            connection: Connection::default(),
            tenant: "",
            session: None,
            version: None,
            patience: None,
            tier: None,
            max_cost: None,
            caller: None,
        };
        let (mut hosts, mut lengths, mut codings) = (0, 0, 0);
        for header in headers.iter() {
            let value = || std::str::from_utf8(header.value).map(str::trim).unwrap_or("");
            // Few fields are ours: look at the length before the letters.
            match header.name.len() {
                4 if is(header, "host") => hosts += 1,
                6 if is(header, "expect") => {
                    if !value().eq_ignore_ascii_case("100-continue") {
                        return Err(BadRequest::Expectation);
                    }
                    fields.wants_continue = true;
                }
                11 if is(header, traceparent::HEADER) => {
                    fields.caller = TraceParent::parse(value());
                }
                10 if is(header, TIER_HEADER) => fields.tier = Some(value()),
                10 if is(header, "connection") => fields.connection(value(), version),
                12 if is(header, SESSION_HEADER) => fields.session = Some(value()),
                13 if is(header, VERSION_HEADER) => fields.version = Some(value()),
                14 if is(header, COST_HEADER) => fields.max_cost = Some(value()),
                14 if is(header, "content-length") => {
                    lengths += 1;
                    fields.framing = Framing::Length(length(header.value)?);
                }
                17 if is(header, "transfer-encoding") => {
                    codings += 1;
                    if !value().eq_ignore_ascii_case("chunked") || version == 0 {
                        return Err(BadRequest::Malformed("its transfer coding is unknown"));
                    }
                }
                20 if is(header, TIMEOUT_HEADER) => {
                    fields.patience = value().parse().ok().map(Duration::from_millis);
                }
                31 if is(header, TENANT_HEADER) => fields.tenant = value(),
                _ => {}
            }
        }
        // RFC 9112, 3.2: HTTP/1.1 must name a host, and nobody may name two. It leaves as HTTP/1.1, whatever it came as.
        if hosts > 1 || (version == 1 && hosts == 0) {
            return Err(BadRequest::Malformed("it has not exactly one field Host"));
        }
        if lengths + codings > 1 {
            return Err(BadRequest::Malformed("the length of its body is given twice"));
        }
        if codings == 1 {
            fields.framing = Framing::Chunked;
        }
        Ok(fields)
    }

    fn connection(&mut self, value: &'a str, version: u8) {
        self.connection.push(value);
        self.keep_alive =
            !self.connection.has("close") && (version == 1 || self.connection.has("keep-alive"));
    }
}

fn is(header: &httparse::Header<'_>, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name)
}

/// Digits and nothing else: `+4` and `4, 4` are read in two ways.
fn length(value: &[u8]) -> Result<usize, BadRequest> {
    let digits = value.trim_ascii();
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
    length.filter(|_| plain).ok_or(BadRequest::Malformed("its length is no number"))
}

/// Appends a field.
pub(crate) fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests;
