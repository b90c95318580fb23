//! Faults from the command line.

fn main() {}
