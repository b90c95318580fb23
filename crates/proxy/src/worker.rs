//! One thread of a router: its runtime's sockets, its space to read to, and the requests of one client after the other.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use protocol::features::Outline;
use routing::{Arrival, Asks, RouteRequest};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::answer::Answer;
use crate::caller::Caller;
use crate::client::Client;
use crate::forward::{End, Forward};
use crate::limits::READ_BYTES;
use crate::message::Message;
use crate::models;
use crate::pool::Pool;
use crate::request::{BadRequest, Head, Read, Reader};
use crate::shadow::Original;
use crate::shared::Shared;

/// Tokens of an answer where nobody says how many, for the cost of a request.
const USUAL_TOKENS: u32 = 256;
/// Bytes of a token, about: English text.
const BYTES_PER_TOKEN: usize = 4;
/// Paths of model servers that clients may ask for; what begins otherwise is not found. Health, metrics and whatever
/// changes a server are not for them.
const FORWARDED: [&str; 4] = ["/v1/", "/generate", "/tokenize", "/detokenize"];
/// Of these, what may be served twice unless its body says otherwise. What else is posted, such as a response that is kept or a file,
/// may not.
const REPEATABLE: [&str; 9] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/score",
    "/v1/rerank",
    "/generate",
    "/generate_stream",
    "/tokenize",
    "/detokenize",
];

thread_local! {
    /// Read to and written from within one poll: one for all connections of a thread.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    /// `true` when connections without a request shall end.
    pub(crate) ending: watch::Receiver<bool>,
}

impl Worker {
    pub(crate) fn with_scratch<R>(&self, call: impl FnOnce(&mut [u8]) -> R) -> R {
        SCRATCH.with_borrow_mut(|scratch| call(scratch))
    }

    /// Serves one client until it goes, or has to.
    pub(crate) async fn serve(&self, stream: TcpStream, caller: Caller) {
        self.shared.metrics.connections.fetch_add(1, Ordering::Relaxed);
        // Without it a token may wait 40 ms for an acknowledgement.
        let _best_effort = stream.set_nodelay(true);
        self.requests(Client::new(stream), caller).await;
        self.shared.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }

    async fn requests(&self, mut client: Client, caller: Caller) {
        let mut reader = Reader::new(self.shared.limits.max_body, caller);
        if self.shared.traces.is_some() {
            reader = reader.with_traces();
        }
        loop {
            match self.read(&mut client, &mut reader).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(bad) => {
                    let answer = Answer::error(bad.status(), &bad.to_string());
                    self.shared.metrics.answered(answer.status);
                    answer.write(client.out(), false, false);
                    return self.last_words(&mut client).await;
                }
            }
            let Some(head) = reader.head() else { return };
            let end = match self.own_answer(head) {
                None => self.forward(&mut client, &reader, head).await,
                Some(answer) => {
                    let keep = head.keep_alive && !self.shared.is_draining();
                    answer.write(client.out(), keep, head.is_head);
                    if keep { End::KeepAlive } else { End::Close }
                }
            };
            match end {
                End::Abort => return,
                End::Close => return self.last_words(&mut client).await,
                End::KeepAlive => {}
            }
            reader.next();
            reader.keep(&client.take_ahead());
        }
    }

    /// Reads a request. `false`: there is none any more.
    async fn read(&self, client: &mut Client, reader: &mut Reader) -> Result<bool, BadRequest> {
        let limits = &self.shared.limits;
        let mut ending = self.ending.clone();
        let mut ended = std::pin::pin!(ending.wait_for(|ending| *ending));
        let mut due = self.shared.now() + limits.keep_alive;
        let mut read = if reader.is_idle() { Read::Partial } else { reader.resume()? };
        let mut begun = !reader.is_idle();
        if begun {
            due = self.shared.now() + limits.head_timeout;
        }
        let mut has_head = false;
        loop {
            match read {
                Read::Complete => return Ok(true),
                Read::WantsContinue if !has_head => {
                    client.out().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                Read::WantsContinue | Read::Partial => {}
            }
            if !begun && !reader.is_idle() {
                begun = true;
                due = self.shared.now() + limits.head_timeout;
            }
            if !has_head && reader.head().is_some() {
                has_head = true;
                due = self.shared.now() + limits.body_timeout;
            }
            let came = poll_fn(|cx| {
                if let Poll::Ready(Err(_)) = client.poll_flush(cx) {
                    return Poll::Ready(Came::End);
                }
                let polled = self.with_scratch(|scratch| {
                    client.poll_read(cx, scratch).map(|came| match came {
                        Ok(0) | Err(_) => Came::End,
                        Ok(count) => Came::Read(reader.feed(&mut scratch[..count])),
                    })
                });
                if polled.is_ready() {
                    return polled;
                }
                if !begun && ended.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Came::End);
                }
                if client.alarm.poll(cx, Some(due), &self.shared) {
                    return Poll::Ready(Came::Late);
                }
                Poll::Pending
            });
            read = match came.await {
                Came::Read(read) => read?,
                Came::End => return Ok(false),
                Came::Late if begun => return Err(BadRequest::Timeout),
                Came::Late => return Ok(false),
            };
        }
    }

    /// Sends what is left, and waits until the client hangs up, for a moment: a close with unread bytes would be a reset,
    /// which takes the answer with it.
    async fn last_words(&self, client: &mut Client) {
        const MOMENT: Duration = Duration::from_secs(1);
        let until = self.shared.now() + MOMENT;
        let mut shut = false;
        poll_fn(|cx| {
            match client.poll_flush(cx) {
                Poll::Ready(Ok(())) if !shut => {
                    shut = true;
                    client.shut_down();
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                _ => {}
            }
            loop {
                match self.with_scratch(|scratch| client.poll_read(cx, scratch)) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            if client.alarm.poll(cx, Some(until), &self.shared) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    async fn forward(&self, client: &mut Client, reader: &Reader, head: &Head) -> End {
        let body = reader.body();
        let outline = Outline::of(body);
        let (model, repeatable) = (outline.model(), is_repeatable(head, &outline));
        let prompt = if self.shared.reads_prompt { outline.prompt() } else { &[] };
        let features = self.shared.reads_features.then(|| outline.features());
        let features = features.map(|read| read.map_err(|error| error.to_string()));
        let asks = features.as_ref().map(|read| Asks {
            path: &head.path,
            body: read.as_ref().map_err(String::as_str),
            tier: head.tier.as_deref(),
            max_cost: head.max_cost.as_deref(),
        });
        let most = outline.max_tokens().map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let tokens = body.len().div_ceil(BYTES_PER_TOKEN);
        let cost = u32::try_from(tokens).unwrap_or(u32::MAX);
        let about = Arrival {
            route: RouteRequest {
                id: 0,
                prompt,
                session: head.session.as_deref(),
                version: head.version.as_deref(),
            },
            model: model.as_deref(),
            tenant: &head.tenant,
            cost: cost.saturating_add(most.unwrap_or(USUAL_TOKENS)),
            patience: head.patience,
            head: reader.head_as_sent(),
            repeatable,
            asks,
        };
        let message = Message::new(reader.message(), body, outline.model_at());
        let forward = Forward::new(self, client, head, message, about);
        if let Some(shadow) = &self.shared.shadow {
            let original = Original { id: forward.id(), path: &head.path, repeatable };
            shadow.mirror(original, reader.message(), head.is_head);
        }
        forward.run().await
    }

    /// The answer to what is asked of the router itself, and to what nobody may ask.
    fn own_answer(&self, head: &Head) -> Option<Answer> {
        let path = head.path.as_str();
        match path {
            "/health" | "/livez" if head.is_get || head.is_head => Some(Answer::text(200, "ok\n")),
            "/ready" | "/readyz" if head.is_get || head.is_head => Some(self.readiness()),
            "/metrics" if head.is_get || head.is_head => Some(Answer {
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                ..Answer::text(200, &self.page())
            }),
            _ if !is_forwarded(path) => Some(Answer::error(404, "There is nothing at this path.")),
            _ if head.is_get && models::is_asked(path) => self.models(path),
            _ => None,
        }
    }

    /// `None` where the endpoints know their models, and nobody here does.
    fn models(&self, path: &str) -> Option<Answer> {
        Some(models::answer(path, self.shared.models()?, self.shared.created))
    }

    fn page(&self) -> String {
        let mut page = self.shared.metrics.page(&self.shared.counts());
        self.shared.write_metrics(&mut page);
        for family in self.shared.traces.iter().flat_map(otlp::Exporter::families) {
            page.push_str(&family.to_string());
        }
        page
    }

    fn readiness(&self) -> Answer {
        if self.shared.is_draining() {
            Answer::text(503, "draining\n")
        } else if self.shared.counts().ready == 0 {
            Answer::text(503, "no endpoint is ready\n")
        } else {
            Answer::text(200, "ok\n")
        }
    }
}

enum Came {
    Read(Result<Read, BadRequest>),
    End,
    Late,
}

/// Whether clients may ask an endpoint for this path. One that another server could read as a different path is refused.
fn is_forwarded(path: &str) -> bool {
    let odd = path.contains("/.") || path.contains("//") || path.contains(['%', '\\', ';']);
    !odd && FORWARDED.iter().any(|prefix| path.starts_with(prefix))
}

/// Whether serving a request twice does nothing twice.
fn is_repeatable(head: &Head, outline: &Outline<'_>) -> bool {
    head.is_get
        || head.is_head
        || (REPEATABLE.contains(&head.path.as_str()) && !outline.may_have_side_effects())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_clients_may_ask_for_is_forwarded() {
        for path in ["/v1/completions", "/v1/models/a", "/generate_stream", "/tokenize"] {
            assert!(is_forwarded(path), "{path}");
        }
        for path in [
            "/",
            "/metrics",
            "/reset_prefix_cache",
            "/v1/../metrics",
            "/v1/%2e%2e/metrics",
            "/v1//x",
        ] {
            assert!(!is_forwarded(path), "{path}");
        }
    }
}
