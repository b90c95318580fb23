//! The load generator against a server that behaves, and misbehaves, as a script says.

#![expect(clippy::unwrap_used, reason = "a test panics where it cannot go on")]

mod command;
mod double;
mod faults;
mod load;
mod open_loop;
mod own_server;
mod sink;
