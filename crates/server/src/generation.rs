//! A request on its way through the engine: from prompts to the flushes of its choices.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use protocol::openai::{MAX_CHOICES, RequestError, Sampling, SamplingFields};
use protocol::traceparent::{self, TraceParent};
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

/// Who called, where a header says so.
pub(crate) fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let value = headers.get(traceparent::HEADER)?;
    TraceParent::parse(value.to_str().ok()?)
}

/// A request that may run.
pub(crate) struct NewGeneration {
    pub(crate) id: Arc<str>,
    pub(crate) prompts: Vec<Vec<TokenId>>,
    /// One a prompt, all the same but for `max_tokens`.
    pub(crate) samplings: Vec<Sampling>,
    /// Whether the client wants to know which tokens its answers are made of.
    pub(crate) token_ids: bool,
    /// Who called, where it said so.
    pub(crate) parent: Option<TraceParent>,
    /// What happened so far.
    pub(crate) timeline: Timeline,
    pub(crate) ticket: Ticket,
    pub(crate) in_flight: InFlight,
}

/// A request that runs. Dropping it aborts what is not finished.
pub(crate) struct Generation {
    pub(crate) id: Arc<str>,
    pub(crate) created: u64,
    choices: Vec<ChoiceReceiver>,
    news: Arc<Notify>,
    stage: watch::Receiver<Stage>,
    /// Last, so that a drain is over only when the choices above are gone.
    _in_flight: InFlight,
}

/// Checks the fields' values against prompts whose lengths are known, in vLLM's order.
pub(crate) fn check(
    prompts: &[Vec<TokenId>],
    fields: &SamplingFields,
    echo_only: bool,
    ready: &Ready,
) -> Result<Vec<Sampling>, RequestError> {
    let invalid = |reason: &str| RequestError::Invalid { param: None, reason: reason.to_owned() };
    if prompts.is_empty() {
        return Err(invalid("You must pass at least one prompt"));
    }
    let (limit, vocab_size) = (ready.max_model_len, ready.codec.vocab_size());
    // vLLM stops counting one past the limit.
    if let Some(prompt) = prompts.iter().find(|prompt| prompt.len() > limit) {
        return Err(RequestError::PromptTooLong { limit, tokens: prompt.len().min(limit + 1) });
    }
    let mut samplings = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let sampling = fields.check(limit - prompt.len(), vocab_size, echo_only)?;
        if prompt.is_empty() {
            return Err(invalid("The decoder prompt cannot be empty"));
        }
        if prompt.len() == limit {
            return Err(invalid("The prompt fills the context and leaves no room for an answer."));
        }
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(invalid(&format!("Token id {id} is out of vocabulary")));
        }
        samplings.push(sampling);
    }
    let choices = prompts.len().saturating_mul(samplings[0].n);
    if choices > MAX_CHOICES {
        return Err(invalid(&format!(
            "prompts times n must be at most {MAX_CHOICES}, got {choices}."
        )));
    }
    Ok(samplings)
}

impl Generation {
    /// Hands the sequences to the engine.
    pub(crate) fn start(
        server: &Server,
        ready: &Arc<Ready>,
        new: NewGeneration,
    ) -> Result<Self, ApiError> {
        let mut builder = Builder::new(server, ready, new);
        let prompts = std::mem::take(&mut builder.new.prompts);
        let samplings = std::mem::take(&mut builder.new.samplings);
        for (prompt, sampling) in prompts.iter().zip(&samplings) {
            server.telemetry.own.asked(sampling.n);
            for i in 0..sampling.n {
                builder.add(prompt, sampling, i)?;
            }
        }
        submit(&server.inbox, builder.sequences).map_err(|_| match &*server.phase.borrow() {
            Phase::Dead(reason) => ApiError::EngineDead(reason.clone()),
            _ => ApiError::QueueFull { limit: server.admission.limit() },
        })?;
        Ok(Self {
            id: builder.new.id,
            created: unix_seconds(),
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
    samplings: Vec<Sampling>,
    parent: Option<TraceParent>,
    timeline: Timeline,
    ticket: Arc<Ticket>,
    in_flight: InFlight,
}

impl<'a> Builder<'a> {
    fn new(server: &'a Server, ready: &Ready, new: NewGeneration) -> Self {
        // All prompts have the same rules; without a prompt, nobody reads them.
        let sampling = new.samplings.first();
        let stop = sampling.map(|s| s.stop.clone()).unwrap_or_default();
        let include = sampling.is_some_and(|s| s.include_stop_str_in_output);
        let rules = StopRules {
            strings: Arc::new(StopStrings::new(stop, include)),
            tokens: sampling.map(|s| s.stop_token_ids.clone()).unwrap_or_default(),
            ignore_eos: sampling.is_some_and(|s| s.ignore_eos),
            min_tokens: sampling.map_or(0, |s| s.min_tokens),
            skip_special_tokens: sampling.is_none_or(|s| s.skip_special_tokens),
            include_stop: include,
            token_ids: new.token_ids,
        };
        Self {
            server,
            codec: Arc::clone(&ready.codec),
            new: NewGenerationParts {
                id: new.id,
                prompts: new.prompts,
                samplings: new.samplings,
                parent: new.parent,
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
    fn add(&mut self, prompt: &[TokenId], sampling: &Sampling, i: usize) -> Result<(), TextError> {
        let max_tokens = sampling.max_tokens;
        let choice = NewChoice {
            id: Arc::clone(&self.new.id),
            choice: self.receivers.len(),
            parent: self.new.parent,
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
        let params = params(sampling, self.codec.eos_tokens(), i);
        self.sequences.push(NewSequence { prompt: prompt.to_vec(), max_tokens, params, answer });
        self.receivers.push(receiver);
        Ok(())
    }
}

/// What the executor must know. Choice `i` of a seeded request draws from a stream of its own.
fn params(sampling: &Sampling, eos: &[TokenId], i: usize) -> SamplingParams {
    let stop_tokens =
        if sampling.min_tokens > 0 { [eos, &sampling.stop_token_ids].concat() } else { Vec::new() };
    SamplingParams {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        // As vLLM does, so that the choices of a seeded request differ.
        seed: sampling.seed.map(|seed| seed.wrapping_add(i as u64)),
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        repetition_penalty: sampling.repetition_penalty,
        logit_bias: sampling.logit_bias.clone(),
        allowed_tokens: sampling.allowed_token_ids.clone(),
        min_tokens: sampling.min_tokens,
        stop_tokens,
        logprobs: sampling.logprobs,
        prompt_logprobs: sampling.prompt_logprobs,
    }
}

/// Records a request whose client goes away before its sequences are with the engine: while the model loads, or
/// while its text is tokenized. How long its prompt is, nobody knows yet.
pub(crate) struct Early {
    id: Arc<str>,
    parent: Option<TraceParent>,
    clock: Clock,
    telemetry: Arc<Telemetry>,
    timeline: Option<Timeline>,
}

impl Early {
    pub(crate) fn new(
        server: &Server,
        id: &Arc<str>,
        parent: Option<TraceParent>,
        arrived: Duration,
    ) -> Self {
        Self {
            id: Arc::clone(id),
            parent,
            clock: server.clock,
            telemetry: Arc::clone(&server.telemetry),
            timeline: Some([(arrived, EventKind::Arrived)].into_iter().collect()),
        }
    }

    /// The client stayed, and its text is tokens: it goes to the scheduler's queue. Gives the timeline so far.
    pub(crate) fn over(mut self, ready: &Ready) -> Timeline {
        let mut timeline = self.timeline.take().unwrap_or_default();
        if timeline.events().last().is_some_and(|arrived| ready.at > arrived.at) {
            timeline.push(ready.at, EventKind::ModelReady);
        }
        timeline.push(self.clock.now(), EventKind::Queued);
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
        self.telemetry.request(&self.id, 0, self.parent, &timeline, &summary);
    }
}
