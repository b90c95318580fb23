//! The machine that a figure was taken on, and whether it was busy with something else.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// How long the processors are watched before a measurement.
const WATCH: Duration = Duration::from_millis(500);
/// Share of all processors in use above which a machine counts as busy.
const BUSY_SHARE: f64 = 0.10;
/// Bytes in a GiB.
const GIB: f64 = (1_u64 << 30) as f64;

/// What a reader needs to judge a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub cpu: String,
    /// Logical processors that this process may use.
    pub cores: usize,
    /// Main memory, in bytes.
    pub memory_bytes: u64,
    /// System and kernel.
    pub system: String,
    /// Runnable processes, averaged over a minute, just before the first run.
    pub load_average: f64,
    /// Share of all processors that others used just before the first run, 0 to 1.
    pub busy_share: f64,
}

impl Machine {
    /// Looks at this machine for half a second.
    #[must_use]
    pub fn here() -> Self {
        let what = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::everything())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let mut system = System::new_with_specifics(what);
        std::thread::sleep(WATCH.max(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL));
        system.refresh_cpu_usage();
        let cpu = system.cpus().first().map_or("", |cpu| cpu.brand().trim());
        Self {
            cpu: if cpu.is_empty() { std::env::consts::ARCH } else { cpu }.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: system.total_memory(),
            system: format!(
                "{} {}",
                System::name().unwrap_or_else(|| std::env::consts::OS.to_owned()),
                System::kernel_version().unwrap_or_default()
            ),
            load_average: rounded(System::load_average().one),
            busy_share: rounded(f64::from(system.global_cpu_usage()) / 100.0),
        }
    }

    /// Why figures taken now would say little, where that is so.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (self.busy_share > BUSY_SHARE).then(|| {
            format!(
                "this machine is busy: others use {:.0} % of its processors. Ratios suffer less than times, \
                 but both suffer.",
                self.busy_share * 100.0
            )
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, memory_bytes, system, load_average, .. } = self;
        let memory = *memory_bytes as f64 / GIB;
        let s = if *cores == 1 { "" } else { "s" };
        write!(f, "{cpu}, {cores} core{s}, {memory:.0} GiB, {system}, load {load_average:.2}")
    }
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_processor_memory_and_a_kernel() {
        let machine = Machine::here();
        assert!(machine.cores >= 1 && machine.memory_bytes > 1 << 20);
        assert!(!machine.cpu.is_empty() && machine.system.len() > 3, "{machine}");
    }

    #[test]
    fn a_machine_is_busy_when_others_use_more_than_a_tenth_of_it() {
        let quiet = Machine { busy_share: 0.1, ..Machine::here() };
        assert_eq!(quiet.warning(), None);
        let busy = Machine { busy_share: 0.6, ..quiet };
        assert!(busy.warning().unwrap().contains("60 %"));
    }
}
