//! What is asked, as far as a policy may care.

/// One request that needs an endpoint. Borrowed from whoever read it: nothing is copied for a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRequest<'a> {
    /// Counts requests, from 0.
    pub id: u64,
    /// The prompt as bytes, in the order in which the model reads it: the text of a live request; in the
    /// simulator four bytes a token. Equal beginnings are equal beginnings of the KV cache. Empty where the
    /// policy does not [read prompts](crate::Policy::reads_prompt).
    pub prompt: &'a [u8],
    /// What a client calls its conversation, where it does.
    pub session: Option<&'a str>,
    /// The version that the client asks for by name, where it does. Whoever chooses may grant it or not.
    pub version: Option<&'a str>,
}

impl RouteRequest<'_> {
    /// A request of which only its number is known.
    #[must_use]
    pub fn new(id: u64) -> Self {
        Self { id, prompt: &[], session: None, version: None }
    }
}
