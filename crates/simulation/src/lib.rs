//! What a step costs on a device, and a discrete-event fleet of engines under a virtual clock.
//!
//! The fleet drives the same [`serving::Scheduler`] and the same [`routing::Policy`] that serve real traffic. Only the
//! executor is replaced: instead of a model it asks a [`StepCost`] how long the step would take. Pure: no I/O,
//! no thread, no real clock, but for [`real_time`], which lets a pod sleep through its steps.

mod arrival;
mod bench_serve;
mod calibrate;
mod calibration;
mod catalogue;
mod cost;
mod device;
mod fault;
mod fleet;
mod journal;
mod live;
mod observer;
pub mod real_time;
mod replica;
mod report;
mod request;
mod ring;
mod router;
mod router_limits;
mod series;
mod shape;
mod trouble;
mod virtual_executor;

pub use arrival::{Arrival, Prompt};
pub use bench_serve::bench_serve_arrivals;
pub use calibrate::{CalibrationError, Roofs, Sample, calibrate};
pub use calibration::{Calibration, CalibrationTextError, MeasuredStep, RoofFigures, THIS_MACHINE};
pub use cost::{Limit, LinearCost, StepCost, StepTime};
pub use device::{DeviceSpec, Host, Link};
pub use fault::{Fault, FaultKind};
pub use fleet::{Fleet, FleetError};
pub use observer::{ObservedStep, Observer};
pub use replica::{Replica, ReplicaSpec};
pub use report::{ReplicaReport, Report, Spread, Summary};
pub use request::{Outcome, RequestRecord, Slo, SloError};
pub use router_limits::RouterLimits;
pub use routing::RoundRobin;
pub use series::Series;
pub use shape::{ModelShape, ShapeError};
pub use trouble::{Trouble, UnknownTrouble};
pub use virtual_executor::Binding;
