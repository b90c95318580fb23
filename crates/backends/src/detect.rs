//! Which model server it is, where no label says so.
//!
//! A label is better: it is right also when the server does not answer, and nobody can imitate it from inside a pod.

use crate::Kind;
use crate::models::owner;

/// The first names of a page, by server. Our engine has vLLM's and is told apart by its models.
const PREFIXES: [(&str, Kind); 5] = [
    ("vllm:", Kind::Vllm),
    ("sglang:", Kind::Sglang),
    ("trtllm_", Kind::TensorRtLlm),
    ("llamacpp:", Kind::LlamaCpp),
    ("tgi_", Kind::Tgi),
];

/// What servers write into `owned_by`. Sources: recorded answers of vLLM 0.32.0, our engine and llama.cpp; the
/// sources of SGLang 0.5.23, DeepSpeed-MII 0.3.3 and TensorRT-LLM.
const OWNERS: [(&str, Kind); 6] = [
    ("llm-systems-lab", Kind::Engine),
    ("vllm", Kind::Vllm),
    ("sglang", Kind::Sglang),
    ("tensorrt_llm", Kind::TensorRtLlm),
    ("deepspeed-mii", Kind::DeepSpeedMii),
    ("llamacpp", Kind::LlamaCpp),
];

/// Whose metrics page this is, by the names on it. A page of several dialects is that of the first in the order
/// vLLM, SGLang, TensorRT-LLM, llama.cpp, TGI: servers add names that were made for others, and keep their own.
#[must_use]
pub fn detect_page(page: &str) -> Option<Kind> {
    let begins = |prefix| {
        page.lines().any(|line| {
            let line = line.trim_start();
            let name = line.strip_prefix("# TYPE ").unwrap_or(line);
            name.starts_with(prefix)
        })
    };
    PREFIXES.into_iter().find(|(prefix, _)| begins(*prefix)).map(|(_, kind)| kind)
}

/// Whose list of models this is, by who owns the first one.
#[must_use]
pub fn detect_models(body: &[u8]) -> Option<Kind> {
    let (owner, id) = owner(body)?;
    let known = OWNERS.into_iter().find(|(name, _)| *name == owner).map(|(_, kind)| kind);
    // TGI says that a model owns itself.
    known.or((owner == id && !id.is_empty()).then_some(Kind::Tgi))
}
