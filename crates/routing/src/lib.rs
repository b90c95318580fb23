//! The seams of a router: what is asked, what is known of each endpoint, and who chooses.
//!
//! Pure: no I/O, no clock, no thread; time is a `Duration` since the router started. A [`Policy`] runs unchanged in
//! the simulator, in the live router, and behind Envoy's endpoint-picker protocol. A [`Dispatch`] decides all the rest
//! of what happens to a request: when it starts, where again, who is left alone. Knows no transport, no backend's
//! dialect, and no answer of a lab: [`RoundRobin`] and [`Direct`] are the
//! baselines.

mod asks;
mod direct;
mod dispatch;
mod endpoint;
mod exchange;
mod feedback;
mod kv_event;
mod policy;
mod request;
mod round_robin;
mod signals;

pub use asks::{Asks, Model, Terms};
pub use direct::Direct;
pub use dispatch::{Counts, Dispatch, Orders};
pub use endpoint::{EndpointId, EndpointView};
pub use exchange::{Action, Arrival, Attempt, Event, Failure, Reason, Refusal, RequestKey};
pub use feedback::{Ending, Feedback, Happening};
pub use kv_event::{KvBlock, KvEvent};
pub use policy::Policy;
pub use request::RouteRequest;
pub use round_robin::RoundRobin;
pub use signals::{Scrape, Signals};
