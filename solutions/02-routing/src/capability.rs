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
    let mut choices = Vec::new();
    let alias = catalogue.aliases.get(name).map(Vec::as_slice);
    let itself = [name.to_owned()];
    for name in alias.unwrap_or(&itself) {
        for (deployment, offered) in catalogue.deployments.iter().enumerate() {
            let is_pinned = name
                .split_once(VERSION_MARK)
                .is_some_and(|pin| pin == (&offered.model, &offered.version));
            let adapter = offered.adapters.iter().find(|adapter| *adapter == name);
            let choice = Choice { deployment, adapter: adapter.map(String::as_str) };
            let is_meant = is_pinned || *name == offered.model || adapter.is_some();
            if is_meant && !choices.contains(&choice) {
                choices.push(choice);
            }
        }
    }
    choices
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
    if let Some(feature) = need.features.first_missing_in(deployment.features) {
        return Some(Lack::Feature(feature));
    }
    if need.input.least.saturating_add(need.output) > deployment.context_tokens {
        return Some(Lack::Context(deployment.context_tokens));
    }
    let cost = deployment.price.of(need.input.least, need.output);
    need.wishes.max_cost.filter(|ceiling| cost > *ceiling).map(|_| Lack::Cost(cost))
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
    let choices = allowed(catalogue, need.model);
    if choices.is_empty() {
        return Err(Refusal::UnknownModel);
    }
    let of = |choice: &Choice<'_>| &catalogue.deployments[choice.deployment];
    let lacks: Vec<_> = choices.iter().map(|choice| lack(of(choice), need)).collect();
    let able = choices.iter().zip(&lacks).filter(|(_, lack)| lack.is_none());
    let mut able: Vec<Choice<'a>> = able.map(|(choice, _)| *choice).collect();
    if able.is_empty() {
        let closest = lacks.into_iter().flatten().max_by_key(|lack| match lack {
            Lack::Feature(_) => (0, 0),
            Lack::Context(limit) => (1, *limit),
            Lack::Cost(cost) => (2, u64::MAX - cost),
        });
        return Err(closest.map_or(Refusal::UnknownModel, Refusal::Unable));
    }
    let wanted = need.wishes.tier.unwrap_or(of(&choices[0]).tier);
    let length = need.input.likely.saturating_add(need.output);
    able.sort_by_key(|choice| {
        let Deployment { context_tokens, tier, .. } = of(choice);
        let missing = if length > *context_tokens { u64::MAX - context_tokens } else { 0 };
        (missing, tier.below(wanted))
    });
    for choice in &able {
        let has_room =
            |server: &&Server| server.deployment == choice.deployment && !server.saturated;
        let free: Vec<&Server> = ready.iter().filter(has_room).collect();
        let has_it = |server: &&&Server| match choice.adapter {
            Some(adapter) => server.loaded.iter().any(|loaded| loaded == adapter),
            None => true,
        };
        let mut endpoints: Vec<_> =
            free.iter().filter(has_it).map(|server| server.endpoint).collect();
        if endpoints.is_empty() {
            endpoints = free.iter().map(|server| server.endpoint).collect();
        }
        if !endpoints.is_empty() {
            let got = of(choice).tier;
            let downgraded = (got < wanted).then_some((wanted, got));
            return Ok(Route { choice: *choice, endpoints, downgraded });
        }
    }
    let is_able =
        |server: &Server| able.iter().any(|choice| choice.deployment == server.deployment);
    if ready.iter().any(is_able) { Err(Refusal::Saturated) } else { Err(Refusal::NotReady) }
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
    const INVALID: &str = "invalid_request_error";
    let model = need.model;
    let (status, kind, param, code, message) = match *refusal {
        Refusal::UnknownModel => {
            let message = format!("The model `{model}` does not exist.");
            (404, INVALID, Some("model"), "model_not_found", message)
        }
        Refusal::Unable(Lack::Feature(feature)) => {
            let message = format!("`{model}` does not support {}.", feature.as_str());
            (400, INVALID, Some(feature.param()), "unsupported_feature", message)
        }
        Refusal::Unable(Lack::Context(limit)) => {
            let (least, output) = (need.input.least, need.output);
            let message = format!(
                "The context of `{model}` is {limit} tokens. This request needs more: at least {least} for its input, and \
                 {output} for its answer."
            );
            let param = Some(need.api.input_field());
            (400, INVALID, param, "context_length_exceeded", message)
        }
        Refusal::Unable(Lack::Cost(cost)) => {
            let ceiling = need.wishes.max_cost.unwrap_or_default();
            let message = format!(
                "With `{model}` this costs {cost} nano-dollars or more; the limit is {ceiling}."
            );
            (400, INVALID, Some(COST_HEADER), "cost_ceiling_exceeded", message)
        }
        Refusal::Saturated => {
            let message = format!("All replicas of `{model}` are full. Try again later.");
            (429, "rate_limit_error", None, "rate_limit_exceeded", message)
        }
        Refusal::NotReady => {
            let message = format!("No replica of `{model}` is ready.");
            (503, "server_error", None, "model_not_ready", message)
        }
    };
    let (param, code) = (param.map(Into::into), Some(code.into()));
    let problem = Problem { message, kind: kind.into(), param, code };
    Answer { status, retry_after: (status == 429).then_some(RETRY_AFTER), problem }
    // ANCHOR_END: task_2_3_answer
}
