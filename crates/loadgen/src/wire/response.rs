//! Reads one HTTP/1.1 response from whatever pieces the network cuts it into.
//!
//! Pull-based and without copies: body parts are slices of the caller's buffer. Only a head that comes in
//! several reads is gathered. Source: RFC 9112, sections 4 and 6.

use super::chunk::Chunk;

/// The longest head, and the longest trailer.
pub(crate) const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The most header fields.
pub(crate) const MAX_HEADERS: usize = 96;

/// What a response is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Status and what follows from the headers; comes first, once.
    Head(Head),
    /// A piece of the body.
    Body(&'a [u8]),
    /// The response is complete; comes last, once.
    End,
}

/// The head of a response, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The status code.
    pub(crate) status: u16,
    /// Whether the body is a stream of server-sent events.
    pub(crate) events: bool,
    /// Whether the connection can carry another request afterwards.
    pub(crate) keep_alive: bool,
}

/// What is wrong with a response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResponseError {
    #[error("the head is longer than {MAX_HEAD_BYTES} bytes")]
    LongHead,
    #[error("the head is no HTTP/1.1: {0}")]
    Head(httparse::Error),
    #[error("the length of the body is unclear: {0}")]
    Framing(&'static str),
    #[error("a chunk of the body is malformed")]
    Chunk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// Bytes left of a body of known length.
    Length(u64),
    Chunk(Chunk),
    UntilClose,
    /// The end is still to be told.
    Complete,
    /// Everything was told.
    Over,
}

/// Reads one response.
#[derive(Debug)]
pub(crate) struct Response {
    state: State,
    /// The beginning of a head that is not complete.
    head: Vec<u8>,
}

impl Response {
    pub(crate) fn new() -> Self {
        Self { state: State::Head, head: Vec::new() }
    }

    /// Begins anew; keeps its memory.
    pub(crate) fn reset(&mut self) {
        self.state = State::Head;
        self.head.clear();
    }

    /// Takes the next part from the front of `input`. `None` when it needs more.
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Part<'a>>, ResponseError> {
        loop {
            match self.state {
                State::Head if input.is_empty() => return Ok(None),
                State::Head => {
                    if let Some(head) = self.head(input)? {
                        return Ok(Some(Part::Head(head)));
                    }
                }
                State::Complete => {
                    self.state = State::Over;
                    return Ok(Some(Part::End));
                }
                State::Over => return Ok(None),
                State::Length(0) => self.state = State::Complete,
                _ if input.is_empty() => return Ok(None),
                State::Length(left) => {
                    let part = take(input, left);
                    self.state = State::Length(left - part.len() as u64);
                    return Ok(Some(Part::Body(part)));
                }
                State::UntilClose => return Ok(Some(Part::Body(take(input, u64::MAX)))),
                State::Chunk(Chunk::Data(left)) => {
                    let part = take(input, left);
                    let left = left - part.len() as u64;
                    let next = if left == 0 { Chunk::DataEnd } else { Chunk::Data(left) };
                    self.state = State::Chunk(next);
                    return Ok(Some(Part::Body(part)));
                }
                State::Chunk(chunk) => {
                    let byte = take(input, 1)[0];
                    self.state = chunk.after(byte)?.map_or(State::Complete, State::Chunk);
                }
            }
        }
    }

    /// The connection was closed: whether the response is complete by that.
    pub(crate) fn closed(&mut self) -> bool {
        match self.state {
            State::UntilClose | State::Complete | State::Length(0) | State::Over => {
                self.state = State::Over;
                true
            }
            _ => false,
        }
    }

    /// Whether nothing came yet.
    pub(crate) fn untouched(&self) -> bool {
        self.state == State::Head && self.head.is_empty()
    }

    fn head(&mut self, input: &mut &[u8]) -> Result<Option<Head>, ResponseError> {
        // Mostly the whole head is in one read: no copy then.
        let before = self.head.len();
        if before > 0 {
            let room = MAX_HEAD_BYTES.saturating_sub(before).min(input.len());
            self.head.extend_from_slice(&input[..room]);
        }
        let bytes = if before > 0 { self.head.as_slice() } else { *input };
        let bytes = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(bytes).map_err(ResponseError::Head)?;
        let httparse::Status::Complete(length) = parsed else {
            if bytes.len() == MAX_HEAD_BYTES {
                return Err(ResponseError::LongHead);
            }
            if before == 0 {
                self.head.extend_from_slice(input);
            }
            *input = &[];
            return Ok(None);
        };
        let (head, state) = framing(&response)?;
        // All bytes gathered so far were part of an incomplete head, so that it ends inside `input`.
        *input = &input[length.saturating_sub(before)..];
        self.head.clear();
        self.state = state;
        // An interim response (RFC 9110, section 15.2) says that the real one is still to come.
        Ok((head.status >= 200).then_some(head))
    }
}

fn take<'a>(input: &mut &'a [u8], most: u64) -> &'a [u8] {
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    let (part, rest) = input.split_at(length);
    *input = rest;
    part
}

fn framing(response: &httparse::Response<'_, '_>) -> Result<(Head, State), ResponseError> {
    let status = response.code.unwrap_or(0);
    let mut head = Head { status, events: false, keep_alive: response.version == Some(1) };
    let mut length = None;
    let mut chunked = false;
    for header in response.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let text = std::str::from_utf8(header.value).unwrap_or("").trim();
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let value: Option<u64> = text.parse().ok().filter(|_| plain);
            let value = value.ok_or(ResponseError::Framing("Content-Length is no number"))?;
            if length.replace(value).is_some_and(|other| other != value) {
                return Err(ResponseError::Framing("two lengths"));
            }
        } else if is("transfer-encoding") {
            if chunked || !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(ResponseError::Framing("a transfer encoding other than chunked"));
            }
            chunked = true;
        } else if is("connection") {
            for word in header.value.split(|byte| *byte == b',') {
                let word = word.trim_ascii();
                if word.eq_ignore_ascii_case(b"close") {
                    head.keep_alive = false;
                } else if word.eq_ignore_ascii_case(b"keep-alive") {
                    head.keep_alive = true;
                }
            }
        } else if is("content-type") {
            let kind = header.value.get(..17).unwrap_or(header.value);
            head.events = kind.eq_ignore_ascii_case(b"text/event-stream");
        }
    }
    let state = match (status, chunked, length) {
        (101, _, _) => return Err(ResponseError::Framing("another protocol")),
        (100..200, _, _) => State::Head,
        (204 | 304, _, _) => State::Complete,
        (_, true, Some(_)) => return Err(ResponseError::Framing("a length and chunks")),
        (_, true, None) => State::Chunk(Chunk::FIRST),
        (_, false, Some(length)) => State::Length(length),
        (_, false, None) => State::UntilClose,
    };
    head.keep_alive &= state != State::UntilClose;
    Ok((head, state))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::chunk::MAX_LINE;

    /// The status, the body, whether it ended, and what is left; `pieces` are fed one by one.
    fn read(pieces: &[&[u8]]) -> Result<(Vec<u16>, Vec<u8>, bool, usize), ResponseError> {
        let mut response = Response::new();
        let (mut heads, mut body, mut ended, mut left) = (Vec::new(), Vec::new(), false, 0);
        for mut input in pieces.iter().copied() {
            while let Some(part) = response.next(&mut input)? {
                match part {
                    Part::Head(head) => heads.push(head.status),
                    Part::Body(part) => body.extend_from_slice(part),
                    Part::End => ended = true,
                }
            }
            left += input.len();
        }
        ended |= response.closed();
        Ok((heads, body, ended, left))
    }

    fn whole(text: &str) -> Result<(Vec<u16>, String, bool, usize), ResponseError> {
        let (heads, body, ended, left) = read(&[text.as_bytes()])?;
        Ok((heads, String::from_utf8(body).unwrap(), ended, left))
    }

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn a_body_of_known_length_ends_there() {
        let got = whole("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello and more").unwrap();
        assert_eq!(got, (vec![200], "hello".into(), true, 9));
        assert!(!whole("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell").unwrap().2);
    }

    #[test]
    fn chunks_with_extensions_and_trailers_are_read() {
        let text = format!("{CHUNKED}5;a=b\r\nhello\r\nA \r\n, my world\r\n0\r\nX: y\r\n\r\n");
        assert_eq!(whole(&text).unwrap(), (vec![200], "hello, my world".into(), true, 0));
        assert!(!whole(&format!("{CHUNKED}5\r\nhello\r\n")).unwrap().2);
    }

    #[test]
    fn a_body_without_length_ends_with_the_connection() {
        let got = whole("HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
        assert_eq!(got, (vec![200], "hello".into(), true, 0));
    }

    #[test]
    fn an_interim_response_is_skipped() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(whole(text).unwrap(), (vec![204], String::new(), true, 0));
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for text in [
            "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".to_owned(),
            "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
            format!("{CHUNKED}xyz\r\n"),
            format!("{CHUNKED}\r\n"),
            format!("{CHUNKED}11111111111111111\r\n"),
            format!("{CHUNKED}1\r\nab\r\n"),
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD_BYTES)),
            format!("{CHUNKED}0\r\n{}", "X: y\r\n".repeat(MAX_HEAD_BYTES / 6 + 1)),
            format!("{CHUNKED}5;{}\r\n", "x".repeat(MAX_LINE)),
        ] {
            assert!(whole(&text).is_err(), "{:.80}", text);
        }
    }

    #[test]
    fn a_connection_is_kept_as_the_head_says() {
        for (text, kept) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
        ] {
            let part = Response::new().next(&mut text.as_bytes()).unwrap();
            assert!(matches!(part, Some(Part::Head(head)) if head.keep_alive == kept), "{text}");
        }
    }

    fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_read_or_refused(
            prefix in prop::sample::select(vec![
                "", "HTTP/1.1 200 OK\r\n", CHUNKED, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
            ]),
            tail in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                "[0-9a-f\r\n;: ]{0,60}".prop_map(String::into_bytes),
            ],
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = [prefix.as_bytes(), &tail].concat();
            let whole = read(&[&bytes]);
            // However the network cuts it, it means the same.
            prop_assert_eq!(&read(&cut(&bytes, &cuts)), &whole);
        }

        #[test]
        fn a_chunked_body_comes_back_whole(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut bytes = CHUNKED.as_bytes().to_vec();
            for chunk in &chunks {
                bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let got = read(&cut(&bytes, &cuts)).unwrap();
            prop_assert_eq!(got, (vec![200], chunks.concat(), true, 0));
        }
    }
}
