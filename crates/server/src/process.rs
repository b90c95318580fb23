//! This process as Prometheus' own client libraries describe it, from Linux's `/proc`.
//!
//! Source: <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>. Where there is no `/proc`,
//! there are no such metrics.

use std::fs;

use protocol::exposition::MetricFamily;
use protocol::vllm;

/// Clock ticks a second in `/proc/self/stat`: `USER_HZ`, 100 on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// Bytes in a `kB` of `/proc/self/status`.
const KIB: f64 = 1024.0;

/// All that can be read. `started_s` is in seconds since 1970.
pub(crate) fn families(started_s: u64) -> Vec<MetricFamily> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    let known = [
        (&vllm::PROCESS_VIRTUAL_MEMORY, memory(&status, "VmSize:")),
        (&vllm::PROCESS_RESIDENT_MEMORY, memory(&status, "VmRSS:")),
        (&vllm::PROCESS_START_TIME, Some(started_s as f64)),
        (&vllm::PROCESS_CPU_SECONDS, cpu_seconds(&stat)),
        (&vllm::PROCESS_OPEN_FDS, open),
        (&vllm::PROCESS_MAX_FDS, max_fds(&limits)),
    ];
    let family = |(metric, value): (&vllm::Metric, Option<f64>)| {
        let mut family = metric.family();
        family.add(Vec::new(), value?);
        Some(family)
    };
    known.into_iter().filter_map(family).collect()
}

fn memory(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib * KIB)
}

/// User and system time: the 14th and 15th field, the second of which may hold spaces in parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_S)
}

fn max_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn procs_files_are_read() {
        assert_eq!(memory("Name:\tx\nVmSize:\t    2000 kB\n", "VmSize:"), Some(2_048_000.0));
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 99 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(
            max_fds("Max open files            1024                 4096 files"),
            Some(1024.0)
        );
        assert_eq!((memory("", "VmRSS:"), cpu_seconds(""), max_fds("")), (None, None, None));
    }
}
