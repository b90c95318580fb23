//! Measures the course's own programs beside their peers: in the same run, on the same machine, in turn.
//!
//! A time says little about a program: it says as much about the machine and its other users. So every figure
//! stands beside a peer's figure of the same run, and what is reported is their ratio. This crate runs programs
//! and reads what they print; it imports none of them, and knows neither a model nor a socket.

pub mod cluster;
mod compare;
pub mod engine;
mod error;
pub mod loadgen;
mod machine;
mod on_demand;
mod own;
mod peer;
mod plot;
pub mod policy;
mod progress;
mod result;
pub mod router;
mod run;
mod sample;
pub mod simulation;
mod table;
mod task;
mod used;
mod wait;

pub use compare::{Compared, Comparison, Contender, Figure, Measured};
pub use error::BenchError;
pub use machine::Machine;
pub use own::Places;
pub use peer::{Installed, Peer, Source, choose, install_all};
pub use plot::svg;
pub use progress::Progress;
pub use result::{BenchResult, BookPage, Goal, PeerFigures, Row, SCHEMA, write};
pub use run::{Finished, Process, run};
pub use sample::{Better, Spread, order, ratio};
pub use table::{markdown, terminal};
pub use task::{Task, can_pin};
