//! Programs of other packages that tests start beside the router.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Set by `cargo xtask test`, which has built the course as one: what lies there is current. To build a package by itself gives its
/// dependencies fewer features, and so compiles them once more.
const BUILT: &str = "COURSE_BUILT";

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Lab 1's engine; it needs no model for predicted steps.
pub(crate) fn engine() -> PathBuf {
    built(&["-p", "sol01-triage", "--features", "serve", "--bin", "sol01-engine"], "sol01-engine")
}

/// The course's API server, alone.
pub(crate) fn api_server() -> PathBuf {
    built(&["-p", "api-server", "--example", "serve"], "examples/serve")
}

/// A program of the folder that the router is in, built first unless all of it was.
fn built(target: &[&str], program: &str) -> PathBuf {
    if std::env::var_os(BUILT).is_none() {
        build(target);
    }
    Path::new(env!("CARGO_BIN_EXE_lab02-router")).with_file_name(program)
}

fn build(target: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "-q"]).args(target).current_dir(root());
    // What cargo tells a test of its package would make ring, and all above it, new in the eyes of another cargo.
    for (name, _) in std::env::vars_os() {
        let name_of = name.to_string_lossy();
        if name_of.starts_with("CARGO_PKG_") || name_of.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&name);
        }
    }
    assert!(build.status().unwrap().success(), "{target:?} cannot be built");
}
