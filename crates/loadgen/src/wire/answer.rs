//! Follows one answer from its first byte to its last, and notes when each token came.
//!
//! Knows bytes and the times at which they were read; opens nothing and asks no clock.

use super::event::{Event, FinishReason, Usage};
use super::lines::{Lines, LongLine};
use super::response::{Part, Response, ResponseError};

/// The longest body that is gathered.
pub(crate) const MAX_BODY_BYTES: usize = 16 << 20;
/// How much of a message from the server is kept as an example.
const MAX_DETAIL_CHARS: usize = 200;

/// What the answer should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Tokens: a stream of events, or one JSON body.
    Tokens,
    /// Any body; it is thrown away.
    Anything,
    /// Any body; it is kept.
    Body,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// The status code; 0 before the head.
    pub status: u16,
    /// Whether it came as a stream of events.
    pub streamed: bool,
    /// When each piece of content came, in microseconds since the request was sent.
    pub content_us: Vec<u32>,
    /// How many of those came in one read with the one before: their times say nothing about each other.
    pub coalesced: u32,
    /// Length of the prompt, as the server counted it.
    pub prompt_tokens: Option<u32>,
    /// Length of the answer, as the server counted it.
    pub completion_tokens: Option<u32>,
    /// Why it ended.
    pub finish_reason: Option<FinishReason>,
}

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A status other than 2xx, with the beginning of the body.
    Status(String),
    /// An error inside a stream.
    Server(String),
    /// It breaks HTTP or JSON.
    Malformed(String),
    /// The connection was closed before its end.
    ClosedEarly,
}

impl From<LongLine> for Fault {
    fn from(error: LongLine) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<ResponseError> for Fault {
    fn from(error: ResponseError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// How far an answer is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More is to come.
    More,
    /// It is complete.
    Done {
        /// Whether the connection can carry another request.
        reusable: bool,
        /// Why it is no answer, if it is none.
        fault: Option<Fault>,
    },
}

/// One answer. Kept with its connection, so that its buffers are.
#[derive(Debug)]
pub(crate) struct Answer {
    expect: Expect,
    response: Response,
    lines: Lines,
    /// What is gathered of a body that is no stream.
    body: Vec<u8>,
    keep_alive: bool,
    /// Whether `[DONE]` came.
    done: bool,
    error: Option<Fault>,
    received: Received,
}

impl Answer {
    pub(crate) fn new(expect: Expect) -> Self {
        Self {
            expect,
            response: Response::new(),
            lines: Lines::default(),
            body: Vec::new(),
            keep_alive: false,
            done: false,
            error: None,
            received: Received::default(),
        }
    }

    /// Gives away what came, and begins anew.
    pub(crate) fn take(&mut self) -> Received {
        self.response.reset();
        self.lines.reset();
        self.body.clear();
        (self.keep_alive, self.done, self.error) = (false, false, None);
        std::mem::take(&mut self.received)
    }

    /// The status code; 0 before the head.
    pub(crate) fn status(&self) -> u16 {
        self.received.status
    }

    /// The body, where it was to be kept.
    pub(crate) fn body(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    /// Whether nothing came yet.
    pub(crate) fn untouched(&self) -> bool {
        self.response.untouched() && self.received.status == 0
    }

    /// Bytes were read, `at_us` microseconds after the request was sent.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], at_us: u32) -> Progress {
        let events_before = self.received.content_us.len();
        let fed = self.parts(&mut bytes, at_us);
        let new = self.received.content_us.len() - events_before;
        self.received.coalesced += u32::try_from(new.saturating_sub(1)).unwrap_or(u32::MAX);
        match fed {
            Ok(false) => Progress::More,
            // More bytes than the answer has: what follows on this connection is not ours.
            Ok(true) => self.complete(at_us, self.keep_alive && bytes.is_empty()),
            Err(fault) => Progress::Done { reusable: false, fault: Some(fault) },
        }
    }

    /// The connection was closed.
    pub(crate) fn closed(&mut self, at_us: u32) -> Progress {
        if self.received.status != 0 && self.response.closed() {
            return self.complete(at_us, false);
        }
        Progress::Done { reusable: false, fault: Some(Fault::ClosedEarly) }
    }

    /// Whether the response is complete.
    fn parts(&mut self, bytes: &mut &[u8], at_us: u32) -> Result<bool, Fault> {
        while let Some(part) = self.response.next(bytes)? {
            match part {
                Part::Head(head) => {
                    self.received.status = head.status;
                    let tokens = self.expect == Expect::Tokens && (200..300).contains(&head.status);
                    self.received.streamed = head.events && tokens;
                    self.keep_alive = head.keep_alive;
                }
                Part::Body(part) if self.received.streamed => self.events(part, at_us)?,
                Part::Body(part) => self.gather(part)?,
                Part::End => return Ok(true),
            }
        }
        Ok(false)
    }

    fn gather(&mut self, part: &[u8]) -> Result<(), Fault> {
        let ok = (200..300).contains(&self.received.status);
        if ok && self.expect == Expect::Anything {
            return Ok(());
        }
        if self.body.len() + part.len() > MAX_BODY_BYTES {
            return Err(Fault::Malformed(format!("a body longer than {MAX_BODY_BYTES} bytes")));
        }
        self.body.extend_from_slice(part);
        Ok(())
    }

    fn events(&mut self, part: &[u8], at_us: u32) -> Result<(), Fault> {
        let Self { lines, received, done, error, .. } = self;
        lines.push(part, |data| {
            if data == b"[DONE]" {
                *done = true;
            } else if !data.is_empty() {
                let event = event(data)?;
                if event.error.is_some() && error.is_none() {
                    *error = Some(Fault::Server(detail(data)));
                }
                note(received, &event, at_us);
            }
            Ok(())
        })
    }

    fn complete(&mut self, at_us: u32, reusable: bool) -> Progress {
        Progress::Done { reusable, fault: self.verdict(at_us).err() }
    }

    fn verdict(&mut self, at_us: u32) -> Result<(), Fault> {
        if !(200..300).contains(&self.received.status) {
            return Err(Fault::Status(detail(&self.body)));
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.expect != Expect::Tokens {
            return Ok(());
        }
        if !self.received.streamed {
            let event = event(&self.body)?;
            if event.choices.as_ref().is_none_or(Vec::is_empty) {
                return Err(Fault::Malformed(format!("no choices: {}", detail(&self.body))));
            }
            note(&mut self.received, &event, at_us);
        } else if !self.done && self.received.finish_reason.is_none() {
            return Err(Fault::ClosedEarly);
        }
        Ok(())
    }
}

fn event(data: &[u8]) -> Result<Event, Fault> {
    serde_json::from_slice(data)
        .map_err(|error| Fault::Malformed(format!("{error}: {}", detail(data))))
}

fn note(received: &mut Received, event: &Event, at_us: u32) {
    let mut content = event.has_content();
    if let Some(Usage { prompt_tokens, completion_tokens }) = event.usage {
        received.prompt_tokens = prompt_tokens.or(received.prompt_tokens);
        // Where the server counts along, a token whose text is still incomplete shows as well.
        let more = completion_tokens > received.completion_tokens;
        content |= more && event.choices.as_ref().is_some_and(|choices| !choices.is_empty());
        received.completion_tokens = completion_tokens.or(received.completion_tokens);
    }
    if content {
        received.content_us.push(at_us);
    }
    received.finish_reason = event.finish_reason().or(received.finish_reason);
}

/// The beginning of what a server said, fit for a terminal.
fn detail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MAX_DETAIL_CHARS)]);
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MAX_DETAIL_CHARS).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                          Transfer-Encoding: chunked\r\n\r\n";

    fn chunk(data: &str) -> String {
        let frame = format!("data: {data}\n\n");
        format!("{:x}\r\n{frame}\r\n", frame.len())
    }

    fn token(text: &str) -> String {
        chunk(&format!(r#"{{"choices":[{{"index":0,"text":"{text}","finish_reason":null}}]}}"#))
    }

    fn end() -> String {
        let last = chunk(r#"{"choices":[{"index":0,"text":"","finish_reason":"length"}]}"#);
        let usage = chunk(r#"{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":3}}"#);
        format!("{last}{usage}{}0\r\n\r\n", chunk("[DONE]"))
    }

    fn done(reusable: bool, fault: Option<Fault>) -> Progress {
        Progress::Done { reusable, fault }
    }

    #[test]
    fn a_stream_is_followed_token_by_token() {
        let mut answer = Answer::new(Expect::Tokens);
        assert!(answer.untouched());
        assert_eq!(answer.feed(STREAM.as_bytes(), 5), Progress::More);
        assert_eq!(answer.feed(token(" a").as_bytes(), 10), Progress::More);
        let two = token(" b") + &token(" c");
        assert_eq!(answer.feed(two.as_bytes(), 20), Progress::More);
        assert_eq!(answer.feed(end().as_bytes(), 30), done(true, None));
        assert!(!answer.untouched());
        let expected = Received {
            status: 200,
            streamed: true,
            content_us: vec![10, 20, 20],
            coalesced: 1,
            prompt_tokens: Some(4),
            completion_tokens: Some(3),
            finish_reason: Some(FinishReason::Length),
        };
        assert_eq!(answer.take(), expected);
        assert!(answer.untouched());
    }

    #[test]
    fn a_server_that_counts_along_shows_tokens_without_text() {
        let mut answer = Answer::new(Expect::Tokens);
        answer.feed(STREAM.as_bytes(), 0);
        for (text, count, at) in [("a", 1, 1), ("", 2, 2), ("\u{e9}", 3, 3)] {
            let data = format!(
                r#"{{"choices":[{{"text":"{text}"}}],"usage":{{"completion_tokens":{count}}}}}"#
            );
            answer.feed(chunk(&data).as_bytes(), at);
        }
        answer.feed(end().as_bytes(), 9);
        assert_eq!(answer.take().content_us, [1, 2, 3]);
    }

    #[test]
    fn a_whole_body_is_one_piece_of_content() {
        let body = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],
                       "usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut answer = Answer::new(Expect::Tokens);
        assert_eq!(answer.feed(text.as_bytes(), 70), done(true, None));
        let received = answer.take();
        assert_eq!((received.content_us, received.completion_tokens), (vec![70], Some(2)));
    }

    fn fault(text: &str) -> Option<Fault> {
        let mut answer = Answer::new(Expect::Tokens);
        match answer.feed(text.as_bytes(), 1) {
            Progress::Done { fault, .. } => fault,
            Progress::More => match answer.closed(2) {
                Progress::Done { fault, .. } => fault,
                Progress::More => None,
            },
        }
    }

    #[test]
    fn each_way_to_fail_has_its_name() {
        let refused = "HTTP/1.1 503 No\r\nContent-Length: 12\r\n\r\nfull\n\x1b[31m!!";
        assert_eq!(fault(refused), Some(Fault::Status("full  [31m!!".into())));
        assert_eq!(fault(&(STREAM.to_owned() + &token("a"))), Some(Fault::ClosedEarly));
        assert_eq!(fault(&(STREAM.to_owned() + "0\r\n\r\n")), Some(Fault::ClosedEarly));
        let error = STREAM.to_owned() + &chunk(r#"{"error":{"code":500}}"#) + &end();
        assert_eq!(fault(&error), Some(Fault::Server(r#"{"error":{"code":500}}"#.into())));
        for text in [
            STREAM.to_owned() + &chunk("{"),
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
            "ok\r\n\r\n".to_owned(),
        ] {
            assert!(matches!(fault(&text), Some(Fault::Malformed(_))), "{text}");
        }
        assert_eq!(fault(""), Some(Fault::ClosedEarly));
    }

    #[test]
    fn bytes_behind_the_answer_end_the_connection() {
        let text = STREAM.to_owned() + &token("a") + &end() + "HTTP/1.1";
        let mut answer = Answer::new(Expect::Tokens);
        assert_eq!(answer.feed(text.as_bytes(), 1), done(false, None));
    }

    proptest! {
        #[test]
        fn no_stream_makes_it_panic_and_pieces_change_nothing_but_times(
            data in prop::collection::vec(
                prop_oneof![
                    "[{}\\[\\]a-z\":,0-9]{0,40}",
                    Just(r#"{"choices":[{"text":"a"}]}"#.to_owned()),
                    Just(r#"{"error":1}"#.to_owned()),
                    Just("[DONE]".to_owned()),
                ],
                0..6,
            ),
            raw in prop::collection::vec(any::<u8>(), 0..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = STREAM.as_bytes().to_vec();
            for data in &data {
                bytes.extend(chunk(data).bytes());
            }
            bytes.extend(&raw);
            let run = |pieces: &[&[u8]]| {
                let mut answer = Answer::new(Expect::Tokens);
                let end = pieces.iter().map(|piece| answer.feed(piece, 1)).find(|p| *p != Progress::More);
                let end = end.unwrap_or_else(|| answer.closed(1));
                let mut received = answer.take();
                received.coalesced = 0;
                (end, received)
            };
            let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
            let (whole, cut) = (run(&[&bytes]), run(&[first, second]));
            // Reuse depends on whether bytes behind the end were in the same read.
            let fault = |progress: Progress| match progress {
                Progress::Done { fault, .. } => fault,
                Progress::More => None,
            };
            prop_assert_eq!((fault(whole.0), whole.1), (fault(cut.0), cut.1));
        }
    }
}
