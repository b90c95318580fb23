//! A `kube` client that remembers what it was asked, and answers with status, headers and body as they came.
//!
//! `kube::Api` hides what a behaviour is about: the status of a refusal, a warning header, a content type. So requests
//! go through `kube::Client::send`, and a behaviour that needs `kube::Api` takes [`Wire::client`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, Request};
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use crate::unmet::{Met, Unmet, excerpt};

/// The longest that one answer may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Exchanges that are remembered for a report.
const REMEMBERED: usize = 4;

/// What a reader needs to repeat a request by hand.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Exchange {
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The HTTP status; none when no answer came.
    pub status: Option<u16>,
}

/// A client with a memory. Clones share both.
#[derive(Clone)]
pub struct Wire {
    base: Client,
    client: Client,
    log: Arc<Mutex<Vec<Exchange>>>,
}

impl Wire {
    /// Wraps `base`, whose connections are shared with all others that wrap it.
    #[must_use]
    pub fn over(base: &Client) -> Self {
        let log = Arc::<Mutex<Vec<Exchange>>>::default();
        let (inner, memory) = (base.clone(), log.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (inner, memory) = (inner.clone(), memory.clone());
            async move {
                let method = request.method().to_string();
                let target = request.uri().to_string();
                let answer = inner.send(request).await;
                let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
                let mut log = memory.lock().unwrap_or_else(PoisonError::into_inner);
                if log.len() == REMEMBERED {
                    log.remove(0);
                }
                log.push(Exchange { method, target, status });
                drop(log);
                answer
            }
        });
        Self { base: base.clone(), client: Client::new(service, base.default_namespace()), log }
    }

    /// Another client with a memory of its own, over the same connections.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self::over(&self.base)
    }

    /// The client itself, for `kube::Api`.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The last exchanges, oldest first.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A request to `target`, a path with its query.
    pub fn call(&self, method: Method, target: impl Into<String>) -> Call<'_> {
        Call {
            wire: self,
            method,
            target: target.into(),
            headers: vec![("accept", "application/json".to_owned())],
            body: Vec::new(),
        }
    }
}

/// A request that is being written.
#[must_use]
pub struct Call<'a> {
    wire: &'a Wire,
    method: Method,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Call<'_> {
    /// Sets a header, in place of one of the same name.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.into()));
        self
    }

    /// What kind of answer is wanted.
    pub fn accept(self, media_type: &str) -> Self {
        self.header("accept", media_type)
    }

    /// A body of any media type.
    pub fn body(self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut call = self.header("content-type", media_type);
        call.body = body.into();
        call
    }

    /// A JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sends the request and reads the whole answer, within [`ANSWER_WITHIN`].
    ///
    /// # Errors
    /// [`Unmet::Fail`] when no answer comes. A refusal is an answer.
    pub async fn send(self) -> Met<Answer> {
        let asked = format!("{} {}", self.method, self.target);
        let answered = tokio::time::timeout(ANSWER_WITHIN, self.exchange()).await;
        answered.unwrap_or_else(|_| {
            Err(Unmet::fail(format!("an answer to {asked} within {ANSWER_WITHIN:?}"), "none"))
        })
    }

    async fn exchange(self) -> Met<Answer> {
        let asked = format!("{} {}", self.method, self.target);
        let response = self.open().await?;
        let (head, body) = response.into_parts();
        let body = body.collect_bytes().await?.to_vec();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { asked, status: head.status.as_u16(), headers: head.headers, json, body })
    }

    /// Sends the request and returns the answer with its body unread.
    ///
    /// # Errors
    /// [`Unmet::Fail`] when no answer comes.
    pub async fn open(self) -> Met<http::Response<Body>> {
        let mut request = Request::builder().method(self.method).uri(self.target);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        Ok(self.wire.client.send(request.body(Body::from(self.body))?).await?)
    }
}

/// An answer of the API server.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Method and target of the request.
    pub asked: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON; null where it is none.
    pub json: Value,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with the refusal.
    pub fn ok(self) -> Met<Value> {
        if (200..300).contains(&self.status) {
            Ok(self.json)
        } else {
            Err(Unmet::fail(format!("{} to be accepted", self.asked), self.seen()))
        }
    }

    /// Holds that the answer is a refusal: a `Status` with this code and reason.
    ///
    /// # Errors
    /// [`Unmet::Fail`] with what came.
    pub fn refused(self, code: u16, reason: &str) -> Met<Value> {
        let is_status = self.json["kind"] == "Status" && self.json["status"] == "Failure";
        let same_code = self.status == code && self.json["code"] == code;
        if is_status && same_code && self.json["reason"].as_str().unwrap_or_default() == reason {
            Ok(self.json)
        } else {
            let expected = format!("{} to be refused with {code} {reason}", self.asked);
            Err(Unmet::fail(expected, self.seen()))
        }
    }

    /// The text of the `Warning` headers.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let all = self.headers.get_all("warning").iter();
        all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    /// The answer for a report: status and body, cut.
    #[must_use]
    pub fn seen(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let said = self.json["message"].as_str().filter(|_| self.status >= 400);
        format!("{} {}", self.status, excerpt(said.unwrap_or(&body)))
    }
}
