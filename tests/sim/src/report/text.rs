//! Numbers for people, and text that is safe in HTML.

use std::time::Duration;

/// Makes any text harmless inside of HTML elements and quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // HTML allows no other control characters, not even as references.
            '\n' | '\t' => safe.push(character),
            control if control.is_control() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// Three significant digits, as many as one compares.
fn digits(value: f64) -> String {
    if value >= 99.95 || value == 0.0 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Bytes with their unit, in steps of 1,000 as rates of links are.
pub(super) fn bytes(value: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < units.len() {
        scaled /= 1_000.0;
        unit += 1;
    }
    format!("{} {}", if unit == 0 { format!("{scaled:.0}") } else { digits(scaled) }, units[unit])
}

/// Bytes a second; a rate without a limit is "no limit".
pub(super) fn rate(bytes_per_s: u64) -> String {
    if bytes_per_s == crate::UNLIMITED { "no limit".into() } else { format!("{}/s", bytes(bytes_per_s as f64)) }
}

/// A time as a stopwatch would read it.
pub(super) fn time(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        ..0.9995 => format!("{:.0} ms", seconds * 1_000.0),
        ..119.5 => format!("{} s", digits(seconds)),
        ..7_199.5 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3_600, whole % 3_600 / 60),
    }
}

pub(super) fn duration(time_of: Duration) -> String {
    time(time_of.as_secs_f64())
}

pub(super) fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value > 0.0 && value < 0.1 { "< 0.1 %".into() } else { format!("{value:.1} %") }
}

/// A whole number with separators between thousands.
pub(super) fn count(number: u64) -> String {
    let plain = number.to_string();
    let mut out = String::new();
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_text() {
        assert_eq!(escape("<script>&\"'\u{1b}</script>"), "&lt;script&gt;&amp;&quot;&#39;\u{fffd}&lt;/script&gt;");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!((bytes(0.0), bytes(999.0), bytes(999_600.0)), ("0 B".into(), "999 B".into(), "1.00 MB".into()));
        assert_eq!((bytes(12_345_678.0), rate(u64::MAX)), ("12.3 MB".into(), "no limit".into()));
        assert_eq!(
            (time(0.25), time(59.94), time(119.7), time(7_300.0)),
            ("250 ms".into(), "59.9 s".into(), "2 min 00 s".into(), "2 h 01 min".into())
        );
        assert_eq!((count(7), count(1_234), count(1_234_567)), ("7".into(), "1,234".into(), "1,234,567".into()));
        assert_eq!(
            (percent(0.0), percent(0.0004), percent(0.123)),
            ("0.0 %".into(), "< 0.1 %".into(), "12.3 %".into())
        );
    }
}
