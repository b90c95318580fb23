//! What a step costs on a device, and a discrete-event fleet of engines under a virtual clock.
//!
//! The fleet drives the same [`serving::Scheduler`] that serves real traffic. Only the executor is
//! replaced: instead of a model it asks a [`StepCost`] how long the step would take. Pure: no I/O,
//! no thread, no real clock.

mod bench_serve;
mod calibrate;
mod catalogue;
mod cost;
mod device;
mod shape;

pub use bench_serve::bench_serve_arrivals;
pub use calibrate::{CalibrationError, Roofs, Sample, calibrate};
pub use cost::{Limit, LinearCost, StepCost, StepTime};
pub use device::{DeviceSpec, Host, Link};
pub use shape::{ModelShape, ShapeError};
