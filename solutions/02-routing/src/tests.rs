//! The checks, by task. The name of a function says which task it checks, and what.
//!
//! They are pure: no clock, no thread, no network; what is random comes from `LAB_SEED`.

mod canaries;
mod fleet;
mod live;
mod rig;
mod task_2_1;
mod task_2_1_fleets;
mod task_2_2;
mod task_2_2_fleets;
mod task_2_3;
mod task_2_4;
mod task_2_4_fleet;
mod task_2_4_report;
mod task_2_4_rollout;
mod task_2_5;
mod task_2_5_exchanges;
mod task_2_6_gateway;
mod task_2_6_picker;
mod task_2_6_slices;
