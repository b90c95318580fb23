//! Which version of Kubernetes' API is served.

use serde_json::{Value, json};

/// The version that clients compare themselves with.
pub(crate) const VERSION: &str = "v1.34.3+embedded";

/// The answer of `/version`.
pub(crate) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "34",
        "gitVersion": VERSION,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, platform(std::env::consts::ARCH)),
    })
}

/// An architecture as Go names it.
fn platform(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
