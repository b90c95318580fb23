//! `/generate`, `/generate_stream` and `/info`, as text-generation-inference has them.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use protocol::openai::{Sampling, StopReason, printable};
use protocol::sse;
use protocol::tgi::{
    Details, ErrorResponse, GenerateRequest, GenerateResponse, Info, MAX_STOP_SEQUENCES,
    Parameters, PrefillToken, StreamDetails, StreamResponse, TgiError, Token,
};
use serving::{FinishReason, Logprobs, TokenId};

use super::read_json;
use super::text::off_thread;
use crate::channel::{End, Flush};
use crate::error::ApiError;
use crate::generation::{Early, Generation, NewGeneration, request_id, trace_parent};
use crate::state::{Ready, Server};
use crate::tokens::{self, TokenNames};

/// What goes wrong, in TGI's words.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Tgi(#[from] TgiError),
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Tgi(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Api(ApiError::Request(_) | ApiError::Text(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Api(ApiError::EngineFailed | ApiError::EngineDead(_)) => {
                StatusCode::FAILED_DEPENDENCY
            }
            Self::Api(error) => error.status(),
        }
    }

    fn body(&self) -> ErrorResponse {
        let error_type = match self.status() {
            StatusCode::UNPROCESSABLE_ENTITY => "validation",
            StatusCode::TOO_MANY_REQUESTS => "overloaded",
            StatusCode::FAILED_DEPENDENCY => "generation",
            _ => "unavailable",
        };
        ErrorResponse { error: self.to_string(), error_type: error_type.to_owned() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        if let Self::Api(error) = &self {
            error.add_retry_after(&mut response);
        }
        response
    }
}

/// What one answer is told from.
struct Teller {
    names: TokenNames,
    prompt: String,
    tokens: Vec<TokenId>,
    parameters: Parameters,
    seed: Option<u64>,
}

pub(super) async fn info(State(server): State<Arc<Server>>) -> Result<Json<Info>, Failure> {
    let ready = server.health()?;
    Ok(Json(Info {
        model_id: server.config.served_model_name.clone(),
        model_sha: None,
        model_pipeline_tag: Some("text-generation".to_owned()),
        max_concurrent_requests: server.config.max_queue,
        max_best_of: 1,
        max_stop_sequences: MAX_STOP_SEQUENCES,
        max_input_tokens: ready.max_model_len.saturating_sub(1),
        max_total_tokens: ready.max_model_len,
        validation_workers: 1,
        max_client_batch_size: 1,
        router: "llm-systems-lab",
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
    }))
}

pub(super) async fn generate(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<GenerateResponse>, Failure> {
    let (mut generation, teller) = start(&server, request).await?;
    let flushes = generation.finish().await?;
    let (_, flush) = flushes.into_iter().next().ok_or(ApiError::Internal)?;
    Ok(Json(teller.whole(flush)?))
}

pub(super) async fn generate_stream(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Response, Failure> {
    let (generation, teller) = start(&server, request).await?;
    let told = Told::default();
    let frames = stream::unfold(Some((generation, teller, told)), |state| async {
        let (mut generation, teller, mut told) = state?;
        let mut frames = String::new();
        let more = match generation.next().await {
            Ok(flushes) if flushes.is_empty() => return None,
            Ok(flushes) => flushes.into_iter().try_for_each(|(_, flush)| {
                let events = teller.events(flush, &mut told)?;
                let push = |event| sse::push_frame(&mut frames, event);
                events.iter().try_for_each(push).map_err(|_| ApiError::Internal)
            }),
            Err(error) => Err(error),
        };
        let more = more.map_err(|error| {
            // An error body always has a JSON form.
            let _ = sse::push_frame(&mut frames, &Failure::from(error).body());
        });
        let frames: Result<String, Infallible> = Ok(frames);
        Some((frames, more.is_ok().then_some((generation, teller, told))))
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(frames)).into_response())
}

async fn start(server: &Server, request: Request) -> Result<(Generation, Teller), Failure> {
    let (head, body) = request.into_parts();
    let body = read_json(server, &head.headers, body).await.map_err(ApiError::from)?;
    let arrived = server.clock.now();
    let request = GenerateRequest::parse(&body)?;
    let (ticket, in_flight) = server.admit()?;
    let id = request_id("tgi-", &head.headers);
    let parent = trace_parent(&head.headers);
    let early = Early::new(server, &id, parent, arrived);
    let prepared = prepare(server, request).await;
    let (ready, teller, sampling) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            early.refused();
            return Err(error);
        }
    };
    let new = NewGeneration {
        id,
        prompts: vec![teller.tokens.clone()],
        samplings: vec![sampling],
        token_ids: true,
        parent,
        timeline: early.over(&ready),
        ticket,
        in_flight,
    };
    Ok((Generation::start(server, &ready, new)?, teller))
}

async fn prepare(
    server: &Server,
    request: GenerateRequest,
) -> Result<(Arc<Ready>, Teller, Sampling), Failure> {
    let ready = server.ready().await?;
    let GenerateRequest { inputs, parameters } = request;
    let codec = Arc::clone(&ready.codec);
    let encode = move || Ok((codec.encode(&inputs, true)?, inputs));
    let (mut tokens, prompt) = off_thread(encode).await?;
    if let Some(keep) = parameters.truncate {
        // TGI keeps what is nearest to the answer.
        tokens.drain(..tokens.len().saturating_sub(keep));
    }
    let (limit, given, new) = (ready.max_model_len, tokens.len(), parameters.max_new_tokens());
    if tokens.is_empty() {
        return Err(TgiError::Validation("`inputs` cannot be empty".to_owned()).into());
    }
    if given + new as usize > limit {
        let reason = format!(
            "`inputs` tokens + `max_new_tokens` must be <= {limit}. Given: {given} `inputs` tokens \
             and {new} `max_new_tokens`"
        );
        return Err(TgiError::Validation(reason).into());
    }
    let sampling = sampling(&parameters);
    let names = TokenNames { codec: Arc::clone(&ready.codec), as_ids: false };
    let seed = parameters.seed.filter(|_| parameters.samples());
    Ok((ready, Teller { names, prompt, tokens, parameters, seed }, sampling))
}

fn sampling(parameters: &Parameters) -> Sampling {
    let samples = parameters.samples();
    Sampling {
        n: 1,
        max_tokens: parameters.max_new_tokens() as usize,
        min_tokens: 0,
        temperature: if samples { parameters.temperature.unwrap_or(1.0) as f32 } else { 0.0 },
        top_p: parameters.top_p.unwrap_or(1.0) as f32,
        top_k: parameters.top_k.and_then(|k| usize::try_from(k).ok()),
        min_p: 0.0,
        presence_penalty: 0.0,
        frequency_penalty: parameters.frequency_penalty.unwrap_or(0.0) as f32,
        repetition_penalty: parameters.repetition_penalty.unwrap_or(1.0) as f32,
        seed: parameters.seed,
        stop: parameters.stop.clone(),
        stop_token_ids: Vec::new(),
        logit_bias: Vec::new(),
        allowed_token_ids: None,
        // TGI leaves the stop sequence in the text.
        include_stop_str_in_output: true,
        ignore_eos: false,
        skip_special_tokens: true,
        logprobs: Some(parameters.top_n_tokens.unwrap_or(0) as usize),
        prompt_logprobs: parameters.decoder_input_details.then_some(0),
    }
}

/// How far a stream was told.
#[derive(Default)]
struct Told {
    index: usize,
    text: String,
    tokens: tokens::Told,
}

impl Teller {
    fn finish(end: &End) -> Result<&'static str, ApiError> {
        match end {
            End::Failed => Err(ApiError::EngineFailed),
            End::Finished { reason: FinishReason::Length, .. } => Ok("length"),
            End::Finished { stop: Some(StopReason::Text(_)), .. } => Ok("stop_sequence"),
            End::Finished { .. } => Ok("eos_token"),
        }
    }

    fn token(&self, context: &[TokenId], id: TokenId, logprob: f32) -> Token {
        let shown = self.names.codec.decode(&[id], true).unwrap_or_default();
        let text = self.names.text(context, id);
        Token {
            id,
            special: shown.is_empty() && !text.is_empty(),
            text,
            logprob: printable(logprob),
        }
    }

    /// The next tokens, each named after those before it, and where asked for the likeliest in its place.
    fn tokens(
        &self,
        told: &mut tokens::Told,
        logprobs: &[Logprobs],
    ) -> (Vec<Token>, Vec<Vec<Token>>) {
        let next = |l: &Logprobs| {
            let context = told.context();
            let top = l.top.iter().map(|t| self.token(context, t.token, t.logprob)).collect();
            let chosen = self.token(context, l.chosen.token, l.chosen.logprob);
            told.note(l.chosen.token);
            (chosen, top)
        };
        let (tokens, top): (Vec<Token>, Vec<Vec<Token>>) = logprobs.iter().map(next).unzip();
        let wanted = self.parameters.top_n_tokens.is_some_and(|n| n > 0);
        (tokens, if wanted { top } else { Vec::new() })
    }

    fn text(&self, generated: &str) -> String {
        let full = self.parameters.return_full_text == Some(true);
        format!("{}{generated}", if full { self.prompt.as_str() } else { "" })
    }

    fn prefill(&self, scores: &[Logprobs]) -> Vec<PrefillToken> {
        if !self.parameters.decoder_input_details {
            return Vec::new();
        }
        let scores = std::iter::once(None).chain(scores.iter().map(|l| Some(l.chosen.logprob)));
        let at = |((i, &id), score): ((usize, &TokenId), Option<f32>)| PrefillToken {
            id,
            text: self.names.text(&self.tokens[..i], id),
            logprob: score.map(printable),
        };
        self.tokens.iter().enumerate().zip(scores).map(at).collect()
    }

    fn whole(&self, flush: Flush) -> Result<GenerateResponse, ApiError> {
        let finish_reason = Self::finish(flush.end.as_ref().ok_or(ApiError::Internal)?)?;
        let details = self.parameters.details || self.parameters.decoder_input_details;
        let details = details.then(|| {
            let (tokens, top_tokens) = self.tokens(&mut tokens::Told::default(), &flush.logprobs);
            Details {
                finish_reason,
                generated_tokens: flush.generated,
                seed: self.seed,
                prefill: self.prefill(&flush.prompt_logprobs),
                tokens,
                top_tokens,
            }
        });
        Ok(GenerateResponse { generated_text: self.text(&flush.text), details })
    }

    /// One event a token; the last one has the whole text.
    fn events(&self, flush: Flush, told: &mut Told) -> Result<Vec<StreamResponse>, ApiError> {
        let (tokens, top) = self.tokens(&mut told.tokens, &flush.logprobs);
        told.text.push_str(&flush.text);
        let mut events: Vec<StreamResponse> = Vec::with_capacity(tokens.len());
        for (i, token) in tokens.into_iter().enumerate() {
            told.index += 1;
            let top_tokens = top.get(i).cloned().unwrap_or_default();
            let index = told.index;
            events.push(StreamResponse {
                index,
                token,
                top_tokens,
                generated_text: None,
                details: None,
            });
        }
        if let (Some(end), Some(last)) = (&flush.end, events.last_mut()) {
            last.generated_text = Some(self.text(&told.text));
            last.details = Some(StreamDetails {
                finish_reason: Self::finish(end)?,
                generated_tokens: flush.generated,
                seed: self.seed,
                input_length: self.tokens.len(),
            });
        } else if flush.end == Some(End::Failed) {
            return Err(ApiError::EngineFailed);
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests;
