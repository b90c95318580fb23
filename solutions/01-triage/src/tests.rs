//! The checks, by task. The name of a function says which task it checks, and what.
//!
//! All but those in `live` are pure: no clock, no thread, no model; what is random comes from
//! `LAB_SEED`.

mod incidents;
mod live;
mod load_steps;
mod task_1_1;
mod task_1_2;
mod task_1_3;
mod task_1_4;
mod task_1_5;
mod task_1_6;
mod task_1_7;
mod watcher;
