//! Which names on a page mean what, one table a model server.

use protocol::{llamacpp, sglang, tgi, trtllm, vllm};

use crate::Kind;

/// What a name on a page means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Requests that wait for a place.
    Waiting,
    /// Requests that hold one.
    Running,
    /// Part of the KV cache in use.
    KvUsage,
    /// Whether the engine sleeps, by a label.
    SleepState,
    /// Adapters, in labels.
    LoraInfo,
    /// Places for adapters that are taken.
    LoraUsed,
    /// Places for adapters.
    LoraSlots,
}

/// How a model server says it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// Names, and what they mean. Of two names for one slot the earlier wins, so newer names come first.
    pub(crate) names: &'static [(&'static str, Slot)],
    /// Slots that every page has as soon as the server has begun to say anything.
    pub(crate) always: &'static [Slot],
    /// The label that tells the schedulers of one server apart: its data-parallel ranks.
    pub(crate) rank: &'static str,
    /// A label that is empty for totals, and not for their parts.
    pub(crate) part: Option<&'static str>,
    /// A counter that is there once a request was answered. Servers that set a gauge only when its value is known
    /// show none before; after, a missing gauge is a mistake.
    pub(crate) first_answer: Option<&'static str>,
}

/// The most names of a dialect.
pub(crate) const MAX_NAMES: usize = 8;

const NOTHING: Dialect =
    Dialect { names: &[], always: &[], rank: "", part: None, first_answer: None };

const LOAD: &[Slot] = &[Slot::Waiting, Slot::Running, Slot::KvUsage];

const VLLM: Dialect = Dialect {
    names: &[
        (vllm::NUM_REQUESTS_WAITING.name, Slot::Waiting),
        (vllm::NUM_REQUESTS_RUNNING.name, Slot::Running),
        (vllm::KV_CACHE_USAGE_PERC.name, Slot::KvUsage),
        (vllm::GPU_CACHE_USAGE_PERC, Slot::KvUsage),
        (vllm::ENGINE_SLEEP_STATE.name, Slot::SleepState),
        (vllm::LORA_REQUESTS_INFO, Slot::LoraInfo),
    ],
    always: LOAD,
    rank: "engine",
    ..NOTHING
};

const SGLANG: Dialect = Dialect {
    names: &[
        (sglang::NUM_QUEUE_REQS, Slot::Waiting),
        (sglang::NUM_RUNNING_REQS, Slot::Running),
        (sglang::TOKEN_USAGE, Slot::KvUsage),
        (sglang::LORA_POOL_SLOTS_USED, Slot::LoraUsed),
        (sglang::LORA_POOL_SLOTS_TOTAL, Slot::LoraSlots),
    ],
    always: LOAD,
    rank: "dp_rank",
    part: Some("priority"),
    first_answer: Some(sglang::NUM_REQUESTS_TOTAL),
};

const TGI: Dialect = Dialect {
    names: &[(tgi::QUEUE_SIZE.name, Slot::Waiting), (tgi::BATCH_CURRENT_SIZE.name, Slot::Running)],
    always: &[Slot::Waiting, Slot::Running],
    first_answer: Some(tgi::REQUEST_SUCCESS.name),
    ..NOTHING
};

const TENSORRT_LLM: Dialect = Dialect {
    names: &[
        (trtllm::NUM_REQUESTS_WAITING, Slot::Waiting),
        (trtllm::NUM_REQUESTS_RUNNING, Slot::Running),
        (trtllm::KV_CACHE_UTILIZATION, Slot::KvUsage),
    ],
    always: LOAD,
    first_answer: Some(trtllm::REQUEST_SUCCESS_TOTAL),
    ..NOTHING
};

const LLAMA_CPP: Dialect = Dialect {
    names: &[
        (llamacpp::REQUESTS_DEFERRED, Slot::Waiting),
        (llamacpp::REQUESTS_PROCESSING, Slot::Running),
        (llamacpp::KV_CACHE_USAGE_RATIO, Slot::KvUsage),
    ],
    always: &[Slot::Waiting, Slot::Running],
    ..NOTHING
};

/// How a model server says it.
pub(crate) const fn of(kind: Kind) -> &'static Dialect {
    match kind {
        Kind::Engine | Kind::Vllm => &VLLM,
        Kind::Sglang => &SGLANG,
        Kind::Tgi => &TGI,
        Kind::TensorRtLlm => &TENSORRT_LLM,
        Kind::DeepSpeedMii => &NOTHING,
        Kind::LlamaCpp => &LLAMA_CPP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_can_say_what_it_always_says() {
        for kind in Kind::ALL {
            let dialect = of(kind);
            assert!(dialect.names.len() <= MAX_NAMES, "{kind}");
            for slot in dialect.always {
                assert!(dialect.names.iter().any(|(_, each)| each == slot), "{kind}: {slot:?}");
            }
        }
    }
}
