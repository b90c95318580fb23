//! `/tokenize` and `/detokenize`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use protocol::openai::{
    DetokenizeRequest, DetokenizeResponse, Message, RequestError, TokenizeInput, TokenizeRequest,
    TokenizeResponse,
};
use serving::{ChatMessage, TextCodec, TextError};

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
) -> Result<String, ApiError> {
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
    Ok(codec.apply_chat_template(&messages)?)
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
    let (tokens, token_strs) = off_thread(move || {
        let codec = ready.codec.as_ref();
        let add_special = request.add_special_tokens;
        let tokens = match request.input {
            TokenizeInput::Prompt(text) => codec.encode(&text, add_special)?,
            TokenizeInput::Messages(messages) => {
                codec.encode(&chat_prompt(codec, messages)?, add_special)?
            }
        };
        let text = |&token| codec.decode(&[token], false);
        let strs = request.return_token_strs.then(|| tokens.iter().map(text).collect());
        Ok((tokens, strs.transpose()?))
    })
    .await?;
    Ok(Json(TokenizeResponse { count: tokens.len(), max_model_len, tokens, token_strs }))
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
