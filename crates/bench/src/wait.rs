//! Waiting for a server that does not say itself when it is there.

use std::time::{Duration, Instant};

use grader::Stop;

use crate::BenchError;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks again and again, until `look` finds what it looks for, and at least once.
///
/// # Errors
/// [`BenchError::Interrupted`]; after `limit`, the reason that `look` gave last.
pub(crate) fn wait<T>(
    limit: Duration,
    stop: &Stop,
    mut look: impl FnMut() -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let until = Instant::now() + limit;
    loop {
        let missing = match look() {
            Ok(found) => return Ok(found),
            Err(missing) => missing,
        };
        if stop.is_set() {
            return Err(BenchError::Interrupted);
        }
        if Instant::now() >= until {
            return Err(missing);
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    fn missing(look: usize) -> BenchError {
        BenchError::Missing { what: format!("look {look}"), how: String::new() }
    }

    #[test]
    fn what_comes_at_the_third_look_is_found() {
        let mut looks = 0;
        let found = wait(NEVER, &Stop::new(), || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(missing(looks)) }
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn at_the_limit_the_last_reason_is_told() {
        let mut looks = 0;
        let error = wait::<()>(Duration::from_millis(1), &Stop::new(), || {
            looks += 1;
            Err(missing(looks))
        });
        assert_eq!(error.unwrap_err().to_string(), format!("look {looks}\n"));
    }

    #[test]
    fn who_interrupts_waits_for_no_limit() {
        let stop = Stop::new();
        let error = wait::<()>(NEVER, &stop, || {
            stop.set();
            Err(missing(1))
        });
        assert!(matches!(error, Err(BenchError::Interrupted)));
    }
}
