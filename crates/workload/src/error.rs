//! Why a workload cannot be.

/// What is wrong with a description of a workload, or with a trace.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A description does not read as one.
    #[error("{what} `{text}`: {reason}")]
    Spec {
        /// What was to be described, in the user's words.
        what: &'static str,
        /// What was written.
        text: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A number is outside its range.
    #[error("{what} is {value}; it must be {range}")]
    Range {
        /// Which number.
        what: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// A line of a trace does not read as a request.
    #[error("line {line} of the trace: {reason}")]
    TraceLine {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A trace without requests.
    #[error("the trace holds no request")]
    EmptyTrace,
    /// A trace with more requests than are held.
    #[error("the trace holds more than {limit} requests")]
    TraceTooLong {
        /// The limit.
        limit: usize,
    },
    /// The trace cannot be read.
    #[error("the trace cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

impl WorkloadError {
    pub(crate) fn spec(what: &'static str, text: &str, reason: impl Into<String>) -> Self {
        Self::Spec { what, text: text.to_owned(), reason: reason.into() }
    }
}

/// `value`, where it is finite and inside `low..=high`.
pub(crate) fn in_range(
    what: &'static str,
    value: f64,
    low: f64,
    high: f64,
    range: &'static str,
) -> Result<f64, WorkloadError> {
    if value >= low && value <= high {
        Ok(value)
    } else {
        Err(WorkloadError::Range { what, value, range })
    }
}
