//! What measuring a machine found out, as a file keeps it: the steps, the roofs fitted to them, and
//! the device that they make.
//!
//! Knows no file and no clock: the text goes in and out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{DeviceSpec, Host, Link, Roofs};

/// What a measured machine is called where devices have names.
pub const THIS_MACHINE: &str = "cpu";

/// Version of the format. It grows when an older reader would misread a file.
const SCHEMA: u64 = 1;

/// A machine that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The day, UTC, as `2026-11-23`.
    pub date: String,
    /// The processor's own name.
    pub processor: String,
    /// Threads that computed.
    pub threads: usize,
    /// What was run, as it calls itself.
    pub model: String,
    /// Memory of the machine in bytes.
    pub memory_bytes: u64,
    /// What the steps are explained by.
    pub roofs: RoofFigures,
    /// What was measured.
    pub steps: Vec<MeasuredStep>,
}

/// [`Roofs`] with their units in their names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RoofFigures {
    /// Arithmetic reached.
    pub flop_per_s: f64,
    /// Bandwidth reached, where every weight counts as many bytes as the model's shape says.
    pub bytes_per_s: f64,
    /// What every step takes on top.
    pub step_us: f64,
    /// What every sequence of a step takes on top.
    pub sequence_us: f64,
}

/// One step and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredStep {
    /// Each sequence's position and how many tokens it was fed.
    pub chunks: Vec<(usize, usize)>,
    /// The median of its rounds, from plan to sampled tokens.
    pub time_us: f64,
}

/// A text that is no calibration.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationTextError {
    /// Not JSON, or a field is missing.
    #[error("it cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Of another version of this program.
    #[error("it has schema {found}, and this program reads {SCHEMA}")]
    Schema {
        /// Its schema.
        found: u64,
    },
    /// A figure that no machine has.
    #[error("its {what} is {value}, which no machine has")]
    Figure {
        /// Which.
        what: &'static str,
        /// What it says.
        value: f64,
    },
}

/// The file: the version, then the rest.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    schema: u64,
    #[serde(flatten)]
    calibration: T,
}

/// Read first, since the rest may look different.
#[derive(Deserialize)]
struct Anything {}

impl Calibration {
    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// [`CalibrationTextError`].
    pub fn from_json(json: &str) -> Result<Self, CalibrationTextError> {
        let Versioned::<Anything> { schema: found, .. } = serde_json::from_str(json)?;
        if found != SCHEMA {
            return Err(CalibrationTextError::Schema { found });
        }
        let Versioned::<Self> { calibration, .. } = serde_json::from_str(json)?;
        let RoofFigures { flop_per_s, bytes_per_s, step_us, sequence_us } = calibration.roofs;
        let figures = [
            ("flop_per_s", flop_per_s, f64::MIN_POSITIVE),
            ("bytes_per_s", bytes_per_s, f64::MIN_POSITIVE),
            ("step_us", step_us, 0.0),
            ("sequence_us", sequence_us, 0.0),
        ];
        for (what, value, least) in figures {
            if !(least..f64::INFINITY).contains(&value) {
                return Err(CalibrationTextError::Figure { what, value });
            }
        }
        Ok(calibration)
    }

    /// As JSON that a person can read.
    ///
    /// # Errors
    /// [`CalibrationTextError::Json`] for a figure that is not a number.
    pub fn to_json(&self) -> Result<String, CalibrationTextError> {
        let versioned = Versioned { schema: SCHEMA, calibration: self };
        Ok(serde_json::to_string_pretty(&versioned)? + "\n")
    }

    /// The machine as a device: what it promises is what it reached, and nothing is lost to tiles
    /// or kernels, whose time the measured steps contain. What HTTP takes is not in it.
    #[must_use]
    pub fn device(&self) -> DeviceSpec {
        let Roofs { flops, bandwidth, step, sequence } = self.roofs.into();
        let none = Duration::ZERO;
        let host = Host { step, sequence, launch: none, request: none, prompt_token: none };
        DeviceSpec {
            name: THIS_MACHINE.to_owned(),
            flops,
            bandwidth,
            memory: self.memory_bytes as f64,
            compute_efficiency: 1.0,
            bandwidth_efficiency: 1.0,
            tile: 1,
            kernel: none,
            // Nothing is wired to it.
            link: Link { bandwidth, latency: none },
            host,
        }
    }
}

// === impl RoofFigures ===

impl From<Roofs> for RoofFigures {
    fn from(roofs: Roofs) -> Self {
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        Self {
            flop_per_s: roofs.flops,
            bytes_per_s: roofs.bandwidth,
            step_us: us(roofs.step),
            sequence_us: us(roofs.sequence),
        }
    }
}

impl From<RoofFigures> for Roofs {
    fn from(figures: RoofFigures) -> Self {
        let time = |us: f64| Duration::try_from_secs_f64(us / 1e6).unwrap_or(Duration::MAX);
        Self {
            flops: figures.flop_per_s,
            bandwidth: figures.bytes_per_s,
            step: time(figures.step_us),
            sequence: time(figures.sequence_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration() -> Calibration {
        let (step, sequence) = (Duration::from_micros(2_400), Duration::from_micros(220));
        Calibration {
            date: "2026-11-23".to_owned(),
            processor: "AMD EPYC".to_owned(),
            threads: 2,
            model: "SmolLM2".to_owned(),
            memory_bytes: 24 << 30,
            roofs: Roofs { flops: 7.3e11, bandwidth: 2.3e11, step, sequence }.into(),
            steps: vec![MeasuredStep { chunks: vec![(0, 16)], time_us: 8_060.0 }],
        }
    }

    #[test]
    fn a_calibration_is_read_as_it_was_written() {
        let json = calibration().to_json().unwrap();
        assert_eq!(Calibration::from_json(&json).unwrap(), calibration());
        let device = calibration().device();
        assert_eq!((device.name.as_str(), device.flops), ("cpu", 7.3e11));
        assert_eq!(device.host.step, Duration::from_micros(2_400));
    }

    #[test]
    fn what_is_no_calibration_is_refused_with_the_reason() {
        let json = calibration().to_json().unwrap();
        let refused = |from: &str, to: &str| {
            assert!(json.contains(from), "{from} is not in {json}");
            Calibration::from_json(&json.replace(from, to)).unwrap_err().to_string()
        };
        let newer = refused("\"schema\": 1", "\"schema\": 2");
        assert_eq!(newer, "it has schema 2, and this program reads 1");
        assert!(refused("\"threads\"", "\"strands\"").contains("threads"));
        let no_machine = refused("730000000000.0", "0.0");
        assert_eq!(no_machine, "its flop_per_s is 0, which no machine has");
        assert!(Calibration::from_json("{").is_err());
    }
}
