//! A client that streams, with its own clock: what a user would measure.

use std::io::{BufRead, BufReader};
use std::thread;
use std::time::{Duration, Instant};

use protocol::timelines::{RequestTimeline, TimelineEvent, TimelineKind, Timelines};
use serde::Deserialize;
use serde_json::json;
use serving::{EventKind, Timeline};

use crate::engine::blame_panic;
use crate::{Page, RunningEngine, ScrapeError, unknown};

/// The longest that one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(90);
/// The longest wait for what the engine records after an answer ended.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(20);

/// A prompt for `/v1/completions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its text.
    pub text: String,
    /// Tokens to generate: exactly this many, since the end of text is ignored.
    pub max_tokens: usize,
    /// How often the text is in the list of prompts: sequences that the engine gets all at once.
    pub copies: usize,
    /// How long to wait before it is sent, so that requests arrive in a known order.
    pub delay: Duration,
}

impl Prompt {
    /// A prompt.
    #[must_use]
    pub fn new(text: impl Into<String>, max_tokens: usize) -> Self {
        Self { text: text.into(), max_tokens, copies: 1, delay: Duration::ZERO }
    }
}

/// Token counts as the engine reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
}

/// A streamed answer. Times are the client's, since it began to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The id that the server gave the request.
    pub id: String,
    /// All text; of all choices, as it came.
    pub text: String,
    /// When each chunk that carries text was read.
    pub chunks: Vec<Duration>,
    /// When the stream ended.
    pub e2e: Duration,
    /// Token counts.
    pub usage: Usage,
}

/// A call that got no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke.
    #[error("{path}: {cause}")]
    Transport {
        /// What was asked for.
        path: String,
        /// What went wrong.
        cause: String,
    },
    /// The engine refused.
    #[error("{path}: status {status}: {body}")]
    Status {
        /// What was asked for.
        path: String,
        /// HTTP status.
        status: u16,
        /// The start of the body.
        body: String,
    },
    /// The stream ended without `[DONE]`, or was no stream of completions.
    #[error("{path}: the stream is broken: {what}")]
    Stream {
        /// What was asked for.
        path: String,
        /// Where it broke.
        what: String,
    },
    /// The metrics page cannot be read.
    #[error(transparent)]
    Scrape(#[from] ScrapeError),
}

/// A client of one engine, which lives as long as this does.
///
/// Calls that fail end the check: as a failure if the engine panicked, else without a verdict.
pub struct Client {
    engine: Box<dyn RunningEngine>,
    agent: ureq::Agent,
}

impl Client {
    /// A client of this engine.
    #[must_use]
    pub fn new(engine: Box<dyn RunningEngine>) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_LIMIT))
            .http_status_as_error(false)
            .build();
        Self { engine, agent: config.into() }
    }

    /// Streams one completion, greedily.
    #[must_use]
    pub fn complete(&self, prompt: &Prompt) -> Answer {
        self.verdict(self.try_complete(prompt))
    }

    /// Streams many completions at once, each after its delay. Answers are in the order of the
    /// prompts.
    #[must_use]
    pub fn complete_all(&self, prompts: &[Prompt]) -> Vec<Answer> {
        let (agent, url) = (&self.agent, self.engine.url());
        let results = in_parallel(prompts, |prompt| try_complete(agent, url, prompt));
        results.into_iter().map(|result| self.verdict(result)).collect()
    }

    /// The metrics page.
    #[must_use]
    pub fn metrics(&self) -> Page {
        let page = get(&self.agent, self.engine.url(), "/metrics");
        self.verdict(page.and_then(|text| Ok(Page::parse(&text)?)))
    }

    /// Requests that the server holds, as `/load` says; `None` where it does not.
    #[must_use]
    pub fn load(&self) -> Option<f64> {
        let text = get(&self.agent, self.engine.url(), "/load").ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()?.get("server_load")?.as_f64()
    }

    /// The status of `/health`; `None` where nobody answers.
    #[must_use]
    pub fn health(&self) -> Option<u16> {
        let response = self.agent.get(format!("{}/health", self.engine.url())).call();
        response.ok().map(|response| response.status().as_u16())
    }

    /// The engine's own timelines of these answers, in their order; of several choices, the first
    /// to end. Needs `--debug-timelines`.
    ///
    /// A request's end reaches the engine a moment after it reaches the client, so this waits for
    /// it.
    #[must_use]
    pub fn timelines(&self, answers: &[Answer]) -> Vec<Timeline> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            let page = self.verdict(self.try_timelines());
            let of = |answer: &Answer| page.timelines.iter().find(|entry| entry.id == answer.id);
            let found: Option<Vec<_>> = answers.iter().map(|answer| of(answer).map(read)).collect();
            match found {
                Some(timelines) => return timelines,
                None if Instant::now() < deadline => thread::sleep(POLL),
                None => unknown(format!("no timeline of an answer within {SETTLE_LIMIT:?}")),
            }
        }
    }

    /// The metrics page, once `settled` says so or after a while.
    #[must_use]
    pub fn settled_metrics(&self, settled: impl Fn(&Page) -> bool) -> Page {
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            let page = self.metrics();
            if settled(&page) || Instant::now() >= deadline {
                return page;
            }
            thread::sleep(POLL);
        }
    }

    fn try_timelines(&self) -> Result<Timelines, ClientError> {
        let path = "/debug/timelines";
        let text = get(&self.agent, self.engine.url(), path)?;
        serde_json::from_str(&text)
            .map_err(|error| ClientError::Stream { path: path.into(), what: error.to_string() })
    }

    /// Streams one completion, greedily.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn try_complete(&self, prompt: &Prompt) -> Result<Answer, ClientError> {
        try_complete(&self.agent, self.engine.url(), prompt)
    }

    fn verdict<T>(&self, result: Result<T, ClientError>) -> T {
        result.unwrap_or_else(|error| {
            let log = self.engine.log();
            blame_panic(&log);
            let tail = log[log.len().saturating_sub(3)..].join(" | ");
            unknown(format!("{error}; the engine's log ends: {tail}"))
        })
    }
}

/// Calls with each input in a thread of its own; results are in the order of the inputs.
///
/// # Panics
/// Where a call panics.
pub fn in_parallel<T: Sync, R: Send>(inputs: &[T], call: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let call = &call;
    thread::scope(|scope| {
        let calls: Vec<_> = inputs.iter().map(|input| scope.spawn(move || call(input))).collect();
        calls.into_iter().map(|call| call.join().expect("a call does not panic")).collect()
    })
}

/// A timeline from the wire.
fn read(entry: &RequestTimeline) -> Timeline {
    let event = |event: &TimelineEvent| (Duration::from_micros(event.at_us), kind(event));
    entry.events.iter().map(event).collect()
}

fn kind(event: &TimelineEvent) -> EventKind {
    match event.kind {
        TimelineKind::Arrived => EventKind::Arrived,
        TimelineKind::Queued => EventKind::Queued,
        TimelineKind::ModelReady => EventKind::ModelReady,
        TimelineKind::Scheduled => EventKind::Scheduled,
        TimelineKind::PrefillDone => EventKind::PrefillDone,
        TimelineKind::Token => EventKind::Token,
        TimelineKind::Flushed => EventKind::Flushed { tokens: event.tokens.unwrap_or(0) },
        TimelineKind::Preempted => EventKind::Preempted,
        TimelineKind::Aborted => EventKind::Aborted,
    }
}

fn get(agent: &ureq::Agent, url: &str, path: &str) -> Result<String, ClientError> {
    let response = agent.get(format!("{url}{path}")).call().map_err(|e| transport(path, e))?;
    let mut response = accept(path, response)?;
    response.body_mut().read_to_string().map_err(|e| transport(path, e))
}

fn try_complete(agent: &ureq::Agent, url: &str, prompt: &Prompt) -> Result<Answer, ClientError> {
    let path = "/v1/completions";
    thread::sleep(prompt.delay);
    let body = json!({
        "prompt": vec![&prompt.text; prompt.copies],
        "max_tokens": prompt.max_tokens,
        "temperature": 0,
        "ignore_eos": true,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let sent = Instant::now();
    let response =
        agent.post(format!("{url}{path}")).send_json(&body).map_err(|e| transport(path, e))?;
    let stream = accept(path, response)?.into_body().into_reader();
    read_stream(path, BufReader::new(stream), || sent.elapsed())
}

fn transport(path: &str, error: impl ToString) -> ClientError {
    ClientError::Transport { path: path.to_owned(), cause: error.to_string() }
}

type Response = ureq::http::Response<ureq::Body>;

/// Only a 200 is an answer.
fn accept(path: &str, mut response: Response) -> Result<Response, ClientError> {
    let status = response.status().as_u16();
    if status == 200 {
        return Ok(response);
    }
    let body = response.body_mut().read_to_string().unwrap_or_default();
    let body = body.chars().take(200).collect();
    Err(ClientError::Status { path: path.to_owned(), status, body })
}

/// The parts of a chunk that matter here.
#[derive(Deserialize)]
struct Chunk {
    id: String,
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    text: String,
}

/// Reads server-sent events up to `[DONE]`.
fn read_stream(
    path: &str,
    stream: impl BufRead,
    clock: impl Fn() -> Duration,
) -> Result<Answer, ClientError> {
    let broken = |what: String| ClientError::Stream { path: path.to_owned(), what };
    let mut answer = Answer {
        id: String::new(),
        text: String::new(),
        chunks: Vec::new(),
        e2e: Duration::ZERO,
        usage: Usage::default(),
    };
    for line in stream.lines() {
        let line = line.map_err(|error| transport(path, error))?;
        let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
        if data == "[DONE]" {
            answer.e2e = clock();
            return Ok(answer);
        }
        let chunk: Chunk =
            serde_json::from_str(data).map_err(|error| broken(format!("{error} in {data}")))?;
        answer.id = chunk.id;
        answer.usage = chunk.usage.unwrap_or(answer.usage);
        let text: String = chunk.choices.into_iter().map(|choice| choice.text).collect();
        if !text.is_empty() {
            answer.chunks.push(clock());
            answer.text.push_str(&text);
        }
    }
    Err(broken("it ended without [DONE]".into()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const RECORDED: &str = "data: {\"id\":\"cmpl-1\",\"choices\":[{\"index\":0,\"text\":\" Paris\"}]}\n\n\
        : keep-alive\n\ndata: {\"id\":\"cmpl-1\",\"choices\":[{\"index\":0,\"text\":\".\"}]}\n\n\
        data: {\"id\":\"cmpl-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"total_tokens\":7,\
        \"completion_tokens\":2}}\n\n";

    fn read(text: &str) -> Result<Answer, ClientError> {
        let ticks = Cell::new(0);
        read_stream("/", text.as_bytes(), || {
            ticks.set(ticks.get() + 1);
            Duration::from_millis(ticks.get())
        })
    }

    #[test]
    fn a_stream_is_read_with_the_time_of_each_chunk() {
        let answer = read(&format!("{RECORDED}data: [DONE]\n\n")).unwrap();
        assert_eq!((answer.id.as_str(), answer.text.as_str()), ("cmpl-1", " Paris."));
        assert_eq!(answer.chunks, [Duration::from_millis(1), Duration::from_millis(2)]);
        assert_eq!(answer.e2e, Duration::from_millis(3));
        assert_eq!(answer.usage, Usage { prompt_tokens: 5, completion_tokens: 2 });
    }

    #[test]
    fn a_stream_without_its_end_is_broken() {
        assert!(read(RECORDED).unwrap_err().to_string().contains("without [DONE]"));
        assert!(read("data: {\"error\":1}\n").is_err());
    }

    #[test]
    fn results_keep_the_order_of_the_inputs() {
        assert_eq!(in_parallel(&[3, 1, 2], |n| n * 10), [30, 10, 20]);
    }
}
