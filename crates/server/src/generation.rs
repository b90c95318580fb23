//! A request on its way through the engine: from prompts to the flushes of its choices.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use protocol::openai::{MAX_CHOICES, RequestError, Sampling};
use serving::{
    EventKind, FinishReason, RequestSummary, SamplingParams, TextCodec, TextError, Timeline,
    TokenId,
};
use tokio::sync::{Notify, watch};

use crate::admission::Ticket;
use crate::answer::{Answer, StopRules};
use crate::channel::{ChoiceReceiver, Flush, NewChoice, channel};
use crate::clock::{Clock, unix_seconds};
use crate::engine_thread::{NewSequence, Waker, submit};
use crate::error::ApiError;
use crate::state::{InFlight, Phase, Ready, Server, Stage};
use crate::stop::StopStrings;
use crate::telemetry::Telemetry;

/// The longest `X-Request-Id` that is taken over, in bytes.
const MAX_REQUEST_ID: usize = 64;

/// A prefix and the client's own id, or a random one.
pub(crate) fn request_id(prefix: &str, headers: &HeaderMap) -> Arc<str> {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    match given.filter(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID) {
        Some(id) => format!("{prefix}{id}").into(),
        None => format!("{prefix}{:016x}", RandomState::new().hash_one(unix_seconds())).into(),
    }
}

/// A request that may run.
pub(crate) struct NewGeneration {
    pub(crate) id: Arc<str>,
    /// One or more; the server made sure that each fits with `max_tokens`.
    pub(crate) prompts: Vec<Vec<TokenId>>,
    pub(crate) sampling: Sampling,
    /// What `max_tokens` is where the request has none; `None` for the rest of the context.
    pub(crate) default_max_tokens: Option<usize>,
    /// What happened so far.
    pub(crate) timeline: Timeline,
    pub(crate) ticket: Ticket,
    pub(crate) in_flight: InFlight,
}

/// A request that runs. Dropping it aborts what is not finished.
pub(crate) struct Generation {
    pub(crate) id: Arc<str>,
    pub(crate) created: u64,
    /// Tokens of each prompt.
    pub(crate) prompt_tokens: Vec<usize>,
    /// Choices for each prompt.
    pub(crate) n: usize,
    choices: Vec<ChoiceReceiver>,
    news: Arc<Notify>,
    stage: watch::Receiver<Stage>,
    /// Last, so that a drain is over only when the choices above are gone.
    _in_flight: InFlight,
}

/// The most tokens this prompt's answer may have.
fn max_tokens(
    prompt: &[TokenId],
    sampling: &Sampling,
    default: Option<usize>,
    ready: &Ready,
) -> Result<usize, RequestError> {
    let (limit, input) = (ready.max_model_len, prompt.len());
    if input == 0 {
        let reason = "The decoder prompt cannot be empty".to_owned();
        return Err(RequestError::Invalid { param: Some("prompt"), reason });
    }
    let vocab_size = ready.codec.vocab_size();
    if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab_size) {
        let reason = format!("Token id {id} is out of vocabulary");
        return Err(RequestError::Invalid { param: Some("prompt"), reason });
    }
    // vLLM stops counting one past the limit.
    if input >= limit {
        return Err(RequestError::PromptTooLong { limit, tokens: input.min(limit + 1) });
    }
    let rest = limit - input;
    match sampling.max_tokens {
        Some(output) if output > rest => {
            Err(RequestError::ContextExceeded { limit, input, output })
        }
        Some(output) => Ok(output),
        None => Ok(default.unwrap_or(rest).min(rest)),
    }
}

impl Generation {
    /// Checks the prompts and hands the sequences to the engine.
    pub(crate) fn start(
        server: &Server,
        ready: &Arc<Ready>,
        new: NewGeneration,
    ) -> Result<Self, ApiError> {
        let choices = new.prompts.len().saturating_mul(new.sampling.n);
        if choices > MAX_CHOICES {
            let reason = format!("prompts times n must be at most {MAX_CHOICES}, got {choices}.");
            return Err(RequestError::Invalid { param: Some("n"), reason }.into());
        }
        let limits = new
            .prompts
            .iter()
            .map(|prompt| max_tokens(prompt, &new.sampling, new.default_max_tokens, ready))
            .collect::<Result<Vec<_>, _>>()?;
        let n = new.sampling.n;
        let mut builder = Builder::new(server, ready, new);
        let prompts = std::mem::take(&mut builder.new.prompts);
        for (prompt, max_tokens) in prompts.iter().zip(limits) {
            for i in 0..n {
                builder.add(prompt, max_tokens, i)?;
            }
        }
        submit(&server.inbox, builder.sequences).map_err(|_| match &*server.phase.borrow() {
            Phase::Dead(reason) => ApiError::EngineDead(reason.clone()),
            _ => ApiError::QueueFull { limit: server.admission.limit() },
        })?;
        Ok(Self {
            id: builder.new.id,
            created: unix_seconds(),
            prompt_tokens: prompts.iter().map(Vec::len).collect(),
            n,
            choices: builder.receivers,
            news: builder.news,
            stage: server.stage.subscribe(),
            _in_flight: builder.new.in_flight,
        })
    }

    /// Waits until at least one choice has something new, and takes all that is new. Empty when everything was
    /// taken.
    pub(crate) async fn next(&mut self) -> Result<Vec<(usize, Flush)>, ApiError> {
        loop {
            let mut flushes = Vec::new();
            let mut open = false;
            for (index, choice) in self.choices.iter().enumerate() {
                // In this order: an end that comes in between is news for the next round.
                let ended = choice.has_ended();
                let flush = choice.take();
                open |= flush.is_none() && !ended;
                flushes.extend(flush.map(|flush| (index, flush)));
            }
            if !flushes.is_empty() || !open {
                return Ok(flushes);
            }
            self.news().await?;
        }
    }

    /// Waits until all choices are done, and takes them whole.
    pub(crate) async fn finish(&mut self) -> Result<Vec<(usize, Flush)>, ApiError> {
        while !self.choices.iter().all(ChoiceReceiver::has_ended) {
            self.news().await?;
        }
        Ok(self.choices.iter().filter_map(ChoiceReceiver::take).enumerate().collect())
    }

    async fn news(&mut self) -> Result<(), ApiError> {
        tokio::select! {
            () = self.news.notified() => Ok(()),
            _ = self.stage.wait_for(|stage| *stage == Stage::Aborting) => Err(ApiError::CutOff),
        }
    }
}

/// Builds both ends of each choice.
struct Builder<'a> {
    server: &'a Server,
    codec: Arc<dyn TextCodec>,
    new: NewGenerationParts,
    rules: Arc<StopRules>,
    news: Arc<Notify>,
    waker: Waker,
    sequences: Vec<NewSequence>,
    receivers: Vec<ChoiceReceiver>,
}

/// A [`NewGeneration`] whose ticket is shared by its choices.
struct NewGenerationParts {
    id: Arc<str>,
    prompts: Vec<Vec<TokenId>>,
    sampling: Sampling,
    timeline: Timeline,
    ticket: Arc<Ticket>,
    in_flight: InFlight,
}

impl<'a> Builder<'a> {
    fn new(server: &'a Server, ready: &Ready, mut new: NewGeneration) -> Self {
        let sampling = &mut new.sampling;
        let strings = std::mem::take(&mut sampling.stop);
        let rules = StopRules {
            strings: Arc::new(StopStrings::new(strings, sampling.include_stop_str_in_output)),
            tokens: std::mem::take(&mut sampling.stop_token_ids),
            ignore_eos: sampling.ignore_eos,
            min_tokens: sampling.min_tokens,
            skip_special_tokens: sampling.skip_special_tokens,
        };
        Self {
            server,
            codec: Arc::clone(&ready.codec),
            new: NewGenerationParts {
                id: new.id,
                prompts: new.prompts,
                sampling: new.sampling,
                timeline: new.timeline,
                ticket: Arc::new(new.ticket),
                in_flight: new.in_flight,
            },
            rules: Arc::new(rules),
            news: Arc::default(),
            waker: Waker(server.inbox.clone()),
            sequences: Vec::new(),
            receivers: Vec::new(),
        }
    }

    /// Choice `i` of a prompt.
    fn add(&mut self, prompt: &[TokenId], max_tokens: usize, i: usize) -> Result<(), TextError> {
        let choice = NewChoice {
            id: Arc::clone(&self.new.id),
            choice: self.receivers.len(),
            timeline: self.new.timeline.clone(),
            prompt_tokens: prompt.len(),
            max_tokens,
        };
        let server = self.server;
        let (sender, receiver) =
            channel(choice, &self.news, &server.telemetry, &self.waker, server.clock);
        let answer = Answer::new(
            sender,
            Arc::clone(&self.codec),
            Arc::clone(&self.rules),
            prompt,
            max_tokens,
            Arc::clone(&self.new.ticket),
        )?;
        let sampling = &self.new.sampling;
        let params = SamplingParams {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            // As vLLM does, so that the choices of a seeded request differ.
            seed: sampling.seed.map(|seed| seed.wrapping_add(i as u64)),
            ..SamplingParams::default()
        };
        self.sequences.push(NewSequence { prompt: prompt.to_vec(), max_tokens, params, answer });
        self.receivers.push(receiver);
        Ok(())
    }
}

/// Records a request whose client goes away before its sequences are with the engine: while the model loads, or
/// while its text is tokenized. How long its prompt is, nobody knows yet.
pub(crate) struct Early {
    id: Arc<str>,
    clock: Clock,
    telemetry: Arc<Telemetry>,
    timeline: Option<Timeline>,
}

impl Early {
    pub(crate) fn new(server: &Server, id: &Arc<str>, arrived: Duration, queued: Duration) -> Self {
        let events = [(arrived, EventKind::Arrived), (queued, EventKind::Queued)];
        Self {
            id: Arc::clone(id),
            clock: server.clock,
            telemetry: Arc::clone(&server.telemetry),
            timeline: Some(events.into_iter().collect()),
        }
    }

    /// The client stayed. Gives the timeline so far.
    pub(crate) fn over(mut self, ready: &Ready) -> Timeline {
        let mut timeline = self.timeline.take().unwrap_or_default();
        if timeline.events().last().is_some_and(|queued| ready.at > queued.at) {
            timeline.push(ready.at, EventKind::ModelReady);
        }
        timeline
    }

    /// The request gets an error.
    pub(crate) fn refused(mut self) {
        self.timeline = None;
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        let Some(mut timeline) = self.timeline.take() else { return };
        timeline.push(self.clock.now(), EventKind::Aborted);
        let summary = RequestSummary {
            finish: FinishReason::Abort,
            prompt_tokens: 0,
            cached_tokens: 0,
            generated_tokens: 0,
            max_tokens: 0,
            preemptions: 0,
        };
        self.telemetry.request(&self.id, 0, &timeline, &summary);
    }
}
