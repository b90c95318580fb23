//! What a request needs of whoever serves it, beyond what a policy looks at.

use std::sync::Arc;

use protocol::features::Features;

/// What is asked for. Only read where somebody [looks at it](crate::Dispatch::reads_features).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asks<'a> {
    /// The path, without the query.
    pub path: &'a str,
    /// What its body needs, or why that cannot be read.
    pub body: Result<&'a Features<'a>, &'a str>,
    /// The value of [`TIER_HEADER`](protocol::wishes::TIER_HEADER).
    pub tier: Option<&'a str>,
    /// The value of [`COST_HEADER`](protocol::wishes::COST_HEADER).
    pub max_cost: Option<&'a str>,
}

/// How one attempt differs from its request, and from other attempts of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// What the endpoint calls the model, where that is not the name in the body.
    pub model: Option<Arc<str>>,
    /// A field of the answer's head, if this attempt is the answer: its name and its value.
    pub field: Option<(&'static str, String)>,
}

/// A model that clients may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The name in a request.
    pub name: String,
    /// The most tokens of a prompt and its answer together.
    pub context_tokens: u64,
}
