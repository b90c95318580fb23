//! Lab 2, routing: from round robin to a router that one would put in front of production.
//!
//! | task | file | what |
//! |---|---|---|
//! | 2.1 | `least_request.rs`, `peak_ewma.rs`, `two_choices.rs`, `load.rs`, `scorers.rs`, `picker.rs`, `pipeline.rs` | look at the load |
//!
//! Policies and decisions are pure: functions of what is asked, what is known of each endpoint, and the time. The same
//! code runs in the simulator, in the live router, and behind Envoy's endpoint-picker protocol.

pub mod least_request;
pub mod load;
pub mod peak_ewma;
pub mod picker;
pub mod pipeline;
pub mod scorers;
pub mod two_choices;

#[cfg(test)]
mod tests;

pub use least_request::LeastRequest;
pub use load::Limits;
pub use picker::Picker;
pub use pipeline::LoadAware;
pub use two_choices::TwoChoices;
