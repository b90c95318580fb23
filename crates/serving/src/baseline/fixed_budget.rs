//! The same budget for every step, whatever it costs.

use crate::{Demand, StepSample, TokenBudget};

/// Spends up to `max_num_batched_tokens` in every step, as vLLM and its peers do.
///
/// What a step of that many tokens takes is for whoever sets the flag to find out: once, for one device, one
/// model and one load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FixedBudget;

impl TokenBudget for FixedBudget {
    fn next(&mut self, demand: &Demand) -> usize {
        demand.limit
    }

    fn observe(&mut self, _step: &StepSample) {}
}
