//! The running router, looked at from outside: one program, because each would link all of the router's dependencies.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod built;
mod capability;
mod cluster;
mod common;
mod http_route;
mod kv_events;
mod observed;
mod rollout;
mod scripted;
mod services;
mod warnings;
