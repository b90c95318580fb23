//! Who may ask at all: the token's bearer, from a client that is no page of some other site.

use apimachinery::{Reason, Status};
use http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use subtle::ConstantTimeEq;

/// Names under which the server may be addressed. A page that rebinds its own name to 127.0.0.1 is not among them.
const HOSTS: [&str; 8] = [
    "localhost",
    "127.0.0.1",
    "[::1]",
    "::1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Checks who asks.
pub(crate) struct Guard {
    token: Vec<u8>,
}

impl Guard {
    pub(crate) fn new(token: &str) -> Self {
        Self { token: token.as_bytes().to_vec() }
    }

    /// Whether a request may go on. `authority` is the one of its URI (HTTP/2 has no `Host`).
    ///
    /// # Errors
    /// 401 without the token, 403 for a foreign host or origin.
    pub(crate) fn check(&self, headers: &HeaderMap, authority: Option<&str>) -> Result<(), Status> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).or(authority);
        if !host.is_some_and(is_ours) {
            return Err(forbidden("the Host of the request is not this server"));
        }
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().unwrap_or("");
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            if !is_ours(host) {
                return Err(forbidden("the Origin of the request is another site"));
            }
        }
        let bearer =
            headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
        let known = bearer.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(token.ct_eq(&self.token))
        });
        if known {
            return Ok(());
        }
        Err(Status::new(401, Reason::Unauthorized, "Unauthorized"))
    }
}

fn is_ours(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() =>
        {
            host
        }
        _ => authority,
    };
    HOSTS.iter().any(|ours| ours.eq_ignore_ascii_case(host)) || is_loopback(host)
}

/// Any address of 127.0.0.0/8: the service `kubernetes` has one of its own.
fn is_loopback(host: &str) -> bool {
    host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn forbidden(why: &str) -> Status {
    Status::new(403, Reason::Forbidden, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_the_bearer_of_the_token_may_ask() {
        let guard = Guard::new("secret");
        let code = |pairs: &[(&'static str, &str)]| {
            guard.check(&headers(pairs), Some("localhost:1")).map_err(|s| s.code)
        };
        assert_eq!(code(&[("authorization", "Bearer secret")]), Ok(()));
        assert_eq!(code(&[("authorization", "Bearer secre")]), Err(401));
        assert_eq!(code(&[("authorization", "Basic secret")]), Err(401));
        assert_eq!(code(&[("authorization", "é")]), Err(401));
        assert_eq!(code(&[]), Err(401));
    }

    #[test]
    fn a_page_of_another_site_may_not_ask() {
        let guard = Guard::new("secret");
        let token = ("authorization", "Bearer secret");
        let code = |pairs: &[(&'static str, &str)]| {
            guard.check(&headers(pairs), None).map_err(|status| status.code)
        };
        assert_eq!(code(&[token, ("host", "127.0.0.1:6443")]), Ok(()));
        assert_eq!(code(&[token, ("host", "127.3.0.1:443")]), Ok(()));
        assert_eq!(code(&[token, ("host", "[::1]:6443")]), Ok(()));
        assert_eq!(code(&[token, ("host", "evil.example:6443")]), Err(403));
        assert_eq!(code(&[token, ("host", "127.0.0.1.evil.example")]), Err(403));
        assert_eq!(code(&[token]), Err(403));
        let origin =
            |origin: &'static str| code(&[token, ("host", "localhost"), ("origin", origin)]);
        assert_eq!(origin("https://localhost:3000"), Ok(()));
        assert_eq!(origin("https://evil.example"), Err(403));
        assert_eq!(origin("null"), Err(403));
    }
}
