//! Given: what is deployed, what each deployment can do, and what it costs.
//!
//! Written by operators, read by task 2.3. Knows no endpoint: how many replicas there are, and how they fare, changes
//! by the second; this does not.

use std::collections::BTreeMap;
use std::fmt;

/// Something that a request may need and that not every model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "live", derive(serde::Deserialize), serde(rename_all = "snake_case"))]
#[repr(u8)]
pub enum Feature {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
    /// Pictures in messages.
    Images,
    /// Sounds in messages.
    Audio,
    /// Films in messages.
    Video,
    /// Calls of functions.
    Tools,
    /// Answers that follow a grammar or a JSON schema.
    StructuredOutputs,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Chat,
        Self::Completions,
        Self::Embeddings,
        Self::Images,
        Self::Audio,
        Self::Video,
        Self::Tools,
        Self::StructuredOutputs,
    ];

    /// The field of a request that asks for it.
    #[must_use]
    pub fn param(self) -> &'static str {
        match self {
            Self::Chat | Self::Completions | Self::Embeddings => "model",
            Self::Images | Self::Audio | Self::Video => "messages",
            Self::Tools => "tools",
            Self::StructuredOutputs => "response_format",
        }
    }

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Images => "images",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Tools => "tools",
            Self::StructuredOutputs => "structured outputs",
        }
    }
}

/// Some features, as bits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FeatureSet(u16);

// === impl FeatureSet ===

impl FeatureSet {
    /// These.
    #[must_use]
    pub fn of(features: &[Feature]) -> Self {
        features.iter().fold(Self::default(), |set, feature| set.with(*feature, true))
    }

    /// And one more, if `wanted`.
    #[must_use]
    pub fn with(self, feature: Feature, wanted: bool) -> Self {
        Self(self.0 | u16::from(wanted) << feature as u8)
    }

    /// Whether it is among them.
    #[must_use]
    pub fn has(self, feature: Feature) -> bool {
        self.0 >> feature as u8 & 1 == 1
    }

    /// The first of these that `others` does not have.
    #[must_use]
    pub fn first_missing_in(self, others: Self) -> Option<Feature> {
        Feature::ALL.into_iter().find(|feature| self.has(*feature) && !others.has(*feature))
    }
}

impl fmt::Debug for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(Feature::ALL.into_iter().filter(|feature| self.has(*feature)))
            .finish()
    }
}

/// How good the answers are, as the operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "live", derive(serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Tier {
    /// Cheap and quick.
    Economy,
    /// What most get.
    Standard,
    /// The best there is.
    Premium,
}

impl Tier {
    /// The word in headers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Economy => "economy",
            Self::Standard => "standard",
            Self::Premium => "premium",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Economy, Self::Standard, Self::Premium]
            .into_iter()
            .find(|tier| tier.as_str().eq_ignore_ascii_case(word))
    }

    /// How many tiers this one is below `wanted`.
    #[must_use]
    pub fn below(self, wanted: Self) -> u8 {
        (wanted as u8).saturating_sub(self as u8)
    }
}

/// In nano-dollars a token: 150 is 0.15 dollars a million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    /// Of a token that is read.
    pub input: u64,
    /// Of a token that is generated.
    pub output: u64,
}

impl Price {
    /// Of a whole request, in nano-dollars.
    #[must_use]
    pub fn of(self, input_tokens: u64, output_tokens: u64) -> u64 {
        let input = self.input.saturating_mul(input_tokens);
        input.saturating_add(self.output.saturating_mul(output_tokens))
    }
}

/// One version of one model, on however many replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The model: `qwen3-32b`.
    pub model: String,
    /// Its version: `2507`.
    pub version: String,
    /// What it can do.
    pub features: FeatureSet,
    /// The most tokens of a prompt and its answer together.
    pub context_tokens: u64,
    /// How good it is.
    pub tier: Tier,
    /// What it costs.
    pub price: Price,
    /// LoRA adapters that its replicas can load, by the names that clients use.
    pub adapters: Vec<String>,
}

/// All that is deployed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Of one model, the version that newcomers should get comes first.
    pub deployments: Vec<Deployment>,
    /// A name that leaves the choice to the operator, and the names that it stands for, the best one first. These are
    /// no aliases themselves.
    pub aliases: BTreeMap<String, Vec<String>>,
}

/// Between a model and its version, in a name that pins both.
pub const VERSION_MARK: char = '@';
