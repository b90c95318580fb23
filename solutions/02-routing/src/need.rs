//! Given: what a request needs, read from its body and its headers.
//!
//! A router does not tokenize: that costs more than routing, and needs the model's vocabulary. So it only knows within
//! which bounds a prompt's length lies; the engine counts.

use protocol::features::Features;
pub use protocol::wishes::{COST_HEADER, DOWNGRADE_HEADER, TIER_HEADER};

use crate::catalogue::{Feature, FeatureSet, Tier};

/// A token of text is hardly ever longer than this on average, in bytes: a shorter prompt it cannot be.
pub const LONG_TOKEN: u64 = 8;
/// English has about four bytes a token, code and other languages less: this errs on the safe side.
pub const SHORT_TOKEN: u64 = 3;
/// A picture of 224 x 224 in patches of 28 x 28 (Qwen2-VL) is 64 tokens.
pub const SMALL_PICTURE: u64 = 64;
/// What a picture, a sound or a film takes, where one has to guess.
pub const USUAL_MEDIUM: u64 = 1000;

/// What a request asks for: its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
}

impl Api {
    /// By its path; `None` for a path that no model answers.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        match path {
            "/v1/chat/completions" => Some(Self::Chat),
            "/v1/completions" => Some(Self::Completions),
            "/v1/embeddings" => Some(Self::Embeddings),
            _ => None,
        }
    }

    /// The field of its body that holds what the model reads.
    #[must_use]
    pub fn input_field(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completions => "prompt",
            Self::Embeddings => "input",
        }
    }
}

/// The length of something that nobody has tokenized yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Length {
    /// It has at least so many tokens.
    pub least: u64,
    /// It probably has no more than so many.
    pub likely: u64,
}

/// What headers say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// From [`TIER_HEADER`].
    pub tier: Option<Tier>,
    /// From [`COST_HEADER`], in nano-dollars.
    pub max_cost: Option<u64>,
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need<'a> {
    /// A model, a model and its version, an adapter or an alias.
    pub model: &'a str,
    /// What it asks for.
    pub api: Api,
    /// What whoever serves it must be able to do.
    pub features: FeatureSet,
    /// What is to be read.
    pub input: Length,
    /// Tokens that are to be generated at most. 1 where the client does not say: the engine then stops at the end of
    /// its context.
    pub output: u64,
    /// What the client said in headers.
    pub wishes: Wishes,
}

// === impl Need ===

impl<'a> Need<'a> {
    /// Reads it off a body's features.
    #[must_use]
    pub fn of(api: Api, body: &'a Features<'_>, wishes: Wishes) -> Self {
        let media = u64::from(body.images) + u64::from(body.audios) + u64::from(body.videos);
        let input = Length {
            least: body.text_bytes / LONG_TOKEN
                + body.token_ids
                + SMALL_PICTURE * u64::from(body.images),
            likely: body.text_bytes.div_ceil(SHORT_TOKEN) + body.token_ids + USUAL_MEDIUM * media,
        };
        let output = match api {
            Api::Embeddings => 0,
            Api::Chat | Api::Completions => body.max_tokens.unwrap_or(1),
        };
        let features = FeatureSet::default()
            .with(Feature::Chat, api == Api::Chat)
            .with(Feature::Completions, api == Api::Completions)
            .with(Feature::Embeddings, api == Api::Embeddings)
            .with(Feature::Images, body.images > 0)
            .with(Feature::Audio, body.audios > 0)
            .with(Feature::Video, body.videos > 0)
            .with(Feature::Tools, body.tools)
            .with(Feature::StructuredOutputs, body.structured);
        let model = body.model.as_deref().unwrap_or_default();
        Self { model, api, features, input, output, wishes }
    }
}

impl Wishes {
    /// Reads them off the two headers. What cannot be read is no wish.
    #[must_use]
    pub fn of(tier: Option<&str>, max_cost: Option<&str>) -> Self {
        Self {
            tier: tier.and_then(|word| Tier::named(word.trim())),
            max_cost: max_cost.and_then(|text| text.trim().parse().ok()),
        }
    }
}
