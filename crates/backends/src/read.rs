//! From a metrics page to what a policy needs.

use routing::Signals;

use crate::dialect::{self, Dialect, MAX_NAMES, Slot};
use crate::scan::{self, Labels, Sample};
use crate::{Kind, Lora};

/// The longest page that is read, in bytes. vLLM's has 64,602 after a load test.
pub const MAX_PAGE_BYTES: usize = 4 << 20;

/// The KV usage that [`Reading::signals`] puts where a server does not say: neither empty nor full, so that a
/// silent server neither attracts everything nor is left out.
pub const UNSAID_KV_USAGE: f64 = 0.5;

/// The most data-parallel ranks of one server.
const MAX_RANKS: usize = 256;

/// What a page says. `None` is what the server does not say, or has not said yet; it is never 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Requests that wait for a place, over all data-parallel ranks.
    pub waiting: Option<u32>,
    /// Requests that hold one, over all data-parallel ranks.
    pub running: Option<u32>,
    /// Part of the KV cache in use, from 0 to 1: the mean over data-parallel ranks.
    pub kv_usage: Option<f64>,
    /// The engine sleeps: it looks idle, and will not answer until somebody wakes it.
    pub asleep: bool,
    /// What it says of adapters; `None` where it serves none.
    pub lora: Option<Lora>,
}

/// A page that does not tell the load.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// It has not the name, nor an older one for the same. The metric was renamed, or switched off, or this is
    /// another server.
    #[error("{kind}: no sample of {name} on the page{declared}", declared = if *.declared { ", though its type is declared" } else { "" })]
    Missing {
        /// Whose page it should be.
        kind: Kind,
        /// The newest name that we know for it.
        name: &'static str,
        /// The page has its `# TYPE` line: the server knows the metric and has not set it.
        declared: bool,
    },
    /// A line with the name is not a sample.
    #[error("{kind}: {line:?} is no sample")]
    Broken {
        /// Whose page it should be.
        kind: Kind,
        /// The line, cut to [`MAX_QUOTED_CHARS`] characters.
        line: String,
    },
    /// A number that cannot be.
    #[error("{kind}: {name} is {value:?}, expected a number of at least 0")]
    Impossible {
        /// Whose page it should be.
        kind: Kind,
        /// Which metric.
        name: &'static str,
        /// Its value, cut to [`MAX_QUOTED_CHARS`] characters.
        value: String,
    },
    /// More than a server can have.
    #[error("{kind}: more than {MAX_RANKS} values of label {label:?}")]
    TooManyRanks {
        /// Whose page it should be.
        kind: Kind,
        /// The label that tells ranks apart.
        label: &'static str,
    },
    /// Longer than [`MAX_PAGE_BYTES`].
    #[error("{kind}: a page of {bytes} bytes, expected at most {MAX_PAGE_BYTES}")]
    TooLong {
        /// Whose page it should be.
        kind: Kind,
        /// How long it is.
        bytes: usize,
    },
}

/// The most characters of a page that an error repeats.
pub const MAX_QUOTED_CHARS: usize = 120;

/// Reads the metrics page of a model server. A server without a page says nothing: [`Reading::default`].
///
/// # Errors
/// [`ReadError`] where the page lacks what pages of this kind have, or says what cannot be. Keep the reading before,
/// and let it grow old.
pub fn read(kind: Kind, page: &str) -> Result<Reading, ReadError> {
    let bytes = page.len();
    if bytes > MAX_PAGE_BYTES {
        return Err(ReadError::TooLong { kind, bytes });
    }
    let found = Found::scan(kind, dialect::of(kind), page)?;
    found.check_missing(page)?;
    let count =
        |slot| found.slot(slot).map(|ranks| saturate(ranks.iter().map(|rank| rank.1).sum()));
    let kv_usage = found.slot(Slot::KvUsage).map(|ranks| {
        let sum: f64 = ranks.iter().map(|rank| rank.1.min(1.0)).sum();
        sum / ranks.len() as f64
    });
    let pool = || {
        let (used, slots) = (count(Slot::LoraUsed), count(Slot::LoraSlots));
        (used.is_some() || slots.is_some()).then(|| Lora { slots, used, ..Lora::default() })
    };
    Ok(Reading {
        waiting: count(Slot::Waiting),
        running: count(Slot::Running),
        kv_usage,
        asleep: found.asleep,
        lora: found.lora.map(|(labels, _)| Lora::from_labels(labels)).or_else(pool),
    })
}

// === impl Reading ===

impl Reading {
    /// As a policy sees it. What the server does not say comes from what the router knows: `in_flight`, its own
    /// requests there, for those that run; nobody waits; [`UNSAID_KV_USAGE`].
    #[must_use]
    pub fn signals(&self, in_flight: u32) -> Signals {
        Signals {
            waiting: self.waiting.unwrap_or(0),
            running: self.running.unwrap_or(in_flight),
            kv_usage: self.kv_usage.unwrap_or(UNSAID_KV_USAGE),
        }
    }
}

/// A count of a page; beyond `u32` as much as that can hold.
fn saturate(value: f64) -> u32 {
    // A float becomes the nearest integer that fits: that is what `as` does.
    value.round() as u32
}

/// What one pass over a page found.
struct Found<'a> {
    kind: Kind,
    dialect: &'static Dialect,
    /// For each name, its values: one a data-parallel rank.
    values: [Vec<(&'a str, f64)>; MAX_NAMES],
    answered: bool,
    asleep: bool,
    /// The newest sample that tells of adapters, and when it was set.
    lora: Option<(Labels<'a>, f64)>,
}

// === impl Found ===

impl<'a> Found<'a> {
    fn scan(kind: Kind, dialect: &'static Dialect, page: &'a str) -> Result<Self, ReadError> {
        let mut found = Self {
            kind,
            dialect,
            values: Default::default(),
            answered: false,
            asleep: false,
            lora: None,
        };
        let mut names = [""; MAX_NAMES + 1];
        for (name, (text, _)) in names.iter_mut().zip(dialect.names) {
            *name = text;
        }
        let mut count = dialect.names.len();
        if let Some(counter) = dialect.first_answer {
            names[count] = counter;
            count += 1;
        }
        for sample in scan::samples(page, &names[..count]) {
            let sample =
                sample.map_err(|broken| ReadError::Broken { kind, line: quoted(broken.line) })?;
            found.take(&sample)?;
        }
        Ok(found)
    }

    fn take(&mut self, sample: &Sample<'a>) -> Result<(), ReadError> {
        let kind = self.kind;
        let Some(&(name, slot)) = self.dialect.names.get(sample.name) else {
            self.answered |= sample.value.parse().is_ok_and(|count: f64| count > 0.0);
            return Ok(());
        };
        let value = sample.value.parse::<f64>().ok();
        let value = value.filter(|value| value.is_finite() && *value >= 0.0);
        let value = value.ok_or_else(|| ReadError::Impossible {
            kind,
            name,
            value: quoted(sample.value),
        })?;
        match slot {
            Slot::SleepState => {
                self.asleep |= sample.labels.raw("sleep_state") == "awake" && value == 0.0;
            }
            Slot::LoraInfo => {
                if self.lora.is_none_or(|(_, newest)| newest <= value) {
                    self.lora = Some((sample.labels, value));
                }
            }
            _ => self.add(sample, value)?,
        }
        Ok(())
    }

    /// Adds a value to its rank. Ranks of tensor or pipeline parallelism say the same thing twice: the most counts.
    fn add(&mut self, sample: &Sample<'a>, value: f64) -> Result<(), ReadError> {
        if self.dialect.part.is_some_and(|label| !sample.labels.raw(label).is_empty()) {
            return Ok(());
        }
        let label = self.dialect.rank;
        let rank = if label.is_empty() { "" } else { sample.labels.raw(label) };
        let ranks = &mut self.values[sample.name];
        if let Some((_, most)) = ranks.iter_mut().find(|(each, _)| *each == rank) {
            *most = most.max(value);
        } else if ranks.len() < MAX_RANKS {
            ranks.push((rank, value));
        } else {
            return Err(ReadError::TooManyRanks { kind: self.kind, label });
        }
        Ok(())
    }

    /// The values of the newest name that the page has for a slot.
    fn slot(&self, slot: Slot) -> Option<&[(&'a str, f64)]> {
        let mut names = self.dialect.names.iter().zip(&self.values);
        names
            .find(|((_, each), ranks)| *each == slot && !ranks.is_empty())
            .map(|(_, ranks)| ranks.as_slice())
    }

    fn check_missing(&self, page: &str) -> Result<(), ReadError> {
        let always = self.dialect.always;
        let missing = always.iter().find(|slot| self.slot(**slot).is_none());
        let Some(missing) = missing else { return Ok(()) };
        let silent = always.iter().all(|slot| self.slot(*slot).is_none());
        if silent && self.dialect.first_answer.is_some() && !self.answered {
            return Ok(());
        }
        let mut names = self.dialect.names.iter();
        let name = names.find(|(_, slot)| slot == missing).map_or("", |(name, _)| *name);
        Err(ReadError::Missing { kind: self.kind, name, declared: scan::declares(page, name) })
    }
}

fn quoted(text: &str) -> String {
    text.chars().take(MAX_QUOTED_CHARS).collect()
}
