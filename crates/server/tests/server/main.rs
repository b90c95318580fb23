//! The server as a client sees it: real sockets on port 0, a scripted or a tiny real model behind them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, not only #[test] functions, fail by panicking"
)]

mod abort;
mod admission;
mod chat;
mod client;
mod completions;
mod drain;
mod errors;
mod failure;
mod golden;
mod harness;
mod loading;
mod logprobs;
mod metrics;
mod replay;
mod script;
mod slow;
mod text;
mod tgi;
mod tiny;
mod traces;
