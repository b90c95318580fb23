//! Which model server it is, and where it answers.

use std::fmt;
use std::str::FromStr;

/// The label of a pod or a Service that says which model server it runs, as [`Kind::as_str`] spells it.
pub const LABEL: &str = "llm-lab/backend";

/// A model server that a router can stand in front of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The course's own engine: vLLM's names, fewer of them.
    Engine,
    /// vLLM, V1 engine.
    Vllm,
    /// SGLang, started with `--enable-metrics`.
    Sglang,
    /// Hugging Face's text-generation-inference, version 3.
    Tgi,
    /// TensorRT-LLM's `trtllm-serve`, PyTorch backend, with `return_perf_metrics: true` and
    /// `enable_iter_perf_stats: true`. Its gauges move when a request **ends**: they are as old as that.
    TensorRtLlm,
    /// DeepSpeed-MII's OpenAI server, which has no metrics page at all.
    DeepSpeedMii,
    /// llama.cpp's `llama-server`, started with `--metrics`.
    LlamaCpp,
}

/// How we know that an adapter fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Tested against output that this version printed.
    Recorded(&'static str),
    /// Written after the source of this version, tested against pages that we made from it.
    Source(&'static str),
}

/// The paths of a model server. `None`: it has no such path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routes {
    /// 200 when it takes requests.
    pub health: &'static str,
    /// The page for [`read()`](crate::read()).
    pub metrics: Option<&'static str>,
    /// OpenAI's list of models.
    pub models: &'static str,
    /// More about the one model that it serves, as JSON.
    pub about: Option<&'static str>,
    /// Chat completions in OpenAI's shape.
    pub chat: &'static str,
    /// Completions in OpenAI's shape.
    pub completions: &'static str,
}

/// No model server is called that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no backend is called {0:?}; known: {known}", known = Kind::ALL.map(Kind::as_str).join(", "))]
pub struct UnknownKind(pub String);

// === impl Kind ===

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Engine,
        Self::Vllm,
        Self::Sglang,
        Self::Tgi,
        Self::TensorRtLlm,
        Self::DeepSpeedMii,
        Self::LlamaCpp,
    ];

    /// Its name as the value of [`LABEL`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Tgi => "tgi",
            Self::TensorRtLlm => "tensorrt-llm",
            Self::DeepSpeedMii => "deepspeed-mii",
            Self::LlamaCpp => "llama.cpp",
        }
    }

    /// Where it answers.
    #[must_use]
    pub const fn routes(self) -> Routes {
        let openai = Routes {
            health: "/health",
            metrics: Some("/metrics"),
            models: "/v1/models",
            about: None,
            chat: "/v1/chat/completions",
            completions: "/v1/completions",
        };
        match self {
            Self::Engine | Self::Vllm => openai,
            Self::Sglang => Routes { about: Some("/model_info"), ..openai },
            Self::Tgi => Routes { about: Some("/info"), ..openai },
            // Its own `/metrics` is JSON about past iterations, and reading it takes them away from other readers.
            Self::TensorRtLlm => Routes { metrics: Some("/prometheus/metrics"), ..openai },
            Self::DeepSpeedMii => Routes { metrics: None, ..openai },
            Self::LlamaCpp => Routes { about: Some("/props"), ..openai },
        }
    }

    /// How we know.
    #[must_use]
    pub const fn evidence(self) -> Evidence {
        match self {
            Self::Engine => Evidence::Recorded("0.1.0"),
            Self::Vllm => Evidence::Recorded("0.32.0"),
            Self::Sglang => Evidence::Source("0.5.23"),
            Self::Tgi => Evidence::Source("3"),
            Self::TensorRtLlm => Evidence::Source("main of 2026"),
            Self::DeepSpeedMii => Evidence::Source("0.3.3"),
            Self::LlamaCpp => Evidence::Recorded("b11549"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorded(version) => write!(f, "recorded from {version}"),
            Self::Source(version) => write!(f, "from the source of {version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_names_no_backend_is_told_which_ones_there_are() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        let error = "vLLM".parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains("\"vLLM\"") && error.contains("vllm, sglang, tgi"), "{error}");
    }
}
