//! One client of the sink: its request, and its answer.

use std::io::{self, Read, Write};

use memchr::memmem;
use mio::net::TcpStream;

/// The longest request.
const MAX_REQUEST_BYTES: usize = 16 << 20;
/// Tokens where a request does not say how many.
const DEFAULT_TOKENS: usize = 16;
/// The most tokens.
const MAX_TOKENS: usize = 1 << 20;

const MODELS: &str = r#"{"object":"list","data":[{"id":"sink","object":"model"}]}"#;
const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                           Transfer-Encoding: chunked\r\n\r\n";

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing, or that we read.
    Idle,
    /// Its next event.
    Streaming,
    /// It is gone.
    Closed,
}

pub(crate) struct Client {
    socket: TcpStream,
    /// What is there of a request.
    input: Vec<u8>,
    /// What is to be written.
    output: Vec<u8>,
    stream: Option<Stream>,
}

struct Stream {
    chat: bool,
    /// About as many as the prompt has: five bytes a token.
    prompt_tokens: usize,
    tokens: usize,
    sent: usize,
}

impl Client {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, input: Vec::new(), output: Vec::new(), stream: None }
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    fn state(&self) -> State {
        if self.stream.is_some() { State::Streaming } else { State::Idle }
    }

    /// The socket may be ready: reads, and answers what is complete.
    pub(crate) fn ready(&mut self, buffer: &mut [u8]) -> State {
        if self.flush().is_err() {
            return State::Closed;
        }
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return State::Closed,
                Ok(length) => {
                    self.input.extend_from_slice(&buffer[..length]);
                    if self.answer().is_err() || self.input.len() > MAX_REQUEST_BYTES {
                        return State::Closed;
                    }
                    if length < buffer.len() {
                        return self.state();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.state(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return State::Closed,
            }
        }
    }

    /// Answers every complete request, one after the other.
    fn answer(&mut self) -> io::Result<()> {
        while self.stream.is_none() {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(&self.input).map_err(io::Error::other)?;
            let httparse::Status::Complete(head) = parsed else { return Ok(()) };
            let length = content_length(request.headers)?;
            if self.input.len() < head + length {
                return Ok(());
            }
            let path = request.path.unwrap_or("");
            let chat = path == "/v1/chat/completions";
            let body = &self.input[head..head + length];
            if chat || path == "/v1/completions" {
                let tokens = number(body, b"\"max_tokens\":").unwrap_or(DEFAULT_TOKENS);
                let tokens = tokens.clamp(1, MAX_TOKENS);
                let prompt_tokens = length.div_ceil(5);
                if value(body, b"\"stream\":").is_some_and(|value| value.starts_with(b"true")) {
                    self.stream = Some(Stream { chat, prompt_tokens, tokens, sent: 0 });
                } else {
                    push_whole(&mut self.output, &completion(chat, prompt_tokens, tokens));
                }
            } else {
                let page = if path == "/v1/models" { MODELS } else { "ok" };
                push_whole(&mut self.output, page);
            }
            self.input.drain(..head + length);
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the next event of the stream.
    pub(crate) fn event(&mut self) -> State {
        // A client that does not read gets no more events: what is written stays bounded.
        if let Some(stream) = &mut self.stream
            && self.output.is_empty()
        {
            let last = stream.push(&mut self.output);
            if last {
                self.stream = None;
            }
        }
        if self.flush().is_err() || (self.stream.is_none() && self.answer().is_err()) {
            return State::Closed;
        }
        self.state()
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(written) => {
                    self.output.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Stream {
    /// Appends the next event; whether it was the last.
    fn push(&mut self, out: &mut Vec<u8>) -> bool {
        if self.sent == 0 {
            out.extend_from_slice(STREAM_HEAD.as_bytes());
        }
        self.sent += 1;
        let last = self.sent == self.tokens;
        let reason = if last { "\"length\"" } else { "null" };
        let choice = if self.chat {
            format!(r#""delta":{{"content":" token"}},"finish_reason":{reason}"#)
        } else {
            format!(r#""text":" token","logprobs":null,"finish_reason":{reason}"#)
        };
        let object = if self.chat { "chat.completion.chunk" } else { "text_completion" };
        push_chunk(
            out,
            &format!(
                r#"{{"id":"cmpl-0","object":"{object}","created":0,"model":"sink","choices":[{{"index":0,{choice}}}]}}"#
            ),
        );
        if last {
            let Self { prompt_tokens, tokens, .. } = self;
            push_chunk(
                out,
                &format!(
                    r#"{{"choices":[],"usage":{{"prompt_tokens":{prompt_tokens},"completion_tokens":{tokens}}}}}"#
                ),
            );
            push_chunk(out, "[DONE]");
            out.extend_from_slice(b"0\r\n\r\n");
        }
        last
    }
}

fn completion(chat: bool, prompt_tokens: usize, tokens: usize) -> String {
    let text = " token".repeat(tokens);
    let choice = if chat {
        format!(r#""message":{{"role":"assistant","content":"{text}"}}"#)
    } else {
        format!(r#""text":"{text}""#)
    };
    format!(
        r#"{{"id":"cmpl-0","model":"sink","choices":[{{"index":0,{choice},"finish_reason":"length"}}],"usage":{{"prompt_tokens":{prompt_tokens},"completion_tokens":{tokens}}}}}"#
    )
}

fn push_chunk(out: &mut Vec<u8>, data: &str) {
    // `data: ` before and two line breaks behind.
    let length = data.len() + 8;
    out.extend_from_slice(format!("{length:x}\r\ndata: {data}\n\n\r\n").as_bytes());
}

fn push_whole(out: &mut Vec<u8>, body: &str) {
    let length = body.len();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
    out.extend_from_slice(format!("{head}{length}\r\n\r\n{body}").as_bytes());
}

fn content_length(headers: &[httparse::Header<'_>]) -> io::Result<usize> {
    let header = headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let Some(header) = header else { return Ok(0) };
    let text = std::str::from_utf8(header.value).unwrap_or("");
    match text.trim().parse() {
        Ok(length) if length <= MAX_REQUEST_BYTES => Ok(length),
        _ => Err(io::Error::other("a body without usable length")),
    }
}

/// What stands behind `key`, and its blanks, in a JSON text that has it once.
fn value<'a>(body: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    Some(body[memmem::find(body, key)? + key.len()..].trim_ascii_start())
}

/// The number behind `key`.
fn number(body: &[u8], key: &[u8]) -> Option<usize> {
    let value = value(body, key)?;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
}
