//! A watch as it comes over the wire: one JSON document a line, each read within a bound.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

use crate::unmet::{Met, Unmet};

/// The longest that an expected event may take.
const EVENT_WITHIN: Duration = Duration::from_secs(20);
/// An event may not be larger than this, in bytes.
const LARGEST_EVENT: usize = 4 << 20;

/// One event of a watch.
#[derive(Debug, Clone)]
pub struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub kind: String,
    /// The object, or the `Status` of an error.
    pub object: Value,
}

impl Event {
    /// The object's name; empty for a bookmark.
    #[must_use]
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// An open watch.
pub struct Watch {
    body: Body,
    read: Vec<u8>,
}

impl Watch {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, read: Vec::new() }
    }

    /// The next event, or none when the server has ended the watch.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when nothing comes in time, or what comes is no event.
    pub async fn try_next(&mut self) -> Met<Option<Event>> {
        let line = match tokio::time::timeout(EVENT_WITHIN, self.line()).await {
            Ok(line) => line?,
            Err(_) => return Err(Unmet::fail(format!("an event within {EVENT_WITHIN:?}"), "none")),
        };
        let Some(line) = line else { return Ok(None) };
        let event: Value = serde_json::from_slice(&line).map_err(|error| {
            let seen = String::from_utf8_lossy(&line).into_owned();
            Unmet::fail("one JSON document a line", format!("{error}: {seen}"))
        })?;
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        Ok(Some(Event { kind, object: event["object"].clone() }))
    }

    /// The next event.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when nothing comes in time, or the watch has ended.
    pub async fn next(&mut self) -> Met<Event> {
        self.try_next().await?.ok_or_else(|| Unmet::fail("another event", "the watch ended"))
    }

    /// The next event, which must be of `kind` for the object `name`. Bookmarks are passed over.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when it is another one, or nothing comes in time.
    pub async fn expect(&mut self, kind: &str, name: &str) -> Met<Value> {
        loop {
            let event = self.next().await?;
            if event.kind == "BOOKMARK" && kind != "BOOKMARK" {
                continue;
            }
            if event.kind == kind && event.name() == name {
                return Ok(event.object);
            }
            let seen = format!("{} {}", event.kind, event.object);
            return Err(Unmet::fail(format!("{kind} {name}"), seen));
        }
    }

    async fn line(&mut self) -> Met<Option<Vec<u8>>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read) {
                let rest = self.read.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                line.truncate(end);
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.read.len() > LARGEST_EVENT {
                return Err(Unmet::fail("an event of bounded size", "too much without a newline"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    let data: Bytes = frame.into_data().unwrap_or_default();
                    self.read.extend_from_slice(&data);
                }
                Some(Err(error)) => {
                    return Err(Unmet::fail("a watch that ends cleanly", error.to_string()));
                }
                None if self.read.is_empty() => return Ok(None),
                None => return Ok(Some(std::mem::take(&mut self.read))),
            }
        }
    }
}
