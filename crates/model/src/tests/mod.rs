//! Tests that run whole models, against a naive reference and against each other.

mod files;
mod forward;
mod real;
mod reference;
mod steps;
