//! A program's own time: a clock that stands still while the machine keeps the program waiting.
//!
//! On a machine that is busy with others, a second of wall time may hold a tenth of a second of a check. A limit on
//! wall time would then say that a correct solution is too slow. A limit on processor time alone would never end a
//! check that sleeps. So what counts is the time in which a program ran, or could have run and chose not to: all that
//! passes, but for the time in which one of its threads stood in the queue for a processor or waited for the disk.
//! The kernel adds a wait to its count only when it is over. So of a thread that is not asleep at this moment, only the
//! time on a processor is known, and only that counts.
//!
//! Pure: what was seen is an argument. Own time never runs ahead of the wall's, however many threads there are.

use std::collections::BTreeMap;
use std::time::Duration;

/// How a thread has fared so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Thread {
    /// Time in the queue for a processor since it began; `None` where the kernel does not say.
    pub(super) queued: Option<Duration>,
    /// It sleeps, or is stopped: it neither runs nor wants to, nor does it wait for the disk.
    pub(super) asleep: bool,
}

/// What one look at a program saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// Processor time so far, of all its processes, ended ones too.
    pub(super) ran: Duration,
    /// Its living threads.
    pub(super) threads: BTreeMap<u32, Thread>,
}

/// The clock.
#[derive(Debug, Default)]
pub(super) struct OwnTime {
    seen: Look,
    own: Duration,
}

// === impl OwnTime ===

impl OwnTime {
    /// Takes a look, so much time after the one before or after the start.
    pub(super) fn advance(&mut self, passed: Duration, look: Look) {
        // Ticks are coarse and processes end between two reads: the sum must not go back.
        let ran = look.ran.saturating_sub(self.seen.ran);
        let kept_waiting = self.kept_waiting(&look, ran, passed);
        self.own += passed.saturating_sub(kept_waiting).max(ran.min(passed));
        self.seen = Look { ran: look.ran.max(self.seen.ran), ..look };
    }

    /// Its own time so far.
    pub(super) fn own(&self) -> Duration {
        self.own
    }

    /// Processor time so far.
    pub(super) fn ran(&self) -> Duration {
        self.seen.ran
    }

    /// How much of the time since the last look the machine may have kept it waiting. What is not known counts as
    /// kept waiting: nobody fails for it.
    fn kept_waiting(&self, look: &Look, ran: Duration, passed: Duration) -> Duration {
        let ended = self.seen.threads.keys().any(|id| !look.threads.contains_key(id));
        if ended {
            return passed;
        }
        let of_thread = |(id, now): (&u32, &Thread)| {
            let before = self.seen.threads.get(id);
            match now.queued {
                _ if !now.asleep => passed,
                Some(queued) => {
                    queued.saturating_sub(before.and_then(|t| t.queued).unwrap_or_default())
                }
                // It slept at both ends of a time in which nothing of the program ran.
                None if ran.is_zero() && before.is_some_and(|t| t.asleep) => Duration::ZERO,
                None => passed,
            }
        };
        look.threads.iter().map(of_thread).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(50);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn awake(queued_ms: u64) -> Thread {
        Thread { queued: Some(ms(queued_ms)), asleep: false }
    }

    fn asleep(queued_ms: u64) -> Thread {
        Thread { queued: Some(ms(queued_ms)), asleep: true }
    }

    fn look(ran_ms: u64, threads: &[Thread]) -> Look {
        Look { ran: ms(ran_ms), threads: (1..).zip(threads.iter().copied()).collect() }
    }

    /// Own time after looks, one a step.
    fn own(looks: impl IntoIterator<Item = Look>) -> Duration {
        let mut clock = OwnTime::default();
        looks.into_iter().for_each(|look| clock.advance(STEP, look));
        clock.own()
    }

    #[test]
    fn a_loop_on_an_idle_machine_uses_all_of_the_time() {
        assert_eq!(own([look(50, &[awake(0)]), look(100, &[awake(0)])]), ms(100));
    }

    #[test]
    fn a_sleeper_uses_all_of_the_time_however_busy_the_machine() {
        assert_eq!(own([look(0, &[asleep(0)]), look(0, &[asleep(0)])]), ms(100));
    }

    #[test]
    fn time_in_the_queue_does_not_count_whether_it_is_over_or_not() {
        // It waits for two looks and more before the kernel says so.
        let looks = [look(0, &[awake(0)]), look(0, &[awake(0)]), look(10, &[asleep(120)])];
        assert_eq!(own(looks), ms(10));
        assert_eq!(own([look(10, &[asleep(15)])]), ms(35), "it ran, waited, and slept");
    }

    #[test]
    fn a_parent_that_sleeps_waits_with_its_child() {
        assert_eq!(own([look(5, &[asleep(0), awake(0)])]), ms(5));
    }

    #[test]
    fn many_threads_do_not_make_the_clock_run_faster() {
        let four = [awake(25), awake(25), awake(25), awake(25)];
        assert_eq!(own([look(100, &four)]), STEP, "they share two processors, and use them");
    }

    #[test]
    fn only_what_ran_is_known_of_threads_that_ended() {
        assert_eq!(own([look(20, &[asleep(0), asleep(0)]), look(50, &[asleep(0)])]), ms(80));
    }

    #[test]
    fn without_word_of_queues_only_running_and_long_sleep_count() {
        let silent = |asleep| Thread { queued: None, asleep };
        assert_eq!(own([look(10, &[silent(true)]), look(20, &[silent(true)])]), ms(20));
        let sleeps = || look(0, &[silent(true)]);
        assert_eq!(own([sleeps(), sleeps(), sleeps()]), ms(100));
    }

    #[test]
    fn a_sum_that_goes_back_takes_nothing_away() {
        let mut clock = OwnTime::default();
        clock.advance(STEP, look(50, &[awake(0)]));
        clock.advance(STEP, look(40, &[awake(50)]));
        assert_eq!((clock.own(), clock.ran()), (STEP, STEP));
    }
}
