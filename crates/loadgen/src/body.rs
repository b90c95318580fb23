//! Makes the bytes of a request: head and body at once, into a buffer that is used again.

use std::io::Write;
use std::ops::Range;

use serde_json::{Map, Value};
use workload::{Prompt, Request};

use crate::words::WORDS;
use crate::{LoadError, Target};

/// Which of the API's endpoints is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/chat/completions`, with one message of the user.
    Chat,
    /// `GET` of the URL's own path: no tokens, any 2xx is an answer.
    Get,
}

impl Endpoint {
    /// What is appended to the URL's path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Completions => "/v1/completions",
            Self::Chat => "/v1/chat/completions",
            Self::Get => "",
        }
    }
}

/// How prompts are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptForm {
    /// As words, about one token each.
    Words,
    /// As token ids inside a vocabulary: exactly as many tokens as asked. Completions only.
    TokenIds(Range<u32>),
}

/// What is the same for every request.
#[derive(Debug, Clone)]
pub struct BodyOptions {
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// The model's name.
    pub model: String,
    /// How prompts are written.
    pub prompt: PromptForm,
    /// Whether the answer comes token by token.
    pub stream: bool,
    /// Asks the server to count tokens in every chunk (`continuous_usage_stats`; vLLM has it).
    pub continuous_usage: bool,
    /// Asks the server to generate the full length (`ignore_eos`; vLLM and our own server have it).
    pub ignore_eos: bool,
    /// More fields of the body.
    pub extra: Map<String, Value>,
    /// More header fields.
    pub headers: Vec<(String, String)>,
}

/// Makes requests. All that does not change is made once.
#[derive(Debug, Clone)]
pub(crate) struct BodyMaker {
    get: bool,
    prompt: PromptForm,
    /// The head up to the number behind `Content-Length: `; the whole request for a GET.
    head: Vec<u8>,
    /// The body up to the prompt.
    before: Vec<u8>,
    /// The body between the prompt and the number of tokens.
    between: Vec<u8>,
    /// The body behind it.
    after: Vec<u8>,
}

impl BodyMaker {
    /// # Errors
    /// Where an option does not go with another, or a header field is none.
    pub(crate) fn new(target: &Target, options: &BodyOptions) -> Result<Self, LoadError> {
        let endpoint = options.endpoint;
        let chat = endpoint == Endpoint::Chat;
        if options.prompt != PromptForm::Words && endpoint != Endpoint::Completions {
            return Err(LoadError::Option("token ids go with the completions endpoint".into()));
        }
        let get = endpoint == Endpoint::Get;
        let (open, close) = match (chat, &options.prompt) {
            (true, _) => (r#""messages":[{"role":"user","content":""#, "\"}]"),
            (false, PromptForm::Words) => ("\"prompt\":\"", "\""),
            (false, PromptForm::TokenIds(_)) => ("\"prompt\":[", "]"),
        };
        let mut fields = Map::new();
        if options.stream {
            fields.insert("stream".into(), true.into());
            let mut usage = Map::new();
            usage.insert("include_usage".into(), true.into());
            if options.continuous_usage {
                usage.insert("continuous_usage_stats".into(), true.into());
            }
            fields.insert("stream_options".into(), usage.into());
        }
        if options.ignore_eos {
            fields.insert("ignore_eos".into(), true.into());
        }
        fields.extend(options.extra.clone());
        // `{"a":1}` without its first brace goes behind a comma; `{}` leaves the closing brace alone.
        let fields = Value::from(fields).to_string();
        let comma = if fields == "{}" { "" } else { "," };
        let model = Value::from(options.model.as_str());
        Ok(Self {
            get,
            prompt: options.prompt.clone(),
            head: head(target, endpoint, &options.headers)?,
            before: format!("{{\"model\":{model},{open}").into_bytes(),
            between: format!("{close},\"max_tokens\":").into_bytes(),
            after: format!("{comma}{}", &fields[1..]).into_bytes(),
        })
    }

    /// Writes one request into `out`, which is emptied first. `scratch` is for the prompt.
    pub(crate) fn write(&self, request: &Request, out: &mut Vec<u8>, scratch: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.head);
        if self.get {
            return;
        }
        scratch.clear();
        scratch.extend_from_slice(&self.before);
        self.write_prompt(&request.prompt, scratch);
        scratch.extend_from_slice(&self.between);
        push_number(scratch, request.output_tokens as usize);
        scratch.extend_from_slice(&self.after);
        push_number(out, scratch.len());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(scratch);
    }

    fn write_prompt(&self, prompt: &Prompt, out: &mut Vec<u8>) {
        match &self.prompt {
            PromptForm::Words => {
                for (i, noise) in prompt.noise().enumerate() {
                    if i > 0 {
                        out.push(b' ');
                    }
                    out.extend_from_slice(WORDS[(noise % 256) as usize].as_bytes());
                }
            }
            PromptForm::TokenIds(vocabulary) => {
                for (i, id) in prompt.token_ids(vocabulary.clone()).enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    push_number(out, id as usize);
                }
            }
        }
    }
}

/// Writing to memory does not fail.
fn push_number(out: &mut Vec<u8>, number: usize) {
    let _ = write!(out, "{number}");
}

fn head(
    target: &Target,
    endpoint: Endpoint,
    headers: &[(String, String)],
) -> Result<Vec<u8>, LoadError> {
    let method = if endpoint == Endpoint::Get { "GET" } else { "POST" };
    let path = target.path(endpoint);
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", target.host);
    head.push_str(concat!("User-Agent: loadgen/", env!("CARGO_PKG_VERSION"), "\r\n"));
    for (name, value) in headers {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let clean = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte) || byte >= 0x80;
        if name.is_empty() || !name.bytes().all(token) || !value.bytes().all(clean) {
            // The value may be a secret.
            return Err(LoadError::Option(format!("`{name}` and its value are no header field")));
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(match endpoint {
        Endpoint::Get => "\r\n",
        _ => "Content-Type: application/json\r\nContent-Length: ",
    });
    Ok(head.into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use workload::Segment;

    use super::*;

    fn options(endpoint: Endpoint, prompt: PromptForm) -> BodyOptions {
        BodyOptions {
            endpoint,
            model: "a \"model\"".into(),
            prompt,
            stream: true,
            continuous_usage: true,
            ignore_eos: true,
            extra: json!({"temperature": 0}).as_object().unwrap().clone(),
            headers: vec![("X-A".into(), "b c".into())],
        }
    }

    fn make(options: &BodyOptions, tokens: u32) -> (String, String) {
        let target = Target::parse("http://127.0.0.1:8000/base/").unwrap();
        let prompt = Prompt { segments: vec![Segment { id: 3, tokens }] };
        let (mut out, mut scratch) = (b"old".to_vec(), b"old".to_vec());
        let maker = BodyMaker::new(&target, options).unwrap();
        maker.write(&Request { prompt, output_tokens: 9 }, &mut out, &mut scratch);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn a_chat_has_the_fields_that_were_asked() {
        let (head, body) = make(&options(Endpoint::Chat, PromptForm::Words), 4);
        let length = body.len();
        let agent = concat!("User-Agent: loadgen/", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            head,
            format!(
                "POST /base/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n{agent}\r\n\
                 X-A: b c\r\nContent-Type: application/json\r\nContent-Length: {length}"
            )
        );
        let mut body: Value = serde_json::from_str(&body).unwrap();
        let content = body["messages"][0]["content"].take();
        assert_eq!(content.as_str().unwrap().split(' ').count(), 4);
        let expected = json!({
            "model": "a \"model\"",
            "messages": [{"role": "user", "content": null}],
            "max_tokens": 9,
            "stream": true,
            "stream_options": {"include_usage": true, "continuous_usage_stats": true},
            "ignore_eos": true,
            "temperature": 0,
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_get_has_no_body() {
        let (head, body) = make(&options(Endpoint::Get, PromptForm::Words), 4);
        assert!(head.starts_with("GET /base HTTP/1.1\r\n") && body.is_empty(), "{head}");
    }

    #[test]
    fn a_header_cannot_smuggle_another() {
        let target = Target::parse("http://127.0.0.1").unwrap();
        for (name, value) in [("a", "b\r\nc: d"), ("a b", "c"), ("", "x"), ("a\n", "x")] {
            let mut options = options(Endpoint::Chat, PromptForm::Words);
            options.headers = vec![(name.into(), value.into())];
            assert!(BodyMaker::new(&target, &options).is_err(), "{name}: {value}");
        }
    }

    proptest! {
        #[test]
        fn a_prompt_of_ids_has_exactly_the_asked_length(tokens in 1u32..400, bare: bool) {
            let mut options = options(Endpoint::Completions, PromptForm::TokenIds(10..90));
            if bare {
                options.stream = false;
                options.ignore_eos = false;
                options.extra.clear();
            }
            let (_, body) = make(&options, tokens);
            let body: Value = serde_json::from_str(&body).unwrap();
            let ids = body["prompt"].as_array().unwrap();
            prop_assert_eq!(ids.len(), tokens as usize);
            prop_assert!(ids.iter().all(|id| (10..90).contains(&id.as_u64().unwrap())));
        }
    }
}
