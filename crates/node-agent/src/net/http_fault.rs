//! Faults of HTTP requests and answers: the relay of a port that speaks HTTP itself for as long as a rule asks for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};

use super::faults::{HttpChange, HttpRule, HttpTarget, Partition, Rules};
use super::relay::{Ends, reset};
use crate::images::fits;

/// Largest body that is merged with a patch, in bytes; a larger one passes unchanged.
const MERGED: usize = 8 << 20;

type Body = BoxBody<Bytes, hyper::Error>;

/// Why an exchange ends without an answer.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("a rule cut the connection")]
    ByRule,
    #[error(transparent)]
    Served(#[from] hyper::Error),
    #[error(transparent)]
    NotServed(#[from] std::io::Error),
    #[error("a rule makes no valid message: {0}")]
    Rule(#[from] http::Error),
}

/// Serves one connection, request by request, by the rules of each moment.
pub(super) async fn serve(
    ends: Ends,
    client: TcpStream,
    to: SocketAddr,
    mut follow: watch::Receiver<Arc<Rules>>,
) {
    let exchange = Arc::new(Exchange { ends, to, upstream: Mutex::new(None) });
    let service = {
        let exchange = Arc::clone(&exchange);
        hyper::service::service_fn(move |request| {
            let exchange = Arc::clone(&exchange);
            async move { exchange.answer(request).await }
        })
    };
    // Kept to cut the connection: what hyper closes, it closes politely.
    let Ok(std) = client.into_std() else { return };
    let Ok(handle) = std.try_clone().and_then(TcpStream::from_std) else { return };
    let Ok(client) = TcpStream::from_std(std) else { return };
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(client), service);
    let partitioned = async {
        while follow.changed().await.is_ok() {
            let rules = Arc::clone(&follow.borrow_and_update());
            let source = exchange.ends.client(&rules);
            let server = Some(&exchange.ends.server);
            let links = [rules.link(source.as_ref(), server), rules.link(server, source.as_ref())];
            if links.iter().any(|link| link.partition == Some(Partition::Reset)) {
                return;
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        served = connection => if served.is_err() { reset(&handle) },
        () = partitioned => reset(&handle),
    }
}

/// One connection's two sides.
struct Exchange {
    ends: Ends,
    to: SocketAddr,
    upstream: Mutex<Option<SendRequest<Body>>>,
}

impl Exchange {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let rules = self.ends.net.faults().rules();
        let source = self.ends.client(&rules);
        let server = Some(&self.ends.server);
        let mean = |from, to| -> Duration {
            rules.link(from, to).delays.iter().map(|delay| delay.latency).sum()
        };
        let (there, back) = (mean(source.as_ref(), server), mean(server, source.as_ref()));
        tokio::time::sleep(there).await;
        let matching: Vec<&HttpRule> = rules
            .http_for(&self.ends.server, self.to.port())
            .filter(|rule| is_meant(rule, &request))
            .collect();
        let of = |target: HttpTarget| matching.iter().filter(move |rule| rule.target == target);
        let mut request = request.map(BodyExt::boxed);
        for rule in of(HttpTarget::Request) {
            self.disturb(rule).await?;
            request = change_request(request, rule).await?;
        }
        let response = self.forward(request).await?;
        let mut response = response.map(BodyExt::boxed);
        for rule in of(HttpTarget::Response) {
            if rule.code.is_some_and(|code| code != response.status().as_u16()) {
                continue;
            }
            self.disturb(rule).await?;
            response = change_response(response, rule).await?;
        }
        tokio::time::sleep(back).await;
        Ok(response)
    }

    async fn disturb(&self, rule: &HttpRule) -> Result<(), Cut> {
        if let Some(delay) = rule.delay {
            tokio::time::sleep(delay).await;
        }
        if rule.abort { Err(Cut::ByRule) } else { Ok(()) }
    }

    async fn forward(&self, request: Request<Body>) -> Result<Response<Incoming>, Cut> {
        let mut upstream = self.upstream.lock().await;
        if upstream.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(self.to).await?;
            let _slower_without = stream.set_nodelay(true);
            let (sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            *upstream = Some(sender);
        }
        match upstream.as_mut() {
            Some(sender) => {
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
            None => Err(Cut::ByRule),
        }
    }
}

/// Whether a rule is about a request.
fn is_meant<B>(rule: &HttpRule, request: &Request<B>) -> bool {
    let path = request.uri().path();
    rule.path.as_deref().is_none_or(|pattern| fits(pattern, path))
        && rule.method.as_deref().is_none_or(|method| request.method().as_str() == method)
        && rule.headers.iter().all(|(name, value)| {
            request.headers().get(name).is_some_and(|there| there.as_bytes() == value.as_bytes())
        })
}

async fn change_request(request: Request<Body>, rule: &HttpRule) -> Result<Request<Body>, Cut> {
    let (mut parts, mut body) = request.into_parts();
    if let Some(method) = &rule.replace.method {
        parts.method = Method::from_bytes(method.as_bytes()).map_err(http::Error::from)?;
    }
    let query = parts.uri.query().unwrap_or("").to_owned();
    let query = queries(query, &rule.replace.queries, &rule.patch.queries);
    let path = rule.replace.path.as_deref().unwrap_or(parts.uri.path());
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    parts.uri = Uri::try_from(target).map_err(http::Error::from)?;
    change_headers(&mut parts.headers, rule)?;
    body = change_body(&mut parts.headers, body, rule).await?;
    Ok(Request::from_parts(parts, body))
}

async fn change_response(response: Response<Body>, rule: &HttpRule) -> Result<Response<Body>, Cut> {
    let (mut parts, mut body) = response.into_parts();
    if let Some(code) = rule.replace.code {
        parts.status = StatusCode::from_u16(code).map_err(http::Error::from)?;
    }
    change_headers(&mut parts.headers, rule)?;
    body = change_body(&mut parts.headers, body, rule).await?;
    Ok(Response::from_parts(parts, body))
}

/// A query with parameters replaced and added.
fn queries(old: String, replaced: &[(String, String)], added: &[(String, String)]) -> String {
    let name = |pair: &str| pair.split('=').next().unwrap_or("").to_owned();
    let mut all: Vec<String> =
        old.split('&').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    all.retain(|pair| !replaced.iter().any(|(key, _)| *key == name(pair)));
    all.extend(replaced.iter().chain(added).map(|(key, value)| format!("{key}={value}")));
    all.join("&")
}

fn change_headers(headers: &mut http::HeaderMap, rule: &HttpRule) -> Result<(), Cut> {
    let parse = |name: &str, value: &str| -> Result<(HeaderName, HeaderValue), http::Error> {
        Ok((HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?))
    };
    for (name, value) in &rule.replace.headers {
        let (name, value) = parse(name, value)?;
        headers.insert(name, value);
    }
    for (name, value) in &rule.patch.headers {
        let (name, value) = parse(name, value)?;
        headers.append(name, value);
    }
    Ok(())
}

async fn change_body(
    headers: &mut http::HeaderMap,
    body: Body,
    rule: &HttpRule,
) -> Result<Body, Cut> {
    let HttpChange { body: replaced, .. } = &rule.replace;
    let new = match (replaced, &rule.patch.body) {
        (None, None) => return Ok(body),
        (Some(replaced), None) => replaced.clone(),
        (replaced, Some(patch)) => {
            let old = match replaced {
                Some(replaced) => replaced.clone(),
                None => body.collect().await?.to_bytes().to_vec(),
            };
            merged(old, patch)
        }
    };
    headers.remove(header::TRANSFER_ENCODING);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(new.len()));
    Ok(Full::new(Bytes::from(new)).map_err(|never| match never {}).boxed())
}

/// A JSON body with another merged into it (RFC 7396); what is no JSON stays.
fn merged(old: Vec<u8>, patch: &[u8]) -> Vec<u8> {
    if old.len() > MERGED {
        return old;
    }
    match (serde_json::from_slice::<Value>(&old), serde_json::from_slice::<Value>(patch)) {
        (Ok(mut value), Ok(patch)) => {
            merge(&mut value, &patch);
            serde_json::to_vec(&value).unwrap_or(old)
        }
        _ => old,
    }
}

fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    let Value::Object(map) = value else { return };
    for (key, change) in patch {
        if change.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_patch_is_merged_into_json_alone() {
        let patch = br#"{"a": {"b": null, "c": 2}}"#;
        assert_eq!(merged(br#"{"a":{"b":1}}"#.to_vec(), patch), br#"{"a":{"c":2}}"#);
        assert_eq!(merged(b"text".to_vec(), patch), b"text");
    }

    #[test]
    fn parameters_are_replaced_by_name() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let all = queries("a=1&b=2".into(), &[pair("a", "3")], &[pair("b", "4")]);
        assert_eq!(all, "b=2&a=3&b=4");
    }

    proptest! {
        #[test]
        fn no_body_makes_the_merge_panic(old in prop::collection::vec(any::<u8>(), 0..40), patch in prop::collection::vec(any::<u8>(), 0..40)) {
            let _any_answer = merged(old, &patch);
        }
    }
}
