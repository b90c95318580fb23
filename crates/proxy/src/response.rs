//! An endpoint's answer: its head read, its body unframed, and the head that the client gets.
//!
//! Source: RFC 9112, section 6.3; RFC 9110, section 15.2.

use std::time::Duration;

use memchr::memmem;

use crate::chunked::Chunks;
use crate::hop::Connection;
use crate::limits::{MAX_HEADERS, MAX_RESPONSE_HEAD};
use crate::request::push_field;

/// What an endpoint sent is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint's answer is malformed")]
pub(crate) struct BadResponse;

/// What has to be known of an answer besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    /// How its body ends.
    pub(crate) body: Body,
    /// Whether it is a stream of events.
    pub(crate) is_stream: bool,
    /// Whether the endpoint takes another request on this connection.
    pub(crate) keep_alive: bool,
    pub(crate) retry_after: Option<Duration>,
    /// Status line and fields as the client gets them, without what frames the body.
    pub(crate) forwarded: Vec<u8>,
}

/// How a body ends, and how much of it is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked(Chunks),
    /// With the connection.
    Close,
}

impl Body {
    /// Whether nothing more can come.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_done(),
            Self::Close => false,
        }
    }

    /// Moves the data among `bytes` to their front, and returns how many there are. Bytes behind the end of the body are
    /// an error: nobody asked for them.
    pub(crate) fn decode(&mut self, bytes: &mut [u8]) -> Result<usize, BadResponse> {
        let (data, read) = match self {
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= count as u64;
                (count, count)
            }
            Self::Chunked(chunks) => chunks.decode(bytes).map_err(|_| BadResponse)?,
            Self::Close => (bytes.len(), bytes.len()),
        };
        if read < bytes.len() { Err(BadResponse) } else { Ok(data) }
    }
}

impl ResponseHead {
    /// Reads a head at the start of `bytes`, if it is complete; returns it with its length. Interim answers are read over.
    pub(crate) fn read(bytes: &[u8], to_head: bool) -> Result<Option<(Self, usize)>, BadResponse> {
        let mut at = 0;
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let rest = bytes.get(at..).unwrap_or_default();
            let length = match response.parse(rest) {
                Ok(httparse::Status::Complete(length)) if at + length <= MAX_RESPONSE_HEAD => {
                    length
                }
                Ok(httparse::Status::Partial) if bytes.len() < MAX_RESPONSE_HEAD => {
                    return Ok(None);
                }
                _ => return Err(BadResponse),
            };
            at += length;
            match response.code {
                // Nobody asked for another protocol.
                Some(101) | None => return Err(BadResponse),
                Some(100..=199) => {}
                Some(_) => return Ok(Some((Self::of(&response, to_head)?, at))),
            }
        }
    }

    fn of(response: &httparse::Response<'_, '_>, to_head: bool) -> Result<Self, BadResponse> {
        let status = response.code.unwrap_or(0);
        let version = response.version.unwrap_or(0);
        if !(200..=599).contains(&status) {
            return Err(BadResponse);
        }
        let mut head = Self {
            status,
            body: Body::Close,
            is_stream: false,
            keep_alive: false,
            retry_after: None,
            forwarded: Vec::with_capacity(256),
        };
        let out = &mut head.forwarded;
        let digits = [
            b'0' + (status / 100) as u8,
            b'0' + (status / 10 % 10) as u8,
            b'0' + (status % 10) as u8,
        ];
        for part in
            [b"HTTP/1.1 ", &digits[..], b" ", response.reason.unwrap_or("").as_bytes(), b"\r\n"]
        {
            out.extend_from_slice(part);
        }
        let mut framing = Framing::default();
        let mut connection = Connection::default();
        for header in response.headers.iter() {
            if header.name.len() == 10 && header.name.eq_ignore_ascii_case("connection") {
                connection.push(std::str::from_utf8(header.value).unwrap_or(""));
            }
        }
        head.keep_alive =
            !connection.has("close") && (version == 1 || connection.has("keep-alive"));
        for header in response.headers.iter() {
            let value = std::str::from_utf8(header.value).map(str::trim).unwrap_or("");
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                11 if is("retry-after") => {
                    head.retry_after = value.parse().ok().map(Duration::from_secs);
                }
                12 if is("content-type") => head.is_stream = value.starts_with("text/event-stream"),
                14 if is("content-length") => framing.length(value)?,
                17 if is("transfer-encoding") => framing.coding(value)?,
                _ => {}
            }
            if !connection.keeps(header.name) {
                push_field(out, header.name, header.value);
            }
        }
        let Framing { length, chunked } = framing;
        if chunked && length.is_some() {
            return Err(BadResponse);
        }
        if to_head && let Some(length) = length {
            push_field(out, "content-length", length.to_string().as_bytes());
        }
        head.body = match length {
            _ if to_head || matches!(status, 204 | 304) => Body::Length(0),
            Some(length) => Body::Length(length),
            None if chunked => Body::Chunked(Chunks::default()),
            None => Body::Close,
        };
        Ok(head)
    }
}

/// What the fields say of where the body ends.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    fn length(&mut self, value: &str) -> Result<(), BadResponse> {
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = value.parse::<u64>().ok().filter(|_| digits).ok_or(BadResponse)?;
        match self.length.replace(parsed) {
            Some(before) if before != parsed => Err(BadResponse),
            _ => Ok(()),
        }
    }

    fn coding(&mut self, value: &str) -> Result<(), BadResponse> {
        if std::mem::replace(&mut self.chunked, true) || !value.eq_ignore_ascii_case("chunked") {
            return Err(BadResponse);
        }
        Ok(())
    }
}

/// The end of the last complete event in `data`; 0 where there is none.
pub(crate) fn end_of_events(data: &[u8]) -> usize {
    if data.ends_with(b"\n\n") {
        return data.len();
    }
    let after = |at: Option<usize>, length| at.map_or(0, |at| at + length);
    after(memmem::rfind(data, b"\n\n"), 2).max(after(memmem::rfind(data, b"\n\r\n"), 3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Result<Option<(ResponseHead, usize)>, BadResponse> {
        ResponseHead::read(text.as_bytes(), false)
    }

    #[test]
    fn fields_of_the_connection_stay_and_the_rest_goes_on() {
        let text = "HTTP/1.1 429 Too Many Requests\r\nserver: uvicorn\r\nX-Hop: a\r\nConnection: x-hop, close\r\n\
                    Retry-After: 3\r\ncontent-length: 2\r\n\r\n{}";
        let (head, length) = head(text).unwrap().unwrap();
        assert_eq!(&text[length..], "{}");
        assert_eq!((head.status, head.keep_alive, head.body), (429, false, Body::Length(2)));
        assert_eq!(head.retry_after, Some(Duration::from_secs(3)));
        let forwarded = String::from_utf8(head.forwarded).unwrap();
        assert_eq!(
            forwarded,
            "HTTP/1.1 429 Too Many Requests\r\nserver: uvicorn\r\nRetry-After: 3\r\n"
        );
    }

    #[test]
    fn interim_answers_are_read_over() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        let (head, length) = head(text).unwrap().unwrap();
        assert_eq!((head.status, head.body, length), (204, Body::Length(0), text.len()));
    }

    #[test]
    fn answers_that_could_be_read_in_two_ways_are_refused() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "X: a\r\n b\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            assert_eq!(head(&text), Err(BadResponse), "{fields}");
        }
        assert_eq!(head("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Err(BadResponse));
        assert_eq!(head("HTTP/1.1 999 ?\r\n\r\n"), Err(BadResponse));
        assert_eq!(Body::Length(1).decode(&mut b"ab".to_vec()), Err(BadResponse));
    }

    #[test]
    fn events_end_with_an_empty_line() {
        assert_eq!(end_of_events(b"data: a\n\n"), 9);
        assert_eq!(end_of_events(b"data: a\n\ndata: b\n"), 9);
        assert_eq!(end_of_events(b"data: a\r\n\r\ndata: b\r\n"), 11);
        assert_eq!(end_of_events(b"data: a\n"), 0);
        assert_eq!(end_of_events(b""), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), to_head: bool) {
            let _ = ResponseHead::read(&bytes, to_head);
            let _ = ResponseHead::read(&[b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat(), to_head);
        }
    }
}
