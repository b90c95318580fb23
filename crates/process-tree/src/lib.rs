//! Who descends from whom on this machine, as Linux tells it in `/proc`, and what a process may ask for itself.
//!
//! Elsewhere there is nothing to read, and a [`Tree`] is empty. Whom to kill is not known here: that depends on what else is
//! below the same parent.

mod itself;
mod process;
mod tree;

pub use itself::{die_with, this_program};
pub use process::Process;
pub use tree::Tree;
