//! `/tokenize` and `/detokenize`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use protocol::openai::{
    DetokenizeRequest, DetokenizeResponse, Message, RequestError, TokenizeInput, TokenizeRequest,
    TokenizeResponse,
};
use serving::{ChatMessage, TextCodec, TextError, TokenId};

use super::read_json;
use crate::error::ApiError;
use crate::state::Server;

/// Work on text takes as long as the text is: it must not hold up other requests.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Internal)?
}

/// The prompt of a conversation.
pub(super) fn chat_prompt(
    codec: &dyn TextCodec,
    messages: Vec<Message>,
    add_special: bool,
) -> Result<Vec<TokenId>, ApiError> {
    if messages.is_empty() {
        let reason = "Cannot apply chat template to an empty conversation. Provide at least one \
                      message."
            .to_owned();
        return Err(RequestError::Invalid { param: None, reason }.into());
    }
    let messages: Vec<ChatMessage> = messages
        .into_iter()
        .map(|Message { role, content }| ChatMessage { role, content })
        .collect();
    let prompt = codec.apply_chat_template(&messages)?;
    Ok(codec.encode(&prompt, add_special)?)
}

pub(super) async fn tokenize(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let (head, body) = request.into_parts();
    let body = read_json(&server, &head.headers, body).await?;
    let request = TokenizeRequest::parse(&body)?;
    server.check_model(request.model.as_deref())?;
    let (_ticket, _in_flight) = server.admit()?;
    let ready = server.ready().await?;
    let max_model_len = ready.max_model_len;
    let tokens = off_thread(move || match request.input {
        TokenizeInput::Prompt(text) => Ok(ready.codec.encode(&text, request.add_special_tokens)?),
        TokenizeInput::Messages(messages) => {
            chat_prompt(ready.codec.as_ref(), messages, request.add_special_tokens)
        }
    })
    .await?;
    Ok(Json(TokenizeResponse { count: tokens.len(), max_model_len, tokens, token_strs: None }))
}

pub(super) async fn detokenize(
    State(server): State<Arc<Server>>,
    request: Request,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let (head, body) = request.into_parts();
    let body = read_json(&server, &head.headers, body).await?;
    let request = DetokenizeRequest::parse(&body)?;
    server.check_model(request.model.as_deref())?;
    let (_ticket, _in_flight) = server.admit()?;
    let ready = server.ready().await?;
    let prompt = off_thread(move || {
        let vocab_size = ready.codec.vocab_size();
        if let Some(&token) = request.tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(TextError::OutOfVocabulary { token, vocab_size }.into());
        }
        Ok(ready.codec.decode(&request.tokens, false)?)
    })
    .await?;
    Ok(Json(DetokenizeResponse { prompt }))
}
