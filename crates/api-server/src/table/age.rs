//! How long ago something was, as people say it: two units at most, the larger the coarser.

use jiff::Timestamp;
use serde_json::Value;

/// The time since a timestamp; `<unknown>` without one, `<invalid>` where it lies ahead.
pub(super) fn since(time: &Value, now: Timestamp) -> String {
    match time.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
        None => "<unknown>".to_owned(),
        Some(time) => span(now.as_second().saturating_sub(time.as_second())),
    }
}

/// A number of seconds.
pub(super) fn span(seconds: i64) -> String {
    let two = |large: i64, unit: char, small: i64, smaller: char| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{smaller}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match seconds {
        // A clock that is a second off is no lie.
        i64::MIN..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_a_span_the_coarser_it_is_said() {
        let said =
            [0, 119, 120, 185, 600, 3600, 10_800, 11_000, 90_000, 200_000, 864_000, 70_000_000];
        let said = said.map(span);
        let expected =
            ["0s", "119s", "2m", "3m5s", "10m", "60m", "3h", "3h3m", "25h", "2d7h", "10d", "2y80d"];
        assert_eq!(said, expected);
    }
}
