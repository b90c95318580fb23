//! Watches: changes as they happen, as lines of JSON.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use apimachinery::Status;
use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use object_store::{Change, ListOptions, Watch};
use tokio::time::Instant;

use super::render::{Lines, event_text as text};
use super::{Request, list, select};
use crate::answer::{self, Answer};

/// How long a watch lives unless the client says otherwise. Kubernetes: 30 to 60 minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(40 * 60);
/// The longest that a client may ask for.
const MAX_TIMEOUT: u64 = 24 * 3600;
/// How often a client is told how far it has seen, if it asks for that.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(30);
/// Bytes that are joined before they are sent, if there are so many.
const CHUNK: usize = 64 * 1024;

/// GET with `watch=true`.
pub(crate) fn watch(request: Request) -> Answer {
    let selection = select::selection(&request)?;
    let start = Start::read(&request)?;
    let store = &request.server.store;
    let mut lines = VecDeque::new();
    let mut show = Lines::new(request.show());
    let since = match start {
        Start::After(revision) => {
            list::not_newer(&request, revision)?;
            Some(revision)
        }
        Start::Now => None,
        Start::WithAll { mark } => {
            let all = store.list(&request.kind, &selection, &ListOptions::default())?;
            lines.extend(all.items.iter().map(|item| show.line("ADDED", item)));
            if mark {
                lines.push_back(show.bookmark(all.revision, true));
            }
            Some(all.revision)
        }
    };
    let timeout = request.query.number("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok());
    let timeout = timeout
        .filter(|seconds| *seconds > 0)
        .map_or(DEFAULT_TIMEOUT, |seconds| Duration::from_secs(seconds.min(MAX_TIMEOUT)));
    let changes = match store.watch(&request.kind, selection, since) {
        Ok(changes) => changes,
        Err(status) => return Ok(answer::json_text(200, error(&status))),
    };
    let state = State {
        changes,
        lines,
        show,
        bookmarks: request.query.is_on("allowWatchBookmarks"),
        end: Instant::now() + timeout,
        next_bookmark: Instant::now() + BOOKMARK_INTERVAL,
        stopped: Box::pin(request.server.stopped()),
        ended: false,
    };
    let body = Body::from_stream(stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), state))
    }));
    Ok(answer::body(200, "application/json", body))
}

/// Where a watch begins.
enum Start {
    /// After a revision.
    After(u64),
    /// With what comes.
    Now,
    /// With everything there is; `mark`: and a bookmark after it.
    WithAll { mark: bool },
}

impl Start {
    fn read(request: &Request) -> Result<Self, Status> {
        let query = &request.query;
        let initial = query.get("sendInitialEvents").map(|_| query.is_on("sendInitialEvents"));
        let refuse = |why| Err(list::invalid_option("resourceVersionMatch", "Forbidden", why));
        match (initial, query.get("resourceVersionMatch")) {
            (None, Some(_)) => {
                return refuse(
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
            (Some(_), matching) if matching != Some("NotOlderThan") => {
                return refuse(
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                );
            }
            _ => {}
        }
        let version = query.get("resourceVersion").map(list::revision).transpose()?;
        let version = version.filter(|version| *version > 0);
        match (initial, version) {
            (Some(true), version) => {
                list::not_newer(request, version.unwrap_or(0))?;
                Ok(Self::WithAll { mark: query.is_on("allowWatchBookmarks") })
            }
            (Some(false), None) => Ok(Self::Now),
            (None, None) => Ok(Self::WithAll { mark: false }),
            (_, Some(version)) => Ok(Self::After(version)),
        }
    }
}

/// A watch as it goes on.
struct State {
    changes: Watch,
    lines: VecDeque<Bytes>,
    show: Lines,
    bookmarks: bool,
    end: Instant,
    next_bookmark: Instant,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
}

impl State {
    /// The next lines; none when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        if self.lines.is_empty() && !self.ended {
            let pause = if self.bookmarks { self.end.min(self.next_bookmark) } else { self.end };
            tokio::select! {
                change = self.changes.next() => self.take(change),
                () = tokio::time::sleep_until(pause) => self.mark_time(),
                () = &mut self.stopped => self.ended = true,
            }
        }
        self.joined()
    }

    fn take(&mut self, change: Result<Change, Status>) {
        let mut next = change.map(Some);
        let mut size = 0;
        while size < CHUNK {
            match next {
                Ok(Some(change)) => {
                    let line = self.show.event(&change);
                    size += line.len();
                    self.lines.push_back(line);
                }
                Ok(None) => return,
                Err(status) => {
                    self.ended = true;
                    return self.lines.push_back(error(&status));
                }
            }
            next = self.changes.try_next();
        }
        if let Ok(Some(change)) = next {
            let line = self.show.event(&change);
            self.lines.push_back(line);
        }
    }

    fn mark_time(&mut self) {
        self.ended = Instant::now() >= self.end;
        if self.bookmarks {
            self.lines.push_back(self.show.bookmark(self.changes.revision(), false));
            self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
        }
    }

    fn joined(&mut self) -> Option<Bytes> {
        let first = self.lines.pop_front()?;
        if self.lines.is_empty() {
            return Some(first);
        }
        let mut joined = BytesMut::from(first);
        while joined.len() < CHUNK
            && let Some(line) = self.lines.pop_front()
        {
            joined.put(line);
        }
        Some(joined.freeze())
    }
}

fn error(status: &Status) -> Bytes {
    text("ERROR", status.to_json().to_string().as_bytes())
}
