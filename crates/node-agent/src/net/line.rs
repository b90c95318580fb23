//! A slow line: what was put in comes out later, in order. Time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::faults::{Delay, Link};

/// Bytes that may be under way; what is sent faster has to wait.
const UNDER_WAY: usize = 1 << 20;

/// Bytes under way in one direction of a connection.
#[derive(Debug)]
pub(super) struct Line {
    queue: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// When the last byte that was put in has left its sender: bandwidth is used up until then.
    free_at: Instant,
    /// When the handshake is over: until then nothing leaves its sender.
    open_at: Instant,
    /// No byte overtakes another.
    last_due: Instant,
    /// The last random number of each delay, 0 to 1, for correlation.
    last: Vec<f64>,
    random: StdRng,
}

impl Line {
    /// An empty line. Nothing goes in before `hold` has passed, as before a handshake is over.
    pub(super) fn new(now: Instant, hold: Duration, seed: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            free_at: now,
            open_at: now + hold,
            last_due: now + hold,
            last: Vec::new(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether bytes of a clear link may pass by at once.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.queue.is_empty() && self.last_due <= now
    }

    /// Whether more may be put in.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < UNDER_WAY
    }

    /// Puts bytes in.
    pub(super) fn put(&mut self, now: Instant, bytes: Vec<u8>, link: &Link) {
        let now = now.max(self.open_at);
        if let Some(rate) = link.bytes_per_second {
            let takes = Duration::from_secs_f64(bytes.len() as f64 / rate.max(1) as f64);
            self.free_at = self.free_at.max(now) + takes;
        } else {
            self.free_at = now;
        }
        let mut due = self.free_at;
        self.last.resize(link.delays.len(), 0.5);
        for (delay, last) in link.delays.iter().zip(&mut self.last) {
            due += sample(*delay, last, self.random.random());
        }
        self.last_due = self.last_due.max(due);
        self.bytes += bytes.len();
        self.queue.push_back((self.last_due, bytes));
    }

    /// When the next bytes come out.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.front().map(|(due, _)| *due)
    }

    /// The next bytes, if they are due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.next().filter(|due| *due <= now)?;
        let (_, bytes) = self.queue.pop_front()?;
        self.bytes -= bytes.len();
        Some(bytes)
    }
}

/// One delay: latency, more or less jitter. As in netem, a random number is mixed with the one before.
fn sample(delay: Delay, last: &mut f64, random: f64) -> Duration {
    let correlation = delay.correlation.clamp(0.0, 1.0);
    *last = *last * correlation + random * (1.0 - correlation);
    let offset = delay.jitter.as_secs_f64() * (2.0 * *last - 1.0);
    Duration::from_secs_f64((delay.latency.as_secs_f64() + offset).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_leave_at_the_links_rate() {
        let now = Instant::now();
        let mut line = Line::new(now, Duration::ZERO, 1);
        let link = Link { bytes_per_second: Some(1000), ..Link::default() };
        line.put(now, vec![0; 500], &link);
        line.put(now, vec![0; 500], &link);
        assert!(line.take(now + Duration::from_millis(499)).is_none());
        assert!(line.take(now + Duration::from_millis(500)).is_some());
        assert!(line.take(now + Duration::from_millis(999)).is_none());
        assert!(line.take(now + Duration::from_secs(1)).is_some());
    }

    #[test]
    fn what_is_sent_at_once_waits_for_the_handshake_and_then_for_the_delay() {
        let now = Instant::now();
        let latency = Duration::from_millis(100);
        let link = Link { delays: vec![Delay { latency, ..Delay::default() }], ..Link::default() };
        let mut line = Line::new(now, latency, 1);
        line.put(now, vec![1], &link);
        assert_eq!(line.next(), Some(now + 2 * latency));
        line.put(now + 3 * latency, vec![2], &link);
        assert_eq!(line.queue.back().map(|(due, _)| *due), Some(now + 4 * latency));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_overtaken_or_outside_the_jitter(
            latency in 0..200_u64,
            jitter in 0..100_u64,
            correlation in 0.0..1.0,
            gaps in prop::collection::vec(0..50_u64, 1..40),
        ) {
            let mut now = Instant::now();
            let mut line = Line::new(now, Duration::ZERO, 7);
            let delay = Delay {
                latency: Duration::from_millis(latency),
                jitter: Duration::from_millis(jitter),
                correlation,
            };
            let link = Link { delays: vec![delay], ..Link::default() };
            let mut newest = now;
            for (number, gap) in gaps.iter().enumerate() {
                now += Duration::from_millis(*gap);
                line.put(now, vec![u8::try_from(number).unwrap()], &link);
                let due = line.queue.back().unwrap().0;
                prop_assert!(due >= newest);
                prop_assert!(due >= now + Duration::from_millis(latency.saturating_sub(jitter)));
                newest = due;
            }
            let end = now + Duration::from_millis(latency + jitter + 1);
            let out: Vec<u8> = std::iter::from_fn(|| line.take(end)).flatten().collect();
            let expected: Vec<u8> = (0..u8::try_from(gaps.len()).unwrap()).collect();
            prop_assert_eq!(out, expected);
        }
    }
}
