//! Lab 2, routing: from round robin to a router that one would put in front of production.
//!
//! | task | file | what |
//! |---|---|---|
//! | 2.1 | `least_request.rs` | look at the load |
//!
//! Policies and decisions are pure: functions of what is asked, what is known of each endpoint, and the time. The same
//! code runs in the simulator, in the live router, and behind Envoy's endpoint-picker protocol.

pub mod least_request;

#[cfg(test)]
mod tests;

pub use least_request::LeastRequest;
