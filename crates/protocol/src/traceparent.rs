//! W3C Trace Context: who called, in one header.
//!
//! Source: <https://www.w3.org/TR/trace-context/>, version 00, and its rule for later versions.

use std::fmt;

/// The header's name.
pub const HEADER: &str = "traceparent";

/// The caller's span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// Not zero.
    pub trace_id: u128,
    /// Not zero.
    pub span_id: u64,
    /// Whether the caller records its part.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads a header's value; `None` for anything but a well-formed one, as the standard asks.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let span_id = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = hex(parts.next()?, 2)?;
        let known = match version {
            0 => parts.next().is_none(),
            0xff => false,
            // A later version may add parts behind.
            _ => true,
        };
        (known && trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Exactly this many lower-case digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(lower))
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_standards_example_is_read() {
        let parent = TraceParent::parse(GIVEN).unwrap();
        assert_eq!(parent.span_id, 0xb7ad_6b71_6920_3331);
        assert!(parent.sampled);
        assert_eq!(parent.to_string(), GIVEN);
    }

    #[test]
    fn what_the_standard_refuses_is_refused() {
        for wrong in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
        }
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more";
        assert_eq!(TraceParent::parse(later).map(|p| p.sampled), Some(false));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            let _ = TraceParent::parse(&text);
        }

        #[test]
        fn what_is_written_is_read_back(trace_id in 1u128.., span_id in 1u64.., sampled: bool) {
            let parent = TraceParent { trace_id, span_id, sampled };
            prop_assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent));
        }

        #[test]
        fn a_changed_header_never_panics(at in 0usize..55, c in any::<char>()) {
            let mut chars: Vec<char> = GIVEN.chars().collect();
            chars[at] = c;
            let _ = TraceParent::parse(&chars.iter().collect::<String>());
        }
    }
}
