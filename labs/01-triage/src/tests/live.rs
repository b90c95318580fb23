//! The checks on a real engine.
