//! Where replicas write down what happens while a fleet runs.

use hdrhistogram::Histogram;

use crate::router::News;
use crate::{Observer, RequestRecord};

/// Digits of a gap between tokens that are kept: an error below 0.1 %.
const DIGITS: u8 = 3;
/// Gaps below a microsecond are alike, in nanoseconds.
const SHORTEST: u64 = 1_000;
/// Gaps above a day are alike, in nanoseconds.
const LONGEST: u64 = 24 * 3600 * 1_000_000_000;

/// The records of a run, and who watches it.
pub(crate) struct Journal<'a, O> {
    pub(crate) requests: Vec<RequestRecord>,
    pub(crate) itl: Gaps,
    pub(crate) observer: &'a mut O,
    pub(crate) timelines: bool,
    /// What the router has not been told yet.
    pub(crate) news: Vec<News>,
}

impl<'a, O: Observer> Journal<'a, O> {
    pub(crate) fn new(observer: &'a mut O) -> Self {
        let timelines = observer.wants_timelines();
        Self { requests: Vec::new(), itl: Gaps::new(), observer, timelines, news: Vec::new() }
    }
}

/// The gaps between tokens.
///
/// All sequences that decode in a step have the same gap behind them. So equal neighbours are counted first, and
/// the histogram is asked once for all of them.
pub(crate) struct Gaps {
    histogram: Histogram<u64>,
    gap: u64,
    count: u64,
}

impl Gaps {
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(SHORTEST, LONGEST, DIGITS);
        let histogram = histogram.expect("bounds and digits that the crate allows");
        Self { histogram, gap: 0, count: 0 }
    }

    /// One gap, in nanoseconds.
    #[inline]
    pub(crate) fn record(&mut self, gap: u64) {
        if gap != self.gap {
            self.flush();
            self.gap = gap;
        }
        self.count += 1;
    }

    fn flush(&mut self) {
        if self.count > 0 {
            self.histogram.saturating_record_n(self.gap, self.count);
            self.count = 0;
        }
    }

    pub(crate) fn into_histogram(mut self) -> Histogram<u64> {
        self.flush();
        self.histogram
    }
}
