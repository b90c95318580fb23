//! Task 1.6, roofline: from the shape of a model, a device and a step plan to the time of the step, and to the
//! limit that binds it.
//!
//! The roofline model is Williams, Waterman and Patterson's (CACM 52(4), 2009): a computation takes at least as long as its
//! arithmetic at the device's peak, and at least as long as its memory traffic at the device's bandwidth. The counts
//! for a transformer follow Pope et al., Efficiently Scaling Transformer Inference (MLSys 2023).

use std::time::Duration;

use serving::{Load, SchedulerLimits, StepPlan};
use simulation::{DeviceSpec, Limit, ModelShape, StepCost, StepTime};

/// What one step asks of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Tokens fed to the model: the rows of its matrix products.
    pub tokens: usize,
    /// FLOPs of the matrices of all layers.
    pub linear_flops: f64,
    /// FLOPs of attention: queries with keys, and the weighted sum of values.
    pub attention_flops: f64,
    /// FLOPs of the output head.
    pub head_flops: f64,
    /// Bytes of weights read.
    pub weight_bytes: f64,
    /// Bytes of the KV cache read and written.
    pub kv_bytes: f64,
}

impl Work {
    /// Counts what a plan, which is not empty, makes the model do.
    #[must_use]
    pub fn count(shape: &ModelShape, plan: &StepPlan) -> Self {
        // - Linear: each token fed meets each of `active_weights`, with one multiplication and one addition.
        // - Attention: a token looks at itself and at all tokens before it, those in the cache and those ahead of it in
        //   its chunk. Each such pair costs 2 x `head_dim` FLOPs for query times key and as many for weight times value,
        //   in every head of every layer.
        // - Head: like linear, with `head_weights`, but only for the chunks that sample.
        // - Weights: what `read_weights` says for this number of tokens, once a step however many tokens there are, and the
        //   head's where anybody samples.
        // - KV: for each chunk, its whole context up to its end is read, and its own tokens are written.
        // ANCHOR: task_1_6_count
        todo!("task 1.6")
        // ANCHOR_END: task_1_6_count
    }

    /// All arithmetic and all traffic: what calibration wants to know of a step.
    #[must_use]
    pub fn flops_and_bytes(&self) -> (f64, f64) {
        let flops = self.linear_flops + self.attention_flops + self.head_flops;
        (flops, self.weight_bytes + self.kv_bytes)
    }

    /// The part of one of `gpus` devices that share every matrix and every head evenly.
    fn share(self, gpus: usize) -> Self {
        let part = 1.0 / gpus as f64;
        Self {
            tokens: self.tokens,
            linear_flops: self.linear_flops * part,
            attention_flops: self.attention_flops * part,
            head_flops: self.head_flops * part,
            weight_bytes: self.weight_bytes * part,
            kv_bytes: self.kv_bytes * part,
        }
    }
}

/// Predicts the steps of one model on one device, or on several that share it.
#[derive(Debug, Clone, PartialEq)]
pub struct Roofline {
    shape: ModelShape,
    device: DeviceSpec,
    gpus: usize,
    eager: bool,
}

impl Roofline {
    /// A model on one device, with CUDA graphs.
    #[must_use]
    pub fn new(shape: ModelShape, device: DeviceSpec) -> Self {
        Self { shape, device, gpus: 1, eager: false }
    }

    /// Tensor parallel over so many devices.
    #[must_use]
    pub fn with_gpus(self, gpus: usize) -> Self {
        Self { gpus: gpus.max(1), ..self }
    }

    /// Without CUDA graphs: the host launches every kernel of every step (`--enforce-eager`).
    #[must_use]
    pub fn eager(self) -> Self {
        Self { eager: true, ..self }
    }

    /// The device, to look at.
    #[must_use]
    pub fn device(&self) -> &DeviceSpec {
        &self.device
    }

    /// Two all-reduces of the hidden state in every layer, after attention and after the MLP
    /// (Shoeybi et al., Megatron-LM, arXiv:1909.08053, section 3).
    fn communication(&self, tokens: usize) -> Duration {
        let bytes = (tokens * self.shape.hidden * self.shape.weight_bytes) as f64;
        self.device.link.all_reduce(bytes, self.gpus) * 2 * self.shape.layers as u32
    }

    /// Blocks of the KV cache that fit beside weights and activations, on all devices together.
    ///
    /// `utilization` is the part of the memory that the engine may use (`gpu_memory_utilization`).
    #[must_use]
    pub fn kv_blocks(&self, limits: SchedulerLimits, utilization: f64, block_size: usize) -> usize {
        // The part of the memory of all devices, less the weights (every parameter once), less `activation_bytes` of the
        // largest step that the limits allow, divided by what the tokens of a block take. Whole blocks only, and none
        // where the model alone is too large.
        // ANCHOR: task_1_6_capacity
        todo!("task 1.6")
        // ANCHOR_END: task_1_6_capacity
    }
}

impl StepCost for Roofline {
    fn step_time(&self, plan: &StepPlan) -> StepTime {
        if plan.is_empty() {
            let zero = Duration::ZERO;
            let binds = Limit::HostOverhead;
            return StepTime { compute: zero, memory: zero, host: zero, total: zero, binds };
        }
        let work = Work::count(&self.shape, plan).share(self.gpus);
        let communication = self.communication(work.tokens);
        let kernels = self.shape.kernels() as u32;
        let (device, host) = (&self.device, &self.device.host);

        // 1. `compute`: all FLOPs at the part of the peak that is reached. A matrix product works on whole tiles of
        //    rows: the layers cost as much as if `tokens` were the next multiple of `device.tile`.
        // 2. `memory`: all bytes at the part of the bandwidth that is reached.
        // 3. The device is busy for the longer of the two, since it computes on one part while it loads the next; then
        //    come each kernel's start and end (`device.kernel`), and `communication`.
        // 4. Before the device can begin, the host takes `step` once, and `sequence` for each chunk.
        // 5. Without graphs the host launches all kernels, one by one, while the device runs: the device's part takes at
        //    least as long as that.
        // 6. `host` is what of the total the device does not explain. `binds` is the largest of `compute`, `memory`
        //    and `host`.
        // ANCHOR: task_1_6_time
        todo!("task 1.6")
        // ANCHOR_END: task_1_6_time
    }
}

/// What keeps the engine from doing more in this step: a roof of the device, or what kept waiting requests out.
///
/// `load` is the scheduler's after planning: `waiting` are those that the plan left out.
#[must_use]
pub fn binding(plan: &StepPlan, time: &StepTime, load: &Load, limits: SchedulerLimits) -> Limit {
    // A scheduler stops to admit for one of three reasons: no budget, no place, no block. Take them in this order.
    // - A plan that preempts ran out of blocks, whatever else is true.
    // - Where nobody waits, or the whole token budget is spent, the step itself is the limit: `time.binds`.
    // - Else there was budget for those who wait. Were all `max_num_seqs` places taken? Then it is the queue.
    // - Else there was a place too, and it is the blocks.
    // ANCHOR: task_1_6_binds
    todo!("task 1.6")
    // ANCHOR_END: task_1_6_binds
}
