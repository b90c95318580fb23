//! `/v1/completions` and `/v1/chat/completions`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use protocol::openai::{
    ChatRequest, CompletionRequest, Prompt, RequestError, Sampling, SamplingFields, StreamOptions,
};
use protocol::sse;
use serving::TextCodec;

use super::read_json;
use super::text::{chat_prompt, off_thread};
use crate::error::ApiError;
use crate::frames::{Api, Framer, Head, PromptText, Tell};
use crate::generation::{Early, Generation, NewGeneration, check, request_id, trace_parent};
use crate::state::{Ready, Server};
use crate::tokens::TokenNames;

/// A request of either API, its values not checked yet.
struct Asked {
    api: Api,
    model: Option<String>,
    /// Why it cannot be served, whatever else it says.
    refused: Option<RequestError>,
    sampling: SamplingFields,
    stream: Option<StreamOptions>,
    tell: Tell,
}

pub(super) async fn completions(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let body = read_json(&server, &head.headers, body).await?;
    let arrived = server.clock.now();
    let request = CompletionRequest::parse(&body)?;
    let echo = request.echo;
    let asked = Asked {
        api: Api::Completion,
        model: request.model,
        refused: request.suffix.map(|_| RequestError::Invalid {
            param: Some("suffix"),
            reason: "suffix is only supported for models that can fill in the middle".to_owned(),
        }),
        tell: Tell {
            extras: request.extras,
            echo,
            echo_only: echo && request.sampling.max_tokens == Some(0),
            ..Tell::default()
        },
        sampling: request.sampling,
        stream: request.stream,
    };
    let (prompts, add_special) = (request.prompts, request.add_special_tokens);
    respond(&server, &head.headers, arrived, asked, move |codec| {
        let encode = |prompt| match prompt {
            Prompt::Text(text) => {
                let tokens = codec.encode(&text, add_special)?;
                Ok(PromptText { tokens, text: if echo { text } else { String::new() } })
            }
            Prompt::Tokens(tokens) => {
                // Tokens that the model does not know are refused later, with the rest of the values.
                let text = if echo { codec.decode(&tokens, false) } else { Ok(String::new()) };
                Ok(PromptText { text: text.unwrap_or_default(), tokens })
            }
        };
        prompts.into_iter().map(encode).collect()
    })
    .await
}

pub(super) async fn chat(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let body = read_json(&server, &head.headers, body).await?;
    let arrived = server.clock.now();
    let request = ChatRequest::parse(&body)?;
    let last = request.messages.last().filter(|last| request.echo && last.role == "assistant");
    let asked = Asked {
        api: Api::Chat,
        model: request.model,
        refused: request
            .refused
            .map(|reason| RequestError::Invalid { param: None, reason: reason.to_owned() }),
        tell: Tell {
            extras: request.extras,
            said_before: last.map(|last| last.content.clone()).unwrap_or_default(),
            ..Tell::default()
        },
        sampling: request.sampling,
        stream: request.stream,
    };
    let (messages, add_special) = (request.messages, request.add_special_tokens);
    respond(&server, &head.headers, arrived, asked, move |codec| {
        let text = chat_prompt(codec, messages)?;
        Ok(vec![PromptText { tokens: codec.encode(&text, add_special)?, text }])
    })
    .await
}

/// Admits a request, waits for the model where it must, runs it, and answers.
async fn respond(
    server: &Server,
    headers: &HeaderMap,
    arrived: Duration,
    asked: Asked,
    encode: impl FnOnce(&dyn TextCodec) -> Result<Vec<PromptText>, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    server.check_model(asked.model.as_deref())?;
    let (ticket, in_flight) = server.admit()?;
    let id = request_id(asked.api.id_prefix(), headers);
    let parent = trace_parent(headers);
    let early = Early::new(server, &id, parent, arrived);
    let (prompts, samplings, ready) = match prepare(server, &asked, encode).await {
        Ok(prepared) => prepared,
        Err(error) => {
            early.refused();
            return Err(error);
        }
    };
    let n = samplings[0].n;
    let mut tell = asked.tell;
    tell.logprobs = samplings[0].logprobs;
    tell.prompt_logprobs = samplings[0].prompt_logprobs.is_some();
    let new = NewGeneration {
        id,
        prompts: prompts.iter().map(|prompt| prompt.tokens.clone()).collect(),
        samplings,
        token_ids: tell.extras.token_ids,
        parent,
        timeline: early.over(&ready),
        ticket,
        in_flight,
    };
    let mut generation = Generation::start(server, &ready, new)?;
    let names = TokenNames { codec: Arc::clone(&ready.codec), as_ids: tell.extras.tokens_as_ids };
    let head = Head {
        api: asked.api,
        id: generation.id.to_string(),
        created: generation.created,
        model: server.config.served_model_name.clone(),
        prompts,
        n,
        tell,
        names,
    };
    match asked.stream {
        Some(options) => Ok(stream(generation, Framer::new(head, options))),
        None => {
            let body = head.whole(generation.finish().await?)?;
            Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
        }
    }
}

/// Prompts as tokens, and the values of all fields checked.
async fn prepare(
    server: &Server,
    asked: &Asked,
    encode: impl FnOnce(&dyn TextCodec) -> Result<Vec<PromptText>, ApiError> + Send + 'static,
) -> Result<(Vec<PromptText>, Vec<Sampling>, Arc<Ready>), ApiError> {
    let ready = server.ready().await?;
    if let Some(refused) = &asked.refused {
        return Err(refused.clone().into());
    }
    asked.sampling.check_context(ready.max_model_len)?;
    let codec = Arc::clone(&ready.codec);
    let mut prompts = off_thread(move || encode(codec.as_ref())).await?;
    for prompt in &mut prompts {
        asked.sampling.truncate(&mut prompt.tokens, ready.max_model_len);
    }
    let tokens: Vec<_> = prompts.iter().map(|prompt| prompt.tokens.clone()).collect();
    let samplings = check(&tokens, &asked.sampling, asked.tell.echo_only, &ready)?;
    Ok((prompts, samplings, ready))
}

/// A response whose body follows the generation. Dropped with the connection, and the generation with it.
fn stream(generation: Generation, framer: Framer) -> Response {
    let frames = stream::unfold(Some((generation, framer)), |state| async {
        let (mut generation, mut framer) = state?;
        let (frames, more) = match generation.next().await {
            Ok(flushes) if flushes.is_empty() => (framer.end(), false),
            Ok(flushes) => (framer.frames(flushes), true),
            Err(error) => (Err(error), false),
        };
        let (frames, more) = match frames {
            Ok(frames) => (frames, more),
            Err(error) => (Framer::error(&error), false),
        };
        let frames: Result<String, std::convert::Infallible> = Ok(frames);
        Some((frames, more.then_some((generation, framer))))
    });
    let headers = [(header::CONTENT_TYPE, sse::CONTENT_TYPE), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(frames)).into_response()
}
