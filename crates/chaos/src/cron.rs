//! When a schedule is due: cron expressions and `@every`, in UTC.

use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::go;

/// How many starts may have been missed before a schedule is taken to be mistaken, as in Chaos Mesh and Kubernetes' CronJob.
pub const MAX_MISSED: usize = 100;

/// Why a schedule cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It cannot be read.
    #[error("{text:?} is no schedule like `*/5 * * * *`, `@hourly` or `@every 90s`: {reason}")]
    Notation {
        /// The schedule.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// Too many starts were missed.
    #[error(
        "more than {MAX_MISSED} starts were missed: is a clock wrong, or startingDeadlineSeconds too long?"
    )]
    TooManyMissed,
}

/// Whether something is to be started now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Yes: it was due at this time.
    Now(Timestamp),
    /// Not yet: in so long.
    In(Duration),
    /// Never again.
    Never,
}

enum Rule {
    Every(Duration),
    Cron(Box<Cron>),
}

fn rule(text: &str) -> Result<Rule, CronError> {
    let wrong = |reason: String| CronError::Notation { text: text.to_owned(), reason };
    if let Some(every) = text.trim().strip_prefix("@every ") {
        let every = go::duration(every.trim()).map_err(|error| wrong(error.to_string()))?;
        if every < Duration::from_secs(1) {
            return Err(wrong("shorter than a second".to_owned()));
        }
        return Ok(Rule::Every(every));
    }
    let cron = Cron::from_str(text.trim()).map_err(|error| wrong(error.to_string()))?;
    Ok(Rule::Cron(Box::new(cron)))
}

impl Rule {
    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(every) => time.checked_add(*every).ok(),
            Self::Cron(cron) => {
                let zoned = time.to_zoned(TimeZone::UTC);
                cron.find_next_occurrence(&zoned, false).ok().map(|next| next.timestamp())
            }
        }
    }
}

/// Whether a schedule that last started something at `last` (or was created then) is due. Of several starts that were missed
/// only the latest counts, and only if it is not older than `deadline`.
///
/// # Errors
/// [`CronError`].
pub fn due(
    schedule: &str,
    last: Timestamp,
    deadline: Option<Duration>,
    now: Timestamp,
) -> Result<Due, CronError> {
    let rule = rule(schedule)?;
    let mut latest = None;
    let mut from = last;
    if let Some(oldest) = deadline.and_then(|deadline| now.checked_sub(deadline).ok()) {
        // Cron times do not depend on where the search begins; those of `@every` do.
        if matches!(rule, Rule::Cron(_)) {
            from = from.max(oldest);
        }
    }
    let mut cursor = from;
    for _ in 0..=MAX_MISSED {
        let Some(next) = rule.after(cursor) else {
            return Ok(latest.map_or(Due::Never, Due::Now));
        };
        if next > now {
            let fresh = latest.filter(|at: &Timestamp| {
                deadline.is_none_or(|limit| at.checked_add(limit).is_ok_and(|end| end >= now))
            });
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            return Ok(fresh.map_or(Due::In(wait), Due::Now));
        }
        latest = Some(next);
        cursor = next;
    }
    Err(CronError::TooManyMissed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_start_is_due_when_its_minute_comes() {
        let last = at("2026-01-01T10:03:20Z");
        let due = |now| due("*/5 * * * *", last, None, at(now)).expect("a schedule");
        assert_eq!(due("2026-01-01T10:04:30Z"), Due::In(Duration::from_secs(30)));
        assert_eq!(due("2026-01-01T10:05:02Z"), Due::Now(at("2026-01-01T10:05:00Z")));
        assert_eq!(due("2026-01-01T10:21:00Z"), Due::Now(at("2026-01-01T10:20:00Z")));
    }

    #[test]
    fn every_counts_from_the_last_start() {
        let last = at("2026-01-01T10:03:20Z");
        let due = |now| due("@every 90s", last, None, at(now)).expect("a schedule");
        assert_eq!(due("2026-01-01T10:04:20Z"), Due::In(Duration::from_secs(30)));
        assert_eq!(due("2026-01-01T10:04:51Z"), Due::Now(at("2026-01-01T10:04:50Z")));
    }

    #[test]
    fn a_start_that_is_too_late_is_left_out() {
        let last = at("2026-01-01T10:00:00Z");
        let limit = Some(Duration::from_secs(10));
        let now = at("2026-01-01T10:05:20Z");
        assert_eq!(due("*/5 * * * *", last, limit, now), Ok(Due::In(Duration::from_secs(280))));
        let now = at("2026-01-01T10:05:09Z");
        assert_eq!(due("*/5 * * * *", last, limit, now), Ok(Due::Now(at("2026-01-01T10:05:00Z"))));
    }

    #[test]
    fn nicknames_are_known_and_nonsense_is_named() {
        let last = at("2026-01-01T10:00:00Z");
        let now = at("2026-01-01T10:59:00Z");
        assert_eq!(due("@hourly", last, None, now), Ok(Due::In(Duration::from_secs(60))));
        for text in ["", "every day", "61 * * * *", "@every 0s", "@every soon"] {
            assert!(
                matches!(due(text, last, None, now), Err(CronError::Notation { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_schedule_that_missed_too_many_starts_says_so() {
        let last = at("2020-01-01T10:00:00Z");
        let now = at("2026-01-01T10:00:00Z");
        assert_eq!(due("* * * * *", last, None, now), Err(CronError::TooManyMissed));
    }
}
