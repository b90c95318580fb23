//! The checks, by task.
