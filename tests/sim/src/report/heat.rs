//! The heat map of piece availability: a column a moment, a row a run of pieces, a colour a number of copies.

use super::chart::Frame;
use super::text;
use crate::trace::Trace;
use std::fmt::Write;

/// Colours: none, one copy, and seven for more.
const LEVELS: usize = 9;

/// Up to how many copies each colour stands for; the last is open.
fn bounds(most: f32) -> Vec<f32> {
    let mut bounds = vec![0.0, 1.0];
    for level in 2..LEVELS {
        // Equal ratios from 1 to the most, but whole numbers, and each larger than the one before.
        let even = most.max(1.0).powf((level - 1) as f32 / (LEVELS - 2) as f32).ceil();
        let last = bounds[level - 1];
        if last >= most {
            break;
        }
        bounds.push(even.max(last + 1.0).min(most.max(last + 1.0)));
    }
    bounds
}

fn level(bounds: &[f32], copies: f32) -> usize {
    bounds.iter().position(|bound| copies <= *bound).unwrap_or(bounds.len() - 1)
}

/// The colours from few to many: with fewer levels than colours the last ones are taken, for they differ more.
fn colour(bounds: &[f32], level: usize) -> usize {
    match level {
        0 | 1 => level,
        _ if bounds.len() <= 2 => level,
        _ => 2 + (level - 2) * (LEVELS - 3) / (bounds.len() - 3).max(1),
    }
}

fn most(trace: &Trace) -> f32 {
    trace.availability.iter().flatten().copied().fold(0.0, f32::max)
}

/// One path a colour, with equal neighbours in time joined: a few thousand rectangles at the most.
pub(super) fn map(trace: &Trace, width: f64, height: f64) -> String {
    let rows = trace.availability.first().map_or(0, Vec::len);
    let seconds = trace.times.last().copied().unwrap_or(0.0);
    let mut frame = Frame::new(width, height, seconds, rows as f64);
    let bounds = bounds(most(trace));
    let mut paths = vec![String::new(); LEVELS];
    for row in 0..rows {
        let (top, bottom) = (frame.y((rows - row) as f64), frame.y((rows - row - 1) as f64));
        let at = |index: usize| level(&bounds, trace.availability[index][row]);
        let mut begin = 0;
        for index in 1..=trace.times.len() {
            if index < trace.times.len() && at(index) == at(begin) {
                continue;
            }
            let (left, right) = (frame.x(trace.times[begin]), trace.times.get(index).map_or(seconds, |time| *time));
            let (right, path) = (frame.x(right), &mut paths[colour(&bounds, at(begin))]);
            // A little taller than its row, so that no line of the background shines through between the rows.
            _ = write!(path, "M{left:.1} {top:.1}H{right:.1}V{:.1}H{left:.1}Z", bottom + 0.3);
            begin = index;
        }
    }
    for (level, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        frame.raw(&format!("<path class=h{level} d=\"{path}\"/>"));
    }
    frame.time_axis();
    frame.left_label(1.0, "piece 0");
    frame.left_label(0.0, &text::count(trace.pieces.saturating_sub(1) as u64));
    frame.finish("Availability of each piece over time")
}

/// What each colour means.
pub(super) fn legend(trace: &Trace) -> String {
    let bounds = bounds(most(trace));
    let mut out = String::from("<div class=legend>");
    for (level, bound) in bounds.iter().enumerate() {
        let label = match level {
            0 => "nobody has it".to_owned(),
            1 => "one host".to_owned(),
            _ if bounds[level - 1] + 1.0 >= *bound => text::count(*bound as u64),
            _ => format!("{}-{}", text::count(bounds[level - 1] as u64 + 1), text::count(*bound as u64)),
        };
        _ = write!(out, "<span><i class=k{}></i>{label}</span>", colour(&bounds, level));
    }
    out + "</div>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_and_reach_the_most() {
        for most in [0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 41.0, 1_001.0, 10_001.0] {
            let bounds = bounds(most);
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{most}: {bounds:?}");
            assert!(*bounds.last().unwrap() >= most && bounds.len() <= LEVELS, "{most}: {bounds:?}");
            let colours: Vec<usize> = (0..bounds.len()).map(|level| colour(&bounds, level)).collect();
            assert!(colours.windows(2).all(|pair| pair[0] < pair[1]), "{most}: {colours:?}");
            assert!(colours.iter().all(|colour| *colour < LEVELS));
        }
    }
}
