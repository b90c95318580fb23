//! Faults for the engine, switched on and off while it runs: what task 1.7 is practised on.
//!
//! Given. Each fault is a wrapper around one seam, so the engine's own code knows nothing of it. A fault
//! is on while a file of its name exists in the folder that `--debug-faults` names: no port, no request
//! can switch it, and `touch` and `rm` are enough, also through `kubectl exec`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocol::exposition::MetricFamily;
use serving::{
    ChatMessage, Executor, ExecutorError, Load, Recorder, RequestSummary, SamplingParams,
    SequenceId, StepOutput, StepPlan, StepReport, TextCodec, TextError, Timeline, TokenId,
};

/// How often a hanging step looks whether the fault is gone.
const POLL: Duration = Duration::from_millis(5);

/// What a slow tokenizer costs each prompt.
pub const TOKENIZER_DELAY: Duration = Duration::from_millis(400);

/// The metric that loses its name, and the name it had in vLLM's V0 engine.
pub const RENAMED: (&str, &str) = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc");

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A step begins and does not end.
    Hang,
    /// A metric is exported under another name.
    RenamedMetric,
    /// Text becomes tokens [`TOKENIZER_DELAY`] later.
    SlowTokenizer,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hang, Self::RenamedMetric, Self::SlowTokenizer];

    /// The name of its file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hang => "hang",
            Self::RenamedMetric => "renamed-metric",
            Self::SlowTokenizer => "slow-tokenizer",
        }
    }
}

/// The folder whose files switch faults.
#[derive(Debug, Clone)]
pub struct FaultSwitch(Arc<Path>);

impl FaultSwitch {
    /// Faults are switched by files in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self(folder.into())
    }

    /// The file that switches this fault.
    #[must_use]
    pub fn file(&self, fault: Fault) -> PathBuf {
        self.0.join(fault.as_str())
    }

    /// Whether it is on. One `stat` a call: only engines with `--debug-faults` pay for it.
    #[must_use]
    pub fn is_on(&self, fault: Fault) -> bool {
        self.file(fault).exists()
    }
}

/// Something with a fault around it.
#[derive(Debug)]
pub struct Faulty<T> {
    inner: T,
    switch: FaultSwitch,
}

impl<T> Faulty<T> {
    /// `inner`, until `switch` says otherwise.
    #[must_use]
    pub fn new(inner: T, switch: FaultSwitch) -> Self {
        Self { inner, switch }
    }
}

// === impl Executor for Faulty ===

impl Executor for Faulty<Box<dyn Executor>> {
    fn register(&mut self, id: SequenceId, prompt: &[TokenId], params: &SamplingParams) {
        self.inner.register(id, prompt, params);
    }

    fn release(&mut self, id: SequenceId) {
        self.inner.release(id);
    }

    fn execute(&mut self, plan: &StepPlan) -> Result<StepOutput, ExecutorError> {
        while self.switch.is_on(Fault::Hang) {
            std::thread::sleep(POLL);
        }
        self.inner.execute(plan)
    }
}

// === impl Recorder for Faulty ===

impl Recorder for Faulty<Box<dyn Recorder>> {
    fn request(&mut self, timeline: &Timeline, summary: &RequestSummary) {
        self.inner.request(timeline, summary);
    }

    fn step(&mut self, report: &StepReport, load: &Load) {
        self.inner.step(report, load);
    }

    fn families(&self, now: Duration) -> Vec<MetricFamily> {
        let mut families = self.inner.families(now);
        if self.switch.is_on(Fault::RenamedMetric) {
            families.iter_mut().for_each(rename);
        }
        families
    }
}

/// Gives the one metric its other name.
pub fn rename(family: &mut MetricFamily) {
    if family.name == RENAMED.0 {
        family.name = RENAMED.1.to_owned();
    }
}

// === impl TextCodec for Faulty ===

impl TextCodec for Faulty<Arc<dyn TextCodec>> {
    fn encode(&self, text: &str, add_special: bool) -> Result<Vec<TokenId>, TextError> {
        if self.switch.is_on(Fault::SlowTokenizer) {
            std::thread::sleep(TOKENIZER_DELAY);
        }
        self.inner.encode(text, add_special)
    }

    fn decode(&self, tokens: &[TokenId], skip_special: bool) -> Result<String, TextError> {
        self.inner.decode(tokens, skip_special)
    }

    fn apply_chat_template(&self, messages: &[ChatMessage]) -> Result<String, TextError> {
        self.inner.apply_chat_template(messages)
    }

    fn eos_tokens(&self) -> &[TokenId] {
        self.inner.eos_tokens()
    }

    fn vocab_size(&self) -> usize {
        self.inner.vocab_size()
    }
}
