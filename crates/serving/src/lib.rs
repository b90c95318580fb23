//! The seams of a serving engine: the words and traits that scheduler, block pool, executor, metrics and
//! server agree on, with deliberately naive baselines to compare against.
//!
//! One engine step is *plan, execute, commit* ([`Engine::step`]). Everything here is a function of its
//! arguments: no I/O, no clock (time is a [`std::time::Duration`] since the engine started), no threads.
//! The same code drives a live engine and a simulated one, and it compiles to WebAssembly.

pub mod baseline;
mod block_table;
mod budget;
mod engine;
mod executor;
mod ids;
mod logprobs;
mod plan;
mod pool;
mod recorder;
mod scheduler;
mod sequence;
mod text;
mod timeline;

pub use block_table::BlockTable;
pub use budget::{Demand, StepSample, TokenBudget};
pub use engine::{Engine, EngineError, Progress, ProgressKind, StepReport};
pub use executor::{Executor, ExecutorError, SampledToken, SamplingParams, StepOutput};
pub use ids::{BlockId, SequenceId, SequenceMap, TokenId};
pub use logprobs::{Logprobs, SequenceLogprobs, TokenLogprob};
pub use plan::{Chunk, Outcomes, StepPlan, Tokens};
pub use pool::{BlockPool, OutOfBlocks, PoolStats, blocks_for};
pub use recorder::{FinishReason, Recorder, RequestSummary};
pub use scheduler::{LimitError, Load, Scheduler, SchedulerLimits};
pub use sequence::Sequence;
pub use text::{ChatMessage, TextCodec, TextError};
pub use timeline::{Event, EventKind, Phases, Timeline};
