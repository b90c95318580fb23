//! Task 2.3, capability: from what a request needs to the deployment that serves it, or to the error that says why none does.
//!
//! Three questions, in this order: what does the name allow, who of these *could* ever serve it, and who can *now*. A
//! `no` to the first is a 404, to the second a 400, to the third a 429 or a 503. Knows nothing of load: which of the
//! endpoints that are left gets the request is a policy's to say.

use std::time::Duration;

use protocol::openai::Problem;
use routing::EndpointId;

use crate::catalogue::{Catalogue, Deployment, Feature, Tier, VERSION_MARK};
use crate::need::{COST_HEADER, Need};

/// How long a client waits where all replicas are full.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A replica that is ready. Those that are not are not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Which.
    pub endpoint: EndpointId,
    /// Of which deployment: an index into the catalogue.
    pub deployment: usize,
    /// Whether it has no room for another request.
    pub saturated: bool,
    /// LoRA adapters in its memory: vLLM's label `running_lora_adapters` of `vllm:lora_requests_info`.
    pub loaded: Vec<String>,
}

/// Something that a name allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<'a> {
    /// An index into the catalogue.
    pub deployment: usize,
    /// With this adapter.
    pub adapter: Option<&'a str>,
}

/// What keeps a deployment from ever serving a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// It cannot do this.
    Feature(Feature),
    /// Prompt and answer are longer than this many tokens.
    Context(u64),
    /// It would cost at least so many nano-dollars.
    Cost(u64),
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route<'a> {
    /// What serves it.
    pub choice: Choice<'a>,
    /// Replicas that may get it: at least one. A policy chooses.
    pub endpoints: Vec<EndpointId>,
    /// The tier that was wanted and the lower one that it gets: the answer's headers say so.
    pub downgraded: Option<(Tier, Tier)>,
}

/// Why a request goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody knows the name.
    UnknownModel,
    /// Nothing that the name allows could ever serve this.
    Unable(Lack),
    /// Replicas that could are ready, and full.
    Saturated,
    /// No replica that could is ready.
    NotReady,
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The body.
    pub problem: Problem,
}

/// What a name allows, the best first. Empty: nobody knows the name.
#[must_use]
pub fn allowed<'a>(catalogue: &'a Catalogue, name: &str) -> Vec<Choice<'a>> {
    // - An alias stands for its names: what the first allows, then what the second allows, and so on; each choice once.
    // - `model@version`: that version, and nothing else, ever. The client has pinned it.
    // - `model`: all its versions in the catalogue's order.
    // - An adapter's name: the deployments that can load it, with `adapter` set. Never without it: the model below an
    //   adapter gives other answers.
    // An alias hides a model or an adapter of the same name.
    // ANCHOR: task_2_3_names
    todo!("task 2.3")
    // ANCHOR_END: task_2_3_names
}

/// What keeps this deployment from ever serving this request; `None` where nothing does.
#[must_use]
pub fn lack(deployment: &Deployment, need: &Need<'_>) -> Option<Lack> {
    // Looked at in this order:
    // - `Feature`: the first that it does not have.
    // - `Context`: the shortest that the prompt can be (`need.input.least`) and the answer together are longer than its context.
    // - `Cost`: the prompt, at its shortest, and the answer cost more than `need.wishes.max_cost`.
    // ANCHOR: task_2_3_lack
    todo!("task 2.3")
    // ANCHOR_END: task_2_3_lack
}

/// Where a request goes, given the replicas that are ready.
///
/// # Errors
/// [`Refusal`], where it goes nowhere.
pub fn route<'a>(
    catalogue: &'a Catalogue,
    need: &Need<'_>,
    ready: &[Server],
) -> Result<Route<'a>, Refusal> {
    // 1. What the name allows; nothing: `UnknownModel`.
    // 2. Without those that lack something. Where none is left, `Unable` names the lack that came closest to serving: a
    //    cost before a context before a feature, of costs the lowest, of contexts the largest.
    //    Whether replicas are ready does not matter here: what is down now will be back, and a 400 says `never`.
    // 3. In this order, and else in the order of 1:
    //    - those with room for what the prompt probably has (`need.input.likely`) and the answer; of the others the larger context
    //      first;
    //    - those not below the wanted tier, then those one tier below, then two. Wanted is what the client wishes, else the tier of the
    //      first that the name allows.
    // 4. The first with a ready replica that is not saturated. Of these replicas, those that have the adapter loaded;
    //    where none has, all of them: loading takes a moment, and waiting for a full one takes longer.
    //    Say `downgraded` where the tier is below the wanted one.
    // 5. None: `Saturated` where any replica of 2 is ready, else `NotReady`.
    // ANCHOR: task_2_3_route
    todo!("task 2.3")
    // ANCHOR_END: task_2_3_route
}

/// What the client is told.
#[must_use]
pub fn answer(refusal: &Refusal, need: &Need<'_>) -> Answer {
    // | refusal | status | `type` | `param` | `code` |
    // |---|---|---|---|---|
    // | `UnknownModel` | 404 | `invalid_request_error` | `model` | `model_not_found` |
    // | `Feature` | 400 | the same | `feature.param()` | `unsupported_feature` |
    // | `Context` | 400 | the same | `need.api.input_field()` | `context_length_exceeded` |
    // | `Cost` | 400 | the same | `COST_HEADER` | `cost_ceiling_exceeded` |
    // | `Saturated` | 429 | `rate_limit_error` | | `rate_limit_exceeded` |
    // | `NotReady` | 503 | `server_error` | | `model_not_ready` |
    // Only 429 has `retry_after`: `RETRY_AFTER`. A message says what was asked for and, of a context or a cost, the limit.
    // ANCHOR: task_2_3_answer
    todo!("task 2.3")
    // ANCHOR_END: task_2_3_answer
}
