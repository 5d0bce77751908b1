//! Times in sentences.

use chrono::TimeDelta;
use model::Timestamp;

/// A span in at most two units: `28 s`, `2 min 5 s`, `3 h 4 min`, `2 d 3 h`.
pub(crate) fn span(span: TimeDelta) -> String {
    let seconds = (span.num_milliseconds().max(0) + 999) / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => two(minutes, "min", seconds % 60, "s"),
        (0, _, _) => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// An instant for people: UTC, to the second.
pub(super) fn at(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn two(large: i64, unit: &str, small: i64, smaller: &str) -> String {
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {smaller}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_at_most_two_units() {
        let text = |seconds| span(TimeDelta::seconds(seconds));
        assert_eq!(text(28), "28 s");
        assert_eq!(text(125), "2 min 5 s");
        assert_eq!(text(3_600), "1 h");
        assert_eq!(text(11_040), "3 h 4 min");
        assert_eq!(text(183_600), "2 d 3 h");
        assert_eq!(text(-5), "0 s");
        assert_eq!(span(TimeDelta::milliseconds(1)), "1 s");
    }
}
