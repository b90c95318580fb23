//! Which adapters a model server works with.

use crate::scan::Labels;

/// The most adapters that are kept of one list; what a page says beyond that is left out.
pub const MAX_ADAPTERS: usize = 256;

/// What a page says of LoRA adapters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lora {
    /// How many different adapters one step can hold.
    pub slots: Option<u32>,
    /// How many of these are taken.
    pub used: Option<u32>,
    /// Names of adapters that running requests use.
    pub running: Vec<String>,
    /// Names of adapters that waiting requests ask for.
    pub waiting: Vec<String>,
}

// === impl Lora ===

impl Lora {
    /// From the labels of `vllm:lora_requests_info`.
    pub(crate) fn from_labels(labels: Labels<'_>) -> Self {
        let names = |label| {
            let text = labels.get(label);
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.take(MAX_ADAPTERS).map(str::to_owned).collect::<Vec<_>>()
        };
        let running = names("running_lora_adapters");
        Self {
            slots: labels.get("max_lora").parse().ok(),
            used: u32::try_from(running.len()).ok(),
            running,
            waiting: names("waiting_lora_adapters"),
        }
    }

    /// Whether a request for this adapter finds it loaded.
    #[must_use]
    pub fn runs(&self, adapter: &str) -> bool {
        self.running.iter().any(|each| each == adapter)
    }

    /// Whether another adapter would find a place. Unknown counts as yes: it costs a load, not an error.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.slots.zip(self.used).is_none_or(|(slots, used)| used < slots)
    }
}
