//! What goes wrong with a replica, and when.

use std::time::Duration;

use crate::{Limit, StepTime};

/// Trouble in a stretch of time, both ends counted from the start of the fleet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// When it begins.
    pub from: Duration,
    /// When it is over.
    pub until: Duration,
    /// What it does.
    pub kind: FaultKind,
}

/// What trouble does to steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// A step that begins in the stretch takes this many times as long: a device that throttles, a noisy
    /// neighbour.
    Slow {
        /// At least 0; 1 changes nothing.
        factor: f64,
    },
    /// Nothing moves for the length of the stretch: a garbage collector, a network file system, a frozen
    /// process. A step under way resumes when it is over.
    Stall,
}

impl Fault {
    /// What becomes of a step that begins at `now` and would take `time`.
    #[must_use]
    pub fn apply(&self, now: Duration, time: StepTime) -> StepTime {
        match self.kind {
            FaultKind::Slow { factor } if self.from <= now && now < self.until => StepTime {
                compute: time.compute.mul_f64(factor),
                memory: time.memory.mul_f64(factor),
                host: time.host.mul_f64(factor),
                total: time.total.mul_f64(factor),
                binds: time.binds,
            },
            FaultKind::Stall if self.from < now + time.total && now < self.until => {
                let lost = self.until - now.max(self.from);
                let host = time.host + lost;
                let binds = if host >= time.compute.max(time.memory) {
                    Limit::HostOverhead
                } else {
                    time.binds
                };
                StepTime { host, total: time.total + lost, binds, ..time }
            }
            _ => time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const STEP: StepTime = StepTime {
        compute: ms(4),
        memory: ms(6),
        host: ms(4),
        total: ms(10),
        binds: Limit::MemoryBandwidth,
    };

    #[test]
    fn a_slow_stretch_stretches_the_steps_that_begin_in_it() {
        let fault = Fault { from: ms(100), until: ms(200), kind: FaultKind::Slow { factor: 3.0 } };
        let total = |now| fault.apply(ms(now), STEP).total;
        assert_eq!(
            (total(99), total(100), total(199), total(200)),
            (ms(10), ms(30), ms(30), ms(10))
        );
    }

    #[test]
    fn a_stall_adds_what_is_left_of_it() {
        let fault = Fault { from: ms(100), until: ms(200), kind: FaultKind::Stall };
        let total = |now| fault.apply(ms(now), STEP).total;
        assert_eq!(
            (total(90), total(91), total(150), total(200)),
            (ms(10), ms(110), ms(60), ms(10))
        );
        assert_eq!(fault.apply(ms(150), STEP).binds, Limit::HostOverhead);
    }
}
