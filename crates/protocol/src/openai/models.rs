//! `GET /v1/models`.

use serde::Serialize;

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelList {
    object: &'static str,
    data: Vec<ModelCard>,
}

impl ModelList {
    /// The one model of this server.
    #[must_use]
    pub fn of(card: ModelCard) -> Self {
        Self::all(vec![card])
    }

    /// The models of a service.
    #[must_use]
    pub fn all(data: Vec<ModelCard>) -> Self {
        Self { object: "list", data }
    }
}

/// A model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelCard {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    root: String,
    parent: Option<()>,
    max_model_len: usize,
    permission: Vec<Permission>,
}

/// What the OpenAI API once said about who may do what; vLLM still says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Permission {
    id: String,
    object: &'static str,
    created: u64,
    allow_create_engine: bool,
    allow_sampling: bool,
    allow_logprobs: bool,
    allow_search_indices: bool,
    allow_view: bool,
    allow_fine_tuning: bool,
    organization: &'static str,
    group: Option<()>,
    is_blocking: bool,
}

impl ModelCard {
    /// A model. `created` is in seconds since 1970.
    #[must_use]
    pub fn new(id: &str, created: u64, max_model_len: usize) -> Self {
        let permission = Permission {
            id: format!("modelperm-{:016x}", fnv1a(id.as_bytes())),
            object: "model_permission",
            created,
            allow_create_engine: false,
            allow_sampling: true,
            allow_logprobs: true,
            allow_search_indices: false,
            allow_view: true,
            allow_fine_tuning: false,
            organization: "*",
            group: None,
            is_blocking: false,
        };
        Self {
            id: id.to_owned(),
            object: "model",
            created,
            owned_by: "llm-systems-lab",
            root: id.to_owned(),
            parent: None,
            max_model_len,
            permission: vec![permission],
        }
    }
}

/// A number that looks random and is the same for the same text (Fowler, Noll, Vo).
fn fnv1a(text: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
