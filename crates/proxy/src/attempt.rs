//! One try of a request at an endpoint: from the connection to the last byte of its answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use routing::{Attempt, Failure};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::limits::{MAX_HELD_ANSWER, READ_BYTES};
use crate::members::Member;
use crate::pool::Pool;
use crate::response::ResponseHead;

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// A try under way.
pub(crate) struct Running {
    pub(crate) attempt: Attempt,
    endpoint: Arc<Member>,
    link: Link,
    /// What it sends, where that is not what all attempts do.
    own: Option<Vec<u8>>,
    /// A field of its own in the client's answer: name and value.
    pub(crate) field: Option<(&'static str, String)>,
    /// Whether the connection served somebody before, and may have ended since.
    reused: bool,
    /// Bytes of the request that were sent.
    sent: usize,
    /// What there is of the head; then data of the body that nobody has decided on yet.
    pub(crate) held: Vec<u8>,
    pub(crate) head: Option<ResponseHead>,
    /// When it must have got on.
    pub(crate) due: Duration,
}

enum Link {
    Connecting(Connecting),
    Open(TcpStream),
}

/// What came of a look at an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The head of the answer, and perhaps data, in `held`.
    Head,
    /// Data, decoded, at the beginning of the space that was handed over: so many bytes.
    Data(usize),
    /// It is over.
    Failed(Failure),
}

impl Running {
    pub(crate) fn start(
        attempt: Attempt,
        endpoint: Arc<Member>,
        pool: &Pool,
        now: Duration,
        connect_timeout: Duration,
    ) -> Self {
        let (link, reused) = match pool.take(endpoint.id, now) {
            Some(stream) => (Link::Open(stream), true),
            None => (connect(&endpoint), false),
        };
        let due = now + connect_timeout;
        Self {
            attempt,
            endpoint,
            link,
            own: None,
            field: None,
            reused,
            sent: 0,
            held: Vec::new(),
            head: None,
            due,
        }
    }

    /// Sends this, and has a field for the answer.
    pub(crate) fn with(
        mut self,
        own: Option<Vec<u8>>,
        field: Option<(&'static str, String)>,
    ) -> Self {
        (self.own, self.field) = (own, field);
        self
    }

    /// Whether the body is complete.
    pub(crate) fn is_done(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.body.is_done())
    }

    /// Whether the connection is there; before, `due` is when to give it up.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.link, Link::Connecting(_))
    }

    /// Keeps the connection for others, if the endpoint wants to.
    pub(crate) fn give_back(self, pool: &Pool, request: &[u8], now: Duration) {
        let request = self.own.as_deref().unwrap_or(request);
        let reusable = self.sent == request.len()
            && self.head.as_ref().is_some_and(|head| head.keep_alive && head.body.is_done());
        if let (Link::Open(stream), true) = (self.link, reusable) {
            pool.put(self.endpoint.id, stream, now);
        }
    }

    /// Gets on with it. `space` is where data is read to.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        request: &[u8],
        to_head: bool,
        space: &mut [u8],
    ) -> Poll<Step> {
        loop {
            let request = self.own.as_deref().unwrap_or(request);
            let stream = match &mut self.link {
                Link::Connecting(connecting) => match connecting.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => {
                        self.link = Link::Open(stream);
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Step::Failed(Failure::Connect)),
                    Poll::Pending => return Poll::Pending,
                },
                Link::Open(stream) => stream,
            };
            // An endpoint may answer, and hang up, before it has read all: then what it says counts.
            while self.sent < request.len() {
                match Pin::new(&mut *stream).poll_write(cx, &request[self.sent..]) {
                    Poll::Ready(Ok(count)) if count > 0 => self.sent += count,
                    Poll::Ready(_) | Poll::Pending => break,
                }
            }
            let mut buffer = ReadBuf::new(space);
            let count = match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => buffer.filled().len(),
                Poll::Ready(Err(_)) => 0,
                Poll::Pending => return Poll::Pending,
            };
            if count == 0 && self.reused && self.head.is_none() && self.held.is_empty() {
                // It ended while it waited for us: that says nothing about the endpoint.
                self.reused = false;
                self.sent = 0;
                self.link = connect(&self.endpoint);
                continue;
            }
            return match self.read(&mut space[..count], to_head) {
                Ok(Some(step)) => Poll::Ready(step),
                Ok(None) => continue,
                Err(failure) => Poll::Ready(Step::Failed(failure)),
            };
        }
    }

    /// Makes sense of what came; nothing is the end of the connection.
    fn read(&mut self, bytes: &mut [u8], to_head: bool) -> Result<Option<Step>, Failure> {
        let Some(head) = &mut self.head else {
            return self.read_head(bytes, to_head);
        };
        if bytes.is_empty() {
            if head.body == crate::response::Body::Close {
                head.body = crate::response::Body::Length(0);
                head.keep_alive = false;
                return Ok(Some(Step::Data(0)));
            }
            return Err(Failure::Broken);
        }
        let data = head.body.decode(bytes).map_err(|_| Failure::Malformed)?;
        // Framing alone is no news.
        Ok((data > 0 || head.body.is_done()).then_some(Step::Data(data)))
    }

    fn read_head(&mut self, bytes: &mut [u8], to_head: bool) -> Result<Option<Step>, Failure> {
        if bytes.is_empty() {
            return Err(Failure::Broken);
        }
        let malformed = |_| Failure::Malformed;
        let (head, mut rest) = if self.held.is_empty() {
            let Some((head, length)) = ResponseHead::read(bytes, to_head).map_err(malformed)?
            else {
                self.held.extend_from_slice(bytes);
                return Ok(None);
            };
            (head, bytes[length..].to_vec())
        } else {
            self.held.extend_from_slice(bytes);
            let Some((head, length)) =
                ResponseHead::read(&self.held, to_head).map_err(malformed)?
            else {
                return Ok(None);
            };
            (head, self.held.split_off(length))
        };
        let head = self.head.insert(head);
        let data = head.body.decode(&mut rest).map_err(malformed)?;
        rest.truncate(data);
        self.held = rest;
        Ok(Some(Step::Head))
    }

    /// Keeps data until somebody decides; whether more may be read.
    pub(crate) fn hold(&mut self, data: &[u8]) {
        self.held.extend_from_slice(data);
    }

    /// Whether as much is held as may be.
    pub(crate) fn is_full(&self) -> bool {
        self.head.is_some() && self.held.len() + READ_BYTES > MAX_HELD_ANSWER + READ_BYTES
    }
}

fn connect(endpoint: &Member) -> Link {
    let address = endpoint.address;
    Link::Connecting(Box::pin(async move {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }))
}
