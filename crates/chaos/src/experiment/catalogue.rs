//! The course's own experiments, in the program itself.

use std::path::Path;

use super::{Experiment, ExperimentError};

/// Names and texts.
const FILES: [(&str, &str); 11] = [
    ("cpu-stress", include_str!("../../experiments/cpu-stress.yaml")),
    ("cut-link", include_str!("../../experiments/cut-link.yaml")),
    ("http-errors", include_str!("../../experiments/http-errors.yaml")),
    ("hung-engine", include_str!("../../experiments/hung-engine.yaml")),
    ("kv-starvation", include_str!("../../experiments/kv-starvation.yaml")),
    ("pod-failure", include_str!("../../experiments/pod-failure.yaml")),
    ("pod-kill", include_str!("../../experiments/pod-kill.yaml")),
    ("slow-link", include_str!("../../experiments/slow-link.yaml")),
    ("slow-load", include_str!("../../experiments/slow-load.yaml")),
    ("slow-replica", include_str!("../../experiments/slow-replica.yaml")),
    ("stale-metrics", include_str!("../../experiments/stale-metrics.yaml")),
];

/// All of the course's own, by name.
///
/// # Errors
/// If one cannot be read, which a test rules out.
pub fn builtin() -> Result<Vec<Experiment>, ExperimentError> {
    FILES.iter().map(|(name, text)| Experiment::parse(name, text)).collect()
}

/// An experiment by its name, or by the path of its file.
///
/// # Errors
/// [`ExperimentError`].
pub fn find(name: &str) -> Result<Experiment, ExperimentError> {
    if let Some((name, text)) = FILES.iter().find(|(each, _)| *each == name) {
        return Experiment::parse(name, text);
    }
    if !Path::new(name).is_file() {
        return Err(ExperimentError::Unknown(name.to_owned()));
    }
    let text = std::fs::read_to_string(name).map_err(|error| ExperimentError::Content {
        name: name.to_owned(),
        reason: error.to_string(),
    })?;
    Experiment::parse(name, &text)
}
