//! Numbers and foreign text for people.

use jiff::Timestamp;
use std::time::Duration;
use swarm_proto::path::is_deceptive;

/// Text from elsewhere on one line, without anything that moves the cursor, changes colours or turns the direction.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_deceptive(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// [`printable`], but line feeds stay: for text of several lines that was put together here.
pub(crate) fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// At most `width` characters of [`printable`] text, the end replaced by `…` where it is longer.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let safe = printable(text);
    if safe.chars().count() <= width {
        return safe;
    }
    let mut short: String = safe.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A number of bytes with three significant digits: `0 B`, `999 B`, `1.00 KiB`, `12.3 MiB`, `456 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1_024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        value /= 1_024.0;
        unit = next;
    }
    match value {
        value if value < 9.995 => format!("{value:.2} {unit}"),
        value if value < 99.95 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

/// A number of bytes that is a round one: `16 KiB`, `1 MiB`, `700 B`.
pub(crate) fn round_bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB"].into_iter().enumerate().rev();
    let found = units
        .map(|(power, unit)| (1_u64 << (10 * (power + 1)), unit))
        .find(|(size, _)| count > 0 && count.is_multiple_of(*size));
    found.map_or_else(|| format!("{count} B"), |(size, unit)| format!("{} {unit}", count / size))
}

/// [`bytes()`] a second.
pub(crate) fn rate(bytes_per_s: u64) -> String {
    format!("{}/s", bytes(bytes_per_s))
}

/// The mean rate of `count` bytes in this time.
pub(crate) fn mean_rate(count: u64, time: Duration) -> u64 {
    let milliseconds = time.as_millis().max(1);
    u64::try_from(u128::from(count) * 1_000 / milliseconds).unwrap_or(u64::MAX)
}

/// A span of time in two units at most: `0.4 s`, `12 s`, `3 m 20 s`, `2 h 5 m`, `4 d 1 h`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A moment as `2026-11-21T05:07:49Z`, from seconds since 1970 (UTC). What is behind the year 9999 is its end.
pub(crate) fn moment(unix_seconds: u64) -> String {
    timestamp(unix_seconds).strftime("%FT%TZ").to_string()
}

/// A moment from seconds since 1970.
pub(crate) fn timestamp(unix_seconds: u64) -> Timestamp {
    i64::try_from(unix_seconds).ok().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(Timestamp::MAX)
}

/// `1 piece`, `2 pieces`: a count with its noun, `s` for the plural.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(
            printable("a\x1b[2Jb\r\n\u{9b}c\u{202e}d\u{7f}é漢"),
            "a\u{FFFD}[2Jb\u{FFFD}\u{FFFD}\u{FFFD}c\u{FFFD}d\u{FFFD}é漢"
        );
        assert_eq!(printable_lines("a\nb\x07"), "a\nb\u{FFFD}");
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("abcd", 4), "abcd");
    }

    #[test]
    fn byte_counts_have_three_digits() {
        let cases = [(0, "0 B"), (999, "999 B"), (1_000, "0.98 KiB"), (1_024, "1.00 KiB"), (10_240, "10.0 KiB")];
        for (count, text) in
            cases.into_iter().chain([(1 << 20, "1.00 MiB"), (123 << 20, "123 MiB"), (u64::MAX, "16.0 EiB")])
        {
            assert_eq!(bytes(count), text);
        }
        let round = [0, 700, 16_384, 1 << 20, 3 << 29, 1 << 40].map(round_bytes);
        assert_eq!(round, ["0 B", "700 B", "16 KiB", "1 MiB", "1536 MiB", "1024 GiB"]);
        assert_eq!(rate(1 << 20), "1.00 MiB/s");
        assert_eq!(mean_rate(1_000, Duration::from_millis(500)), 2_000);
        assert_eq!(mean_rate(1, Duration::ZERO), 1_000);
    }

    #[test]
    fn durations_have_two_units() {
        let cases = [(0, "0.0 s"), (12, "12 s"), (200, "3 m 20 s"), (7_500, "2 h 5 m"), (349_200, "4 d 1 h")];
        for (seconds, text) in cases {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn moments_follow_the_calendar() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(moment(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(moment(1_795_237_669), "2026-11-21T05:07:49Z");
        assert_eq!(moment(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(&moment(u64::MAX)[..10], "9999-12-30");
    }

    #[test]
    fn counts_agree_with_their_nouns() {
        assert_eq!([count(0, "peer"), count(1, "peer"), count(2, "peer")], ["0 peers", "1 peer", "2 peers"]);
    }
}
