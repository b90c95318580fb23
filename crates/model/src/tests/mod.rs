//! Tests that run whole models, against a naive reference and against each other.

mod forward;
mod real;
mod reference;
mod steps;
