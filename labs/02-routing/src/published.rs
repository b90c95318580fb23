//! A published run of two policies, for the program that replays it. Given.
//!
//! llm-d, guide `optimized-baseline`, `README.md` at commit `021723b` ("Benchmarking Report"): Qwen3-32B on 16 H100, eight
//! vLLM servers with tensor parallelism 2, behind a Kubernetes Service and behind llm-d's router. The workload is the
//! guide's `benchmark-templates/guide.yaml`: 150 prefixes of 6,000 tokens, 5 prompts each with 1,200 tokens of its own,
//! 1,000 tokens of answer; Poisson arrivals in stages, each after the one before has ended.

use std::time::Duration;

/// Groups of prompts that share a prefix.
pub const PREFIXES: u64 = 150;
/// Prompts of a group.
pub const PROMPTS: u64 = 5;
/// Tokens that the prompts of a group share.
pub const PREFIX_TOKENS: u32 = 6_000;
/// Tokens of a prompt's own.
pub const OWN_TOKENS: u32 = 1_200;
/// Tokens of an answer.
pub const ANSWER_TOKENS: u32 = 1_000;

/// The stage that fills the caches, which no figure counts.
pub const WARM_UP: Stage = Stage { rate: 15, seconds: 50, service: None, llmd: None };

/// One rate of the ladder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// Requests a second.
    pub rate: u32,
    /// For so long.
    pub seconds: u32,
    /// What was measured behind a Kubernetes Service, which the guide calls round robin.
    pub service: Option<Measured>,
    /// What was measured behind llm-d's router.
    pub llmd: Option<Measured>,
}

/// What was measured in a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Tokens generated a second.
    pub output_tokens_per_s: f64,
    /// Time to the first token: the mean, in seconds.
    pub ttft_mean_s: f64,
    /// Time to the first token that nine of ten are below, in seconds.
    pub ttft_p90_s: f64,
}

/// Over the whole ladder, from the guide's summary: output is the mean of the stages, TTFT that of all requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// As in [`Measured`].
    pub measured: Measured,
    /// Time between two tokens: the mean, in milliseconds.
    pub itl_mean_ms: f64,
}

/// Behind a Kubernetes Service.
pub const SERVICE: Summary = summary(5_722.0, 58.10, 107.43, 44.0);
/// Behind llm-d's router.
pub const LLMD: Summary = summary(13_163.0, 0.156, 0.206, 47.0);

const fn summary(output: f64, mean: f64, p90: f64, itl_mean_ms: f64) -> Summary {
    Summary { measured: measured(output, mean, p90), itl_mean_ms }
}

const fn measured(output: f64, mean: f64, p90: f64) -> Measured {
    Measured { output_tokens_per_s: output, ttft_mean_s: mean, ttft_p90_s: p90 }
}

/// Rate, seconds; output, mean and p90 of TTFT behind the Service; the same behind llm-d's router.
type Row = (u32, u32, (f64, f64, f64), (f64, f64, f64));

const ROWS: [Row; 16] = [
    (3, 20, (1_797.0, 0.415, 0.522), (1_777.0, 0.133, 0.162)),
    (10, 20, (4_215.0, 0.630, 1.014), (5_066.0, 0.125, 0.172)),
    (15, 20, (5_381.0, 0.881, 1.593), (7_053.0, 0.122, 0.187)),
    (20, 38, (6_205.0, 18.103, 35.344), (11_688.0, 0.174, 0.283)),
    (22, 34, (5_517.0, 20.171, 39.436), (12_436.0, 0.116, 0.148)),
    (25, 30, (5_965.0, 21.842, 42.813), (12_501.0, 0.116, 0.146)),
    (30, 25, (5_702.0, 24.597, 46.036), (13_862.0, 0.117, 0.148)),
    (35, 21, (5_890.0, 24.162, 45.190), (14_026.0, 0.117, 0.150)),
    (40, 38, (6_336.0, 68.673, 126.238), (16_041.0, 0.153, 0.216)),
    (43, 36, (6_588.0, 72.429, 130.275), (16_339.0, 0.254, 0.218)),
    (46, 33, (6_459.0, 70.084, 129.810), (16_665.0, 0.154, 0.220)),
    (49, 30, (6_265.0, 70.659, 133.718), (16_126.0, 0.151, 0.209)),
    (52, 29, (6_303.0, 74.326, 134.981), (16_474.0, 0.152, 0.219)),
    (55, 27, (6_290.0, 72.564, 134.034), (16_854.0, 0.153, 0.215)),
    (57, 26, (6_089.0, 72.329, 135.023), (16_641.0, 0.153, 0.217)),
    (60, 25, (6_551.0, 75.586, 138.663), (17_064.0, 0.154, 0.217)),
];

/// The ladder, without the stage before it.
#[must_use]
pub fn ladder() -> Vec<Stage> {
    let stage = |&(rate, seconds, service, llmd): &Row| Stage {
        rate,
        seconds,
        service: Some(measured(service.0, service.1, service.2)),
        llmd: Some(measured(llmd.0, llmd.1, llmd.2)),
    };
    ROWS.iter().map(stage).collect()
}

impl Stage {
    /// Requests of the stage.
    #[must_use]
    pub fn requests(&self) -> usize {
        (self.rate * self.seconds) as usize
    }

    /// How long it sends.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}
