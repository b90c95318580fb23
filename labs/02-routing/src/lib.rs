//! Lab 2, routing: from round robin to a router that one would put in front of production.
//!
//! | task | file | what |
//! |---|---|---|
//! | 2.1 | `least_request.rs`, `peak_ewma.rs`, `two_choices.rs`, `load.rs`, `scorers.rs`, `picker.rs`, `pipeline.rs` | look at the load |
//! | 2.2 | `prefix_blocks.rs`, `prefix_index.rs`, `kv_events.rs`, `affinity.rs` | prefix and KV affinity |
//! | 2.3 | `capability.rs` | who can serve a request at all, and what to say where nobody can |
//! | 2.4 | `split.rs`, `shadow.rs`, `evidence.rs`, `rollout.rs`, `report.rs` | a new version: to whom, and for how long |
//! | 2.5 | `retry_budget.rs`, `hedge_delay.rs`, `outliers.rs`, `fair_queue.rs`, `exchange.rs` | the proxy's rules |
//! | 2.6 | `slices.rs`, `gateway.rs`, `pool_picker.rs`, `ext_proc.rs` | Kubernetes-native |
//!
//! Policies and decisions are pure: functions of what is asked, what is known of each endpoint, and the time. The same
//! code runs in the simulator, in the live router, and behind Envoy's endpoint-picker protocol.

pub mod affinity;
pub mod around;
pub mod canary;
pub mod canary_metrics;
pub mod capability;
pub mod capable;
pub mod catalogue;
pub mod dispatcher;
pub mod evidence;
pub mod exchange;
pub mod ext_proc;
pub mod fair_queue;
pub mod fleet;
pub mod gateway;
pub mod hedge_delay;
pub mod kv_events;
pub mod least_request;
pub mod load;
pub mod need;
pub mod outliers;
pub mod peak_ewma;
pub mod picker;
pub mod picker_metrics;
pub mod pipeline;
pub mod policies;
pub mod pool_picker;
pub mod prefix_aware;
pub mod prefix_blocks;
pub mod prefix_index;
pub mod published;
mod queues;
pub mod recency;
pub mod report;
pub mod retry_budget;
pub mod rollout;
pub mod route_plan;
pub mod routed;
pub mod scorers;
pub mod shadow;
pub mod slices;
pub mod split;
pub mod two_choices;

#[cfg(test)]
mod tests;

pub use affinity::Affinity;
pub use canary::Canary;
pub use capability::{Answer, Choice, Lack, Refusal, Route, Server, allowed, answer, lack, route};
pub use capable::Capable;
pub use catalogue::{Catalogue, Deployment, Feature, FeatureSet, Price, Tier};
pub use dispatcher::{Dispatcher, HedgeRules, Rules};
pub use evidence::Bet;
pub use exchange::{Exchange, ExchangeRules};
pub use fair_queue::{FairQueue, Pushed};
pub use hedge_delay::HedgeDelay;
pub use least_request::LeastRequest;
pub use load::Limits;
pub use need::{Api, Length, Need, Wishes};
pub use outliers::{OutlierRules, Outliers};
pub use picker::Picker;
pub use pipeline::LoadAware;
pub use prefix_aware::PrefixAware;
pub use prefix_blocks::PrefixBlocks;
pub use retry_budget::{BudgetRules, RetryBudget};
pub use rollout::{Decision, Observation, Plan, Rollout, Seen, Weights};
pub use routed::Routed;
pub use shadow::Shadow;
pub use split::{Assignment, Share, Split, Version, assign};
pub use two_choices::TwoChoices;
