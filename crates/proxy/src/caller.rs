//! Who sent a request, as an endpoint hears of it: `X-Forwarded-For`, `X-Forwarded-Proto`, `Forwarded`, `Via`.
//!
//! What a client says of its own way is a claim. Only a proxy that is trusted may say who came before it; of anybody else
//! nothing is believed, and what it claims is replaced by what the socket says. So an endpoint that limits or logs by address
//! cannot be told a false one.
//!
//! Sources: RFC 9110, section 7.6.3 (`Via`); RFC 7239 (`Forwarded`); nginx, `real_ip_header` and `$proxy_add_x_forwarded_for`;
//! Envoy, `use_remote_address`.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::request::push_field;

/// What the router calls itself in `Via`.
const PSEUDONYM: &str = "llm-router";
const FOR: &str = "x-forwarded-for";
const PROTO: &str = "x-forwarded-proto";
const FORWARDED: &str = "forwarded";
/// What all the fields of the custom begin with.
const PREFIX: &str = "x-forwarded-";
/// The router speaks no TLS: who does so before it says `https` itself, if it is trusted.
const SCHEME: &str = "http";

/// Addresses of proxies that may say who came before them: a network such as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedProxies(ipnet::IpNet);

/// It is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a network such as 10.0.0.0/8 nor an address")]
pub struct NoNetwork(String);

impl FromStr for TrustedProxies {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let address = || text.parse::<IpAddr>().ok().map(ipnet::IpNet::from);
        let network = text.parse().ok().or_else(address);
        network.map(Self).ok_or_else(|| NoNetwork(text.to_owned()))
    }
}

/// Whoever is at the other end of a client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    trusted: bool,
    /// Its address, as `X-Forwarded-For` has it.
    address: String,
    /// The same, as an element of `Forwarded`.
    element: String,
}

// === impl Caller ===

impl Caller {
    pub(crate) fn new(peer: SocketAddr, trusted: &[TrustedProxies]) -> Self {
        // A listener of both families sees IPv4 inside IPv6.
        let ip = peer.ip().to_canonical();
        let address = ip.to_string();
        let mut element = String::new();
        let _never_fails = match ip {
            IpAddr::V4(_) => write!(element, "for={address};proto={SCHEME}"),
            IpAddr::V6(_) => write!(element, "for=\"[{address}]\";proto={SCHEME}"),
        };
        let trusted = trusted.iter().any(|TrustedProxies(network)| network.contains(&ip));
        Self { trusted, address, element }
    }

    /// Whether a field of the client's is replaced by what [`Caller::write`] says.
    pub(crate) fn replaces(&self, name: &str) -> bool {
        if self.trusted {
            return is(name, FOR) || is(name, FORWARDED);
        }
        let begins = |prefix: &str| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        match name.len() {
            9 => is(name, FORWARDED) || is(name, "x-real-ip"),
            13.. => begins(PREFIX),
            _ => false,
        }
    }

    /// Appends what the endpoint hears of the way so far. `came` are the client's fields that go on, `minor` is the version of
    /// HTTP/1 that it speaks.
    pub(crate) fn write<'a>(
        &self,
        message: &mut Vec<u8>,
        came: impl Iterator<Item = &'a httparse::Header<'a>> + Clone,
        minor: u8,
    ) {
        let of = |name: &'static str| came.clone().filter(move |field| is(field.name, name));
        // One line each: some readers only take the last one of several.
        if self.trusted {
            extend(message, FOR, of(FOR), &self.address);
            if of(FORWARDED).next().is_some() {
                extend(message, FORWARDED, of(FORWARDED), &self.element);
            }
        } else {
            push_field(message, FOR, self.address.as_bytes());
        }
        if !self.trusted || of(PROTO).next().is_none() {
            push_field(message, PROTO, SCHEME.as_bytes());
        }
        let version = if minor == 0 { "via: 1.0 " } else { "via: 1.1 " };
        for part in [version, PSEUDONYM, "\r\n"] {
            message.extend_from_slice(part.as_bytes());
        }
    }
}

fn is(name: &str, other: &str) -> bool {
    name.len() == other.len() && name.eq_ignore_ascii_case(other)
}

/// Appends all values of a field in one line, and ours behind them.
fn extend<'a>(
    message: &mut Vec<u8>,
    name: &str,
    came: impl Iterator<Item = &'a httparse::Header<'a>>,
    own: &str,
) {
    message.extend_from_slice(name.as_bytes());
    message.extend_from_slice(b": ");
    for field in came.filter(|field| !field.value.trim_ascii().is_empty()) {
        message.extend_from_slice(field.value.trim_ascii());
        message.extend_from_slice(b", ");
    }
    message.extend_from_slice(own.as_bytes());
    message.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(peer: &str, trusted: &[&str]) -> Caller {
        let trusted: Vec<_> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        Caller::new(SocketAddr::new(peer.parse().unwrap(), 5), &trusted)
    }

    /// What an endpoint hears when these fields come.
    fn told(caller: &Caller, fields: &[(&str, &str)]) -> String {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| httparse::Header { name, value: value.as_bytes() })
            .collect();
        let mut message = Vec::new();
        for field in fields.iter().filter(|field| !caller.replaces(field.name)) {
            push_field(&mut message, field.name, field.value);
        }
        caller.write(&mut message, fields.iter(), 1);
        String::from_utf8(message).unwrap()
    }

    const CLAIMS: [(&str, &str); 6] = [
        ("X-Forwarded-For", "6.6.6.6"),
        ("x-forwarded-FOR", "7.7.7.7, 8.8.8.8"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "elsewhere"),
        ("Forwarded", "for=6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
    ];

    #[test]
    fn nothing_that_a_stranger_says_of_its_way_is_believed() {
        let own = "x-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: http\r\nvia: 1.1 llm-router\r\n";
        assert_eq!(told(&caller("9.9.9.9", &[]), &CLAIMS), own);
        assert_eq!(told(&caller("9.9.9.9", &["10.0.0.0/8", "9.9.9.8"]), &CLAIMS), own);
    }

    #[test]
    fn a_trusted_proxy_is_put_behind_those_that_it_names() {
        assert_eq!(
            told(&caller("10.1.2.3", &["10.0.0.0/8"]), &CLAIMS),
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: elsewhere\r\nX-Real-IP: 6.6.6.6\r\n\
             x-forwarded-for: 6.6.6.6, 7.7.7.7, 8.8.8.8, 10.1.2.3\r\n\
             forwarded: for=6.6.6.6, for=10.1.2.3;proto=http\r\nvia: 1.1 llm-router\r\n"
        );
        assert_eq!(
            told(&caller("10.1.2.3", &["10.1.2.3"]), &[("X-Forwarded-For", " ")]),
            "x-forwarded-for: 10.1.2.3\r\nx-forwarded-proto: http\r\nvia: 1.1 llm-router\r\n"
        );
    }

    #[test]
    fn addresses_of_both_families_are_written_as_each_field_wants_them() {
        let fields = [("Forwarded", "for=_hidden")];
        let six = told(&caller("fd00::7", &["fd00::/8"]), &fields);
        assert!(six.contains("x-forwarded-for: fd00::7\r\n"), "{six}");
        assert!(six.contains("forwarded: for=_hidden, for=\"[fd00::7]\";proto=http\r\n"), "{six}");
        let four = told(&caller("::ffff:10.0.0.1", &["10.0.0.0/8"]), &fields);
        assert!(four.contains("for=10.0.0.1"), "trusted as the address that it is: {four}");
        for text in ["", "10.0.0.0/33", "all", "10.0.0/8"] {
            assert!(text.parse::<TrustedProxies>().is_err(), "{text}");
        }
    }
}
