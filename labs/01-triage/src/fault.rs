//! Faults for the engine, switched on and off while it runs: what task 1.7 is practised on.
//!
//! Given. Each fault is a wrapper around one seam, so the engine's own code knows nothing of it. A fault
//! is on while a file of its name exists in the folder that `--debug-faults` names, or while the file
//! [`LIST`] there has its name in it: no port and no request can switch it. Locally, `touch` and `rm` are
//! enough. In a pod, the list is an annotation that the kubelet writes there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::exposition::MetricFamily;
use serving::{
    BlockPool, BlockTable, ChatMessage, Executor, ExecutorError, Load, OutOfBlocks, PoolStats,
    Recorder, RequestSummary, SamplingParams, SequenceId, StepOutput, StepPlan, StepReport,
    TextCodec, TextError, Timeline, TokenId,
};

/// The file that lists the faults that are on, by spaces, commas or lines.
pub const LIST: &str = "active";

/// How often a hanging step looks whether the fault is gone.
const POLL: Duration = Duration::from_millis(5);

/// How many times as long a step takes in a slow replica.
pub const SLOWDOWN: u32 = 4;

/// Of so many KV blocks, a starved pool leaves one.
pub const STARVATION: usize = 16;

/// The longest that a slow model load waits, should nobody switch it off.
pub const LOAD_LIMIT: Duration = Duration::from_secs(120);

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
    /// Metrics stay what they were when the fault began.
    StaleMetrics,
    /// A step takes [`SLOWDOWN`] times as long.
    SlowSteps,
    /// Most of the KV cache is held by nobody.
    KvStarvation,
    /// The model is not loaded while the fault is on, for up to [`LOAD_LIMIT`].
    SlowLoad,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Hang,
        Self::RenamedMetric,
        Self::SlowTokenizer,
        Self::StaleMetrics,
        Self::SlowSteps,
        Self::KvStarvation,
        Self::SlowLoad,
    ];

    /// The name of its file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hang => "hang",
            Self::RenamedMetric => "renamed-metric",
            Self::SlowTokenizer => "slow-tokenizer",
            Self::StaleMetrics => "stale-metrics",
            Self::SlowSteps => "slow-steps",
            Self::KvStarvation => "kv-starvation",
            Self::SlowLoad => "slow-load",
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

    /// Whether it is on. Two looks at the disk a call: only engines with `--debug-faults` pay for them.
    #[must_use]
    pub fn is_on(&self, fault: Fault) -> bool {
        self.file(fault).exists() || self.is_listed(fault)
    }

    fn is_listed(&self, fault: Fault) -> bool {
        let text = std::fs::read_to_string(self.0.join(LIST)).unwrap_or_default();
        text.split(|c: char| c == ',' || c.is_whitespace()).any(|name| name == fault.as_str())
    }

    /// Waits while a fault is on, but not longer than `limit`.
    pub fn wait_while(&self, fault: Fault, limit: Duration) {
        let began = Instant::now();
        while self.is_on(fault) && began.elapsed() < limit {
            std::thread::sleep(POLL);
        }
    }
}

/// Something with a fault around it.
#[derive(Debug)]
pub struct Faulty<T> {
    inner: T,
    switch: FaultSwitch,
    /// What metrics stay at while they are stale.
    frozen: Mutex<Option<Vec<MetricFamily>>>,
}

impl<T> Faulty<T> {
    /// `inner`, until `switch` says otherwise.
    #[must_use]
    pub fn new(inner: T, switch: FaultSwitch) -> Self {
        Self { inner, switch, frozen: Mutex::new(None) }
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
        let began = Instant::now();
        let output = self.inner.execute(plan);
        if self.switch.is_on(Fault::SlowSteps) {
            std::thread::sleep(began.elapsed() * (SLOWDOWN - 1));
        }
        output
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
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.switch.is_on(Fault::StaleMetrics) {
            *frozen = None;
        }
        let mut families = match &*frozen {
            Some(frozen) => frozen.clone(),
            None => self.inner.families(now),
        };
        if self.switch.is_on(Fault::StaleMetrics) {
            frozen.get_or_insert_with(|| families.clone());
        }
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

// === impl BlockPool for Faulty ===

impl<P: BlockPool> Faulty<P> {
    /// Blocks that nobody may have now.
    fn withheld(&self) -> usize {
        let all = self.inner.num_blocks();
        if self.switch.is_on(Fault::KvStarvation) { all - all / STARVATION } else { 0 }
    }

    /// Whether so many more blocks may be had.
    fn grant(&self, needed: usize) -> Result<(), OutOfBlocks> {
        let free = self.num_free();
        if needed > free { Err(OutOfBlocks { needed, free }) } else { Ok(()) }
    }
}

impl<P: BlockPool> BlockPool for Faulty<P> {
    fn block_size(&self) -> usize {
        self.inner.block_size()
    }

    fn num_blocks(&self) -> usize {
        self.inner.num_blocks()
    }

    fn num_free(&self) -> usize {
        self.inner.num_free().saturating_sub(self.withheld())
    }

    fn admit(
        &mut self,
        id: SequenceId,
        tokens: &[TokenId],
        max_len: usize,
    ) -> Result<usize, OutOfBlocks> {
        self.grant(serving::blocks_for(tokens.len(), self.block_size()))?;
        self.inner.admit(id, tokens, max_len)
    }

    fn allocate(&mut self, id: SequenceId, num_tokens: usize) -> Result<(), OutOfBlocks> {
        let held = self.inner.block_table(id).len();
        self.grant(serving::blocks_for(num_tokens, self.block_size()).saturating_sub(held))?;
        self.inner.allocate(id, num_tokens)
    }

    fn publish(&mut self, id: SequenceId, tokens: &[TokenId]) {
        self.inner.publish(id, tokens);
    }

    fn block_table(&self, id: SequenceId) -> BlockTable {
        self.inner.block_table(id)
    }

    fn free(&mut self, id: SequenceId) {
        self.inner.free(id);
    }

    fn stats(&self) -> PoolStats {
        self.inner.stats()
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

#[cfg(test)]
mod tests {
    use serving::baseline::ContiguousPool;

    use super::*;

    fn folder() -> PathBuf {
        let name = format!("lab-fault-switch-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn a_list_switches_faults_as_files_do() {
        let folder = folder();
        let switch = FaultSwitch::new(&folder);
        let on = || Fault::ALL.into_iter().filter(|fault| switch.is_on(*fault)).collect::<Vec<_>>();
        assert_eq!(on(), []);
        std::fs::write(folder.join(LIST), "hang,\n kv-starvation").expect("a list");
        std::fs::write(switch.file(Fault::SlowLoad), "").expect("a file");
        assert_eq!(on(), [Fault::Hang, Fault::KvStarvation, Fault::SlowLoad]);
        std::fs::write(folder.join(LIST), "hanger slow").expect("a list");
        assert_eq!(on(), [Fault::SlowLoad]);

        let mut pool = Faulty::new(ContiguousPool::new(32, 16), switch.clone());
        pool.admit(SequenceId(1), &[1; 17], 48).expect("room");
        std::fs::write(switch.file(Fault::KvStarvation), "").expect("a file");
        assert_eq!(pool.num_free(), 0);
        let starved = Err(OutOfBlocks { needed: 2, free: 0 });
        assert_eq!(pool.admit(SequenceId(2), &[1; 17], 48), starved);
        assert_eq!(pool.allocate(SequenceId(1), 48), Ok(()));
        std::fs::remove_dir_all(&folder).expect("no folder");
        assert_eq!(pool.num_free(), 29);
        assert_eq!(pool.admit(SequenceId(2), &[1; 17], 48), Ok(0));
        let _ = std::fs::remove_dir_all(folder);
    }
}
