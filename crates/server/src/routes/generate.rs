//! `/v1/completions` and `/v1/chat/completions`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use protocol::openai::{
    ChatRequest, CompletionRequest, Prompt, Sampling, SamplingFields, StreamOptions,
};
use protocol::sse;
use serving::{TextCodec, TokenId};

use super::read_json;
use super::text::{chat_prompt, off_thread};
use crate::error::ApiError;
use crate::frames::{Api, Framer, Head};
use crate::generation::{Early, Generation, NewGeneration, request_id};
use crate::state::Server;

/// vLLM's `max_tokens` for completions that give none.
const DEFAULT_COMPLETION_TOKENS: usize = 16;

/// A request of either API, its values not checked yet.
struct Asked {
    api: Api,
    model: Option<String>,
    sampling: SamplingFields,
    stream: Option<StreamOptions>,
    default_max_tokens: Option<usize>,
}

pub(super) async fn completions(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let body = read_json(&server, &head.headers, body).await?;
    let arrived = server.clock.now();
    let request = CompletionRequest::parse(&body)?;
    let asked = Asked {
        api: Api::Completion,
        model: request.model,
        sampling: request.sampling,
        stream: request.stream,
        default_max_tokens: Some(DEFAULT_COMPLETION_TOKENS),
    };
    let (prompts, add_special) = (request.prompts, request.add_special_tokens);
    respond(&server, &head.headers, arrived, asked, move |codec| {
        let encode = |prompt| match prompt {
            Prompt::Text(text) => Ok(codec.encode(&text, add_special)?),
            Prompt::Tokens(tokens) => Ok(tokens),
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
    let asked = Asked {
        api: Api::Chat,
        model: request.model,
        sampling: request.sampling,
        stream: request.stream,
        default_max_tokens: None,
    };
    let (messages, add_special) = (request.messages, request.add_special_tokens);
    respond(&server, &head.headers, arrived, asked, move |codec| {
        Ok(vec![chat_prompt(codec, messages, add_special)?])
    })
    .await
}

/// Admits a request, waits for the model where it must, runs it, and answers.
async fn respond(
    server: &Server,
    headers: &HeaderMap,
    arrived: Duration,
    asked: Asked,
    encode: impl FnOnce(&dyn TextCodec) -> Result<Vec<Vec<TokenId>>, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    server.check_model(asked.model.as_deref())?;
    let sampling: Sampling = asked.sampling.check()?;
    let (ticket, in_flight) = server.admit()?;
    let queued = server.clock.now();
    let id = request_id(asked.api.id_prefix(), headers);
    let early = Early::new(server, &id, arrived, queued);
    let prompts = async {
        let ready = server.ready().await?;
        let codec = Arc::clone(&ready.codec);
        Ok((off_thread(move || encode(codec.as_ref())).await?, ready))
    };
    let (prompts, ready) = match prompts.await {
        Ok(prompts) => prompts,
        Err(error) => {
            early.refused();
            return Err(error);
        }
    };
    let new = NewGeneration {
        id,
        prompts,
        sampling,
        default_max_tokens: asked.default_max_tokens,
        timeline: early.over(&ready),
        ticket,
        in_flight,
    };
    let mut generation = Generation::start(server, &ready, new)?;
    let head = Head {
        api: asked.api,
        id: generation.id.to_string(),
        created: generation.created,
        model: server.config.served_model_name.clone(),
        prompt_tokens: generation.prompt_tokens.clone(),
        n: generation.n,
    };
    match asked.stream {
        Some(options) => Ok(stream(generation, Framer::new(head, options))),
        None => {
            let body = head.whole(generation.finish().await?)?;
            Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
        }
    }
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
