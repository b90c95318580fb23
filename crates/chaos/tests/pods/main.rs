//! Faults on real pods, each proven by what a client sees, and each undone.
//!
//! It needs a cluster that executes them and a program that talks to it: `cargo xtask test --only faults` brings an embedded one up,
//! says where it is, and runs this. What is asserted are orderings, counts, and lower bounds that follow from what was asked for:
//! a late answer may always come later still, and that proves nothing, but never earlier.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod http;
mod network;
mod place;
mod pods;
mod repeat;
mod rules;
mod stress;
