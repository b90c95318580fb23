//! Waits until a moment, or until a socket is ready, more precisely than `epoll`'s milliseconds.

use std::io;
use std::time::Duration;

use mio::{Events, Poll};

/// How long before the moment a wait becomes a busy one. Above the time that a sleeping thread takes to wake up.
const SPIN: Duration = Duration::from_micros(100);

/// Polls with a deadline.
#[derive(Debug)]
pub(crate) struct Timer {
    alarm: alarm::Alarm,
}

impl Timer {
    /// A timer that wakes `poll`.
    pub(crate) fn new(poll: &Poll) -> io::Result<Self> {
        Ok(Self { alarm: alarm::Alarm::new(poll)? })
    }

    /// Waits for sockets, at most until `gap` from now and at most for `longest`.
    ///
    /// Returns at once when `gap` is short: then the caller comes back until the moment is there, and answers
    /// that come meanwhile are read meanwhile. Whether it did so.
    pub(crate) fn poll(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        gap: Option<Duration>,
        longest: Duration,
    ) -> io::Result<bool> {
        let sleep = gap.map_or(longest, |gap| gap.saturating_sub(SPIN).min(longest));
        let busy = sleep.is_zero();
        let timeout = if busy { sleep } else { self.alarm.timeout(sleep, longest)? };
        match poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(busy),
            result => result.map(|()| busy),
        }
    }
}

/// Linux: `epoll_wait` counts in milliseconds, a timer of the kernel in nanoseconds.
#[cfg(target_os = "linux")]
mod alarm {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Poll, Token};
    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

    /// No socket has it.
    const TOKEN: Token = Token(usize::MAX);

    #[derive(Debug)]
    pub(super) struct Alarm {
        timer: TimerFd,
    }

    impl Alarm {
        pub(super) fn new(poll: &Poll) -> io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            let fd = timer.as_fd().as_raw_fd();
            poll.registry().register(&mut SourceFd(&fd), TOKEN, Interest::READABLE)?;
            Ok(Self { timer })
        }

        /// What to hand to `poll`, so that it returns after `sleep`.
        pub(super) fn timeout(
            &mut self,
            sleep: Duration,
            longest: Duration,
        ) -> io::Result<Duration> {
            if sleep == longest {
                return Ok(longest);
            }
            // Setting it clears what expired before: nothing has to be read. The one event of an alarm that is set
            // anew too late is a wait that returns early.
            let once = Expiration::OneShot(TimeSpec::from_duration(sleep));
            self.timer.set(once, TimerSetTimeFlags::empty())?;
            Ok(longest)
        }
    }
}

/// Elsewhere `poll` itself is precise enough: `kqueue` counts in nanoseconds.
#[cfg(not(target_os = "linux"))]
mod alarm {
    use std::io;
    use std::time::Duration;

    use mio::Poll;

    #[derive(Debug)]
    pub(super) struct Alarm;

    impl Alarm {
        pub(super) fn new(_: &Poll) -> io::Result<Self> {
            Ok(Self)
        }

        pub(super) fn timeout(&mut self, sleep: Duration, _: Duration) -> io::Result<Duration> {
            Ok(sleep)
        }
    }
}
