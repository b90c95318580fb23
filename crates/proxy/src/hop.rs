//! Fields that belong to one connection, and go no further.
//!
//! Source: RFC 9110, section 7.6.1.

use smallvec::SmallVec;

/// What the fields `Connection` of one message say.
#[derive(Debug, Default)]
pub(crate) struct Connection<'a> {
    values: SmallVec<[&'a str; 2]>,
}

// === impl Connection ===

impl<'a> Connection<'a> {
    pub(crate) fn push(&mut self, value: &'a str) {
        self.values.push(value);
    }

    /// Whether this word is among its options: a name of a field that ends here, or `close` or `keep-alive`.
    pub(crate) fn has(&self, word: &str) -> bool {
        let is = |value: &&str| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
        self.values.iter().any(is)
    }

    /// Whether a field of this name goes no further. Those that frame the body are written anew in any case.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        // A request without its host would not be the same request.
        is_ours(name) || (!name.eq_ignore_ascii_case("host") && self.has(name))
    }
}

/// Fields that belong to the connection whoever says so, or that we write ourselves.
fn is_ours(name: &str) -> bool {
    let among = |names: &[&str]| names.iter().any(|other| name.eq_ignore_ascii_case(other));
    match name.len() {
        2 => among(&["te"]),
        6 => among(&["expect"]),
        7 => among(&["trailer", "upgrade"]),
        10 => among(&["connection", "keep-alive"]),
        14 => among(&["content-length"]),
        16 => among(&["proxy-connection"]),
        17 => among(&["transfer-encoding"]),
        18 => among(&["proxy-authenticate"]),
        19 => among(&["proxy-authorization"]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_words_of_a_list_in_any_case() {
        let mut connection = Connection::default();
        for value in ["close, X-Mine", "", " ,\tAuthorization , host"] {
            connection.push(value);
        }
        assert!(connection.has("CLOSE") && !connection.has("keep-alive"));
        for name in ["x-mine", "authorization", "TE", "Keep-Alive", "Transfer-Encoding"] {
            assert!(connection.keeps(name), "{name}");
        }
        for name in ["host", "x-mine-too", "content-type"] {
            assert!(!connection.keeps(name), "{name}");
        }
    }
}
