//! Ties the parts.
fn main() {}
