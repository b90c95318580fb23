//! Deliberately naive parts: what the course's own parts are measured against.

mod contiguous_pool;
mod counters;
mod fixed_budget;
mod static_scheduler;

pub use contiguous_pool::ContiguousPool;
pub use counters::Counters;
pub use fixed_budget::FixedBudget;
pub use static_scheduler::StaticScheduler;
