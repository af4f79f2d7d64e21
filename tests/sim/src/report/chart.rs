//! Axes, lines and bands as SVG. Knows nothing of swarms.

use super::text;
use std::fmt::Write;

/// Room for the labels of the y axis.
const LEFT: f64 = 66.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
/// Room for the labels of the x axis.
const BOTTOM: f64 = 24.0;

/// How numbers on an axis are written.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Share,
    BytesPerSecond,
    Bytes,
    Number,
}

impl Unit {
    fn label(self, value: f64) -> String {
        match self {
            Self::Share if (value * 100.0).fract().abs() > 1e-6 => text::percent(value),
            Self::Share => format!("{:.0} %", value * 100.0),
            Self::BytesPerSecond => format!("{}/s", trimmed(text::bytes(value))),
            Self::Bytes => trimmed(text::bytes(value)),
            Self::Number => text::count(value.round() as u64),
        }
    }
}

/// "2.00 MB" as "2 MB": ticks are round.
fn trimmed(label: String) -> String {
    let Some((number, unit)) = label.split_once(' ') else { return label };
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}")
}

/// The drawing area of a chart: time from 0 to the right, a quantity from 0 upwards.
pub(super) struct Frame {
    width: f64,
    height: f64,
    seconds: f64,
    most: f64,
    svg: String,
}

impl Frame {
    /// A chart of this size on the page whose axes end at these values.
    pub(super) fn new(width: f64, height: f64, seconds: f64, most: f64) -> Self {
        Self { width, height, seconds: seconds.max(1e-3), most: most.max(1e-9), svg: String::new() }
    }

    pub(super) fn x(&self, seconds: f64) -> f64 {
        LEFT + (self.width - LEFT - RIGHT) * (seconds / self.seconds).clamp(0.0, 1.0)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        TOP + (self.height - TOP - BOTTOM) * (1.0 - (value / self.most).clamp(0.0, 1.0))
    }

    /// Lines and labels at round values; behind everything else if called first.
    pub(super) fn axes(&mut self, unit: Unit) {
        let count = if self.height < 200.0 { 3 } else { 5 };
        for value in ticks(self.most, count) {
            if matches!(unit, Unit::Number) && value.fract() > 1e-9 {
                continue;
            }
            let (y, label) = (self.y(value), text::escape(&unit.label(value)));
            let (left, right) = (LEFT, self.width - RIGHT);
            _ = write!(self.svg, "<path class=grid d=\"M{left:.1} {y:.1}H{right:.1}\"/>");
            _ = write!(self.svg, "<text class=end x=\"{:.1}\" y=\"{:.1}\">{label}</text>", LEFT - 8.0, y + 4.0);
        }
        self.time_axis();
    }

    /// Labels below; for charts whose y axis is none.
    pub(super) fn time_axis(&mut self) {
        let bottom = self.height - BOTTOM;
        for seconds in time_ticks(self.seconds, if self.width < 700.0 { 5 } else { 9 }) {
            let x = self.x(seconds);
            _ = write!(self.svg, "<path class=axis d=\"M{x:.1} {bottom:.1}v4\"/>");
            let label = time_label(seconds);
            _ = write!(self.svg, "<text class=mid x=\"{x:.1}\" y=\"{:.1}\">{label}</text>", bottom + 18.0);
        }
        _ = write!(self.svg, "<path class=axis d=\"M{LEFT:.1} {bottom:.1}H{:.1}\"/>", self.width - RIGHT);
    }

    /// A line through what there is; gaps where there is nothing.
    pub(super) fn line(&mut self, class: &str, times: &[f64], values: impl Iterator<Item = Option<f64>>) {
        let mut path = String::new();
        let mut pen_down = false;
        for (&at, value) in times.iter().zip(values) {
            let Some(value) = value else {
                pen_down = false;
                continue;
            };
            let command = if pen_down { 'L' } else { 'M' };
            _ = write!(path, "{command}{:.1} {:.1}", self.x(at), self.y(value));
            pen_down = true;
        }
        _ = write!(self.svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }

    /// The area between two curves, in as many parts as there are gaps.
    pub(super) fn band(&mut self, class: &str, times: &[f64], values: impl Iterator<Item = Option<[f64; 2]>>) {
        let mut path = String::new();
        let mut part: Vec<(f64, [f64; 2])> = Vec::new();
        let ends = std::iter::once((f64::NAN, None));
        for (at, value) in times.iter().copied().zip(values).chain(ends) {
            match value {
                Some(value) => part.push((at, value)),
                None => self.close_band(&mut path, &std::mem::take(&mut part)),
            }
        }
        _ = write!(self.svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }

    fn close_band(&self, path: &mut String, part: &[(f64, [f64; 2])]) {
        let there = part.iter().map(|(at, [_, high])| (at, high));
        let back = part.iter().rev().map(|(at, [low, _])| (at, low));
        for (index, (at, value)) in there.chain(back).enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            _ = write!(path, "{command}{:.1} {:.1}", self.x(*at), self.y(*value));
        }
        if !part.is_empty() {
            path.push('Z');
        }
    }

    /// An upright line at a moment, with a word beside it.
    pub(super) fn mark(&mut self, class: &str, seconds: f64, label: &str) {
        let (x, top, bottom) = (self.x(seconds), TOP, self.height - BOTTOM);
        _ = write!(self.svg, "<path class=\"{class}\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>");
        let left = seconds > self.seconds * 0.75;
        let (class, at) = if left { ("end", x - 6.0) } else { ("", x + 6.0) };
        let label = text::escape(label);
        _ = write!(self.svg, "<text class=\"{class}\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>", bottom - 8.0);
    }

    /// A label on the y axis at a height from 0 (bottom) to 1.
    pub(super) fn left_label(&mut self, height: f64, label: &str) {
        let y = self.y(height * self.most) + 4.0;
        _ = write!(self.svg, "<text class=end x=\"{:.1}\" y=\"{y:.1}\">{}</text>", LEFT - 8.0, text::escape(label));
    }

    /// Anything else in the coordinates of [`Frame::x`] and [`Frame::y`].
    pub(super) fn raw(&mut self, svg: &str) {
        self.svg.push_str(svg);
    }

    /// The finished picture; `label` says what it shows to who cannot see it.
    pub(super) fn finish(self, label: &str) -> String {
        let (width, height, label) = (self.width, self.height, text::escape(label));
        format!("<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=img aria-label=\"{label}\">{}</svg>", self.svg)
    }
}

/// Round values from 0 to at most `most`, about so many.
fn ticks(most: f64, count: usize) -> Vec<f64> {
    let rough = most / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|factor| factor * power).find(|step| *step >= rough * 0.999);
    steps(most, step.unwrap_or(rough))
}

fn steps(most: f64, step: f64) -> Vec<f64> {
    (0..=50).map(|index| f64::from(index) * step).take_while(|value| *value <= most * 1.0001).collect()
}

/// Moments as a clock divides them.
fn time_ticks(most: f64, count: usize) -> Vec<f64> {
    let rough = most / count as f64;
    let clock = [10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 43_200.0];
    match clock.iter().find(|step| **step >= rough) {
        Some(step) if rough > 5.0 => steps(most, *step),
        _ => ticks(most, count),
    }
}

fn time_label(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let plain = |value: f64| format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned();
    match whole {
        _ if seconds < 1.0 && seconds > 0.0 => format!("{} ms", plain(seconds * 1_000.0)),
        0..120 => format!("{} s", plain(seconds)),
        120..7_200 if whole.is_multiple_of(60) => format!("{} min", whole / 60),
        120..7_200 => format!("{}:{:02} min", whole / 60, whole % 60),
        _ => format!("{}:{:02} h", whole / 3_600, whole % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(time_ticks(300.0, 9), [0.0, 60.0, 120.0, 180.0, 240.0, 300.0]);
        for most in [1e-6, 0.07, 3.0, 999.0, 5e9] {
            assert!((2..=12).contains(&ticks(most, 5).len()), "{most}");
            assert!((2..=12).contains(&time_ticks(most.min(1e5), 9).len()), "{most}");
        }
    }

    #[test]
    fn a_gap_in_the_values_is_a_gap_in_the_line() {
        let mut frame = Frame::new(100.0, 100.0, 3.0, 1.0);
        frame.line("line", &[0.0, 1.0, 2.0, 3.0], [Some(0.0), None, Some(1.0), Some(0.5)].into_iter());
        assert_eq!(frame.svg.matches('M').count(), 2);
        assert_eq!(frame.svg.matches('L').count(), 1);
    }
}
