//! This machine as a device: from measured steps to roofs, and back from the file that keeps them. Given.
//!
//! Knows no model and no engine; `src/bin/calibrate` runs both. What a step asks for is counted by task 1.6.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serving::{BlockTable, Chunk, SequenceId, StepPlan};
use simulation::{
    Calibration, CalibrationError, MeasuredStep, ModelShape, Roofs, Sample, calibrate,
};

use crate::Work;

/// What to type where this machine was not measured yet.
pub const COMMAND: &str = "cargo xtask model calibrate";

/// Why this machine is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCalibrated {
    /// Nobody has measured it.
    #[error("this machine was not measured yet: `{COMMAND}` does it, in a minute")]
    Absent,
    /// The file is of no use.
    #[error("{}: {reason}\n`{COMMAND}` measures this machine again", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What measuring this machine found out.
///
/// # Errors
/// [`NotCalibrated`] says what to type.
pub fn this_machine() -> Result<Calibration, NotCalibrated> {
    read(&lab_cache::calibration().ok_or(NotCalibrated::Absent)?)
}

/// What a file says of a machine.
///
/// # Errors
/// [`NotCalibrated`] says what to type.
pub fn read(path: &Path) -> Result<Calibration, NotCalibrated> {
    let unusable = |reason: String| NotCalibrated::Unusable { path: path.to_owned(), reason };
    let json = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NotCalibrated::Absent,
        _ => unusable(error.to_string()),
    })?;
    Calibration::from_json(&json).map_err(|error| unusable(error.to_string()))
}

/// The plan of a measured step: each chunk a sequence of its own that samples.
#[must_use]
pub fn plan(step: &MeasuredStep) -> StepPlan {
    let chunk = |(id, &(start, tokens)): (usize, &(usize, usize))| Chunk {
        sequence: SequenceId(id as u64),
        start,
        tokens: std::iter::repeat_n(0, tokens).collect(),
        block_table: BlockTable::default(),
        samples: true,
    };
    StepPlan { chunks: step.chunks.iter().enumerate().map(chunk).collect(), preempted: Vec::new() }
}

/// The roofs that explain the steps of a model of this shape.
///
/// # Errors
/// [`CalibrationError`] where the steps do not show both.
pub fn fit(shape: &ModelShape, steps: &[MeasuredStep]) -> Result<Roofs, CalibrationError> {
    let sample = |step: &MeasuredStep| {
        let (flops, bytes) = Work::count(shape, &plan(step)).flops_and_bytes();
        let time = Duration::try_from_secs_f64(step.time_us / 1e6).unwrap_or_default();
        Sample { flops, bytes, sequences: step.chunks.len(), time }
    };
    calibrate(&steps.iter().map(sample).collect::<Vec<_>>())
}
