//! A model on a device, by name: what `engine --sim` and `simulate` serve. Given.

use std::str::FromStr;

use serving::{LimitError, SchedulerLimits};
use simulation::{DeviceSpec, ModelShape, THIS_MACHINE};

use crate::Roofline;
use crate::calibration::{NotCalibrated, this_machine};

/// Devices with at least so much memory get the large token budget.
const LARGE_MEMORY: f64 = 70.0 * (1u64 << 30) as f64;

/// A model, served by one or more devices of one kind.
#[derive(Debug, Clone)]
pub struct Placement {
    /// What the model is called.
    pub model: String,
    /// What its steps cost.
    pub roofline: Roofline,
}

/// A name that the catalogue does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// No such device.
    #[error(
        "no device is called `{name}`; there are {}, and `{THIS_MACHINE}`",
        join(DeviceSpec::names())
    )]
    Device {
        /// What was asked for.
        name: String,
    },
    /// This machine was asked for, and is not known.
    #[error(transparent)]
    NotCalibrated(#[from] NotCalibrated),
    /// More than one of this machine was asked for.
    #[error("there is only one `{THIS_MACHINE}`: it cannot share a model with {gpus}")]
    Several {
        /// How many.
        gpus: usize,
    },
    /// No such model.
    #[error("no model is called `{name}`; there are {}", join(ModelShape::names()))]
    Model {
        /// What was asked for.
        name: String,
    },
    /// Not of the form `DEVICE:MODEL` or `DEVICE:MODELxN`.
    #[error(
        "`{text}` is not DEVICE:MODEL, such as h100:qwen2.5-7b, or h100:qwen2.5-72bx4 for four"
    )]
    Form {
        /// What was written.
        text: String,
    },
}

fn join(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

impl Placement {
    /// A model of the catalogue on `gpus` devices of the catalogue, or on this machine.
    ///
    /// # Errors
    /// [`PlacementError`] names what is not there.
    pub fn named(device: &str, model: &str, gpus: usize) -> Result<Self, PlacementError> {
        let shape = ModelShape::named(model)
            .ok_or_else(|| PlacementError::Model { name: model.to_owned() })?;
        Self::of_shape(device, model, shape, gpus)
    }

    /// A model of this shape on `gpus` devices of the catalogue, or on this machine.
    ///
    /// # Errors
    /// [`PlacementError::Device`], [`PlacementError::NotCalibrated`], [`PlacementError::Several`].
    pub fn of_shape(
        device: &str,
        model: &str,
        shape: ModelShape,
        gpus: usize,
    ) -> Result<Self, PlacementError> {
        let device = match device {
            THIS_MACHINE if gpus > 1 => return Err(PlacementError::Several { gpus }),
            THIS_MACHINE => this_machine()?.device(),
            _ => DeviceSpec::named(device)
                .ok_or_else(|| PlacementError::Device { name: device.to_owned() })?,
        };
        let roofline = Roofline::new(shape, device).with_gpus(gpus);
        Ok(Self { model: model.to_owned(), roofline })
    }

    /// The limits asked for; where none are, vLLM's: 256 sequences, and 8,192 tokens a step on devices of 70 GiB
    /// and more, 2,048 on smaller ones (`EngineArgs._set_default_args` in `vllm/engine/arg_utils.py`).
    ///
    /// # Errors
    /// [`LimitError`] where the two do not go together.
    pub fn limits(
        &self,
        max_num_seqs: Option<usize>,
        max_num_batched_tokens: Option<usize>,
    ) -> Result<SchedulerLimits, LimitError> {
        let large = self.roofline.device().memory >= LARGE_MEMORY;
        let max_num_seqs = max_num_seqs.unwrap_or(256);
        let budget = if large { 8_192 } else { 2_048 };
        let budget = max_num_batched_tokens.unwrap_or(budget.max(max_num_seqs));
        SchedulerLimits::try_new(max_num_seqs, budget)
    }
}

impl FromStr for Placement {
    type Err = PlacementError;

    fn from_str(text: &str) -> Result<Self, PlacementError> {
        let form = || PlacementError::Form { text: text.to_owned() };
        let (device, model) = text.split_once(':').ok_or_else(form)?;
        // A model's own name may end in an x and a number: so that comes second.
        if ModelShape::named(model).is_none()
            && let Some((model, gpus)) = model.rsplit_once('x')
            && let Ok(gpus) = gpus.parse()
        {
            return if gpus == 0 { Err(form()) } else { Self::named(device, model, gpus) };
        }
        Self::named(device, model, 1)
    }
}
