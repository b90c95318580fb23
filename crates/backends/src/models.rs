//! Which models a server has, and how long a context they take.

use serde::Deserialize;

use crate::Kind;

/// The most models that are kept of a list.
pub const MAX_MODELS: usize = 1024;

/// A model, or an adapter, that requests may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What a request calls it.
    pub id: String,
    /// The most tokens of a prompt and its answer together, where the server says it.
    pub max_context: Option<u32>,
    /// The model that this is an adapter of.
    pub adapter_of: Option<String>,
}

/// A body that is not what the path should answer.
#[derive(Debug, thiserror::Error)]
#[error("{kind}: {path} does not answer as expected: {reason}")]
pub struct BodyError {
    /// Whose answer it should be.
    pub kind: Kind,
    /// The path that was asked.
    pub path: &'static str,
    /// What is wrong.
    pub reason: serde_json::Error,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Card>,
}

/// OpenAI's card, with what servers add to it.
#[derive(Deserialize)]
struct Card {
    id: String,
    #[serde(default)]
    owned_by: String,
    /// vLLM, SGLang, and our engine.
    max_model_len: Option<u32>,
    parent: Option<String>,
    /// llama.cpp.
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    /// Of one slot. What `n_ctx_train` says the model could do is not what the server does.
    n_ctx: Option<u32>,
}

/// Fields of [`Routes::about`](crate::Routes::about), whichever server answers.
#[derive(Deserialize)]
struct About {
    /// TGI's `/info`.
    max_total_tokens: Option<u32>,
    /// llama.cpp's `/props`.
    default_generation_settings: Option<Meta>,
}

/// The models of a server, from the answer of [`Routes::models`](crate::Routes::models).
///
/// # Errors
/// [`BodyError`] if it is no list of models.
pub fn read_models(kind: Kind, body: &[u8]) -> Result<Vec<Model>, BodyError> {
    let path = kind.routes().models;
    let list: List =
        serde_json::from_slice(body).map_err(|reason| BodyError { kind, path, reason })?;
    let model = |card: Card| Model {
        id: card.id,
        max_context: card.max_model_len.or(card.meta.and_then(|meta| meta.n_ctx)),
        adapter_of: card.parent,
    };
    Ok(list.data.into_iter().take(MAX_MODELS).map(model).collect())
}

/// The longest context, from the answer of [`Routes::about`](crate::Routes::about). `None`: it does not say.
///
/// # Errors
/// [`BodyError`] if it is no object.
pub fn read_max_context(kind: Kind, body: &[u8]) -> Result<Option<u32>, BodyError> {
    let path = kind.routes().about.unwrap_or_default();
    let about: About =
        serde_json::from_slice(body).map_err(|reason| BodyError { kind, path, reason })?;
    let slot = about.default_generation_settings.and_then(|settings| settings.n_ctx);
    Ok(about.max_total_tokens.or(slot))
}

/// Who says that it owns the first model of a list: the surest sign of which server this is.
pub(crate) fn owner(body: &[u8]) -> Option<(String, String)> {
    let list: List = serde_json::from_slice(body).ok()?;
    list.data.into_iter().next().map(|card| (card.owned_by, card.id))
}
