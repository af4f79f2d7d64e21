//! Traces and reports: the same seed gives the same bytes, and their size has a bound.

use std::time::Duration;
use swarm_sim::scenarios::{self, Settings};
use swarm_sim::trace::{self, About, BUCKETS, CURVES, Lines, SAMPLES, Trace};
use swarm_sim::{Conduct, HostConfig, World, report};

const LONG: Duration = Duration::from_secs(3_600);

fn settings(seed: u64) -> Settings {
    let mut settings = Settings::new(8, seed);
    settings.bytes = 2 << 20;
    settings.piece_length = 64 << 10;
    settings
}

/// Everything that happens in a run, as lines.
fn lines(seed: u64) -> Vec<u8> {
    let lines = Lines::new(Vec::new());
    let scenario = scenarios::find("churn").expect("a scenario");
    let mut world = (scenario.build)(&settings(seed)).with_recorder(lines.listener());
    assert!(world.run(LONG));
    drop(world);
    lines.finish().expect("memory takes everything")
}

#[test]
fn a_seed_replays_to_the_same_byte() {
    let (first, again, other) = (lines(3), lines(3), lines(4));
    assert!(first.len() > 100_000, "{} bytes", first.len());
    assert!(first == again, "two runs of one seed");
    assert!(first != other, "runs of two seeds");
}

#[test]
fn each_line_is_an_object_with_a_time_that_does_not_go_back() {
    let text = String::from_utf8(lines(3)).expect("text");
    let mut last = 0;
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect(line);
        let at = value["at_ns"].as_u64().expect("a time");
        assert!(at >= last && value["kind"].is_string() && value["host"].is_u64(), "{line}");
        last = at;
    }
    let kinds = ["arrived", "connected", "message", "block", "piece-verified", "completed"];
    assert!(kinds.iter().all(|kind| text.contains(&format!("\"kind\":\"{kind}\""))));
}

fn about(title: &str) -> About {
    About { title: title.into(), total_bytes: 2 << 20, piece_length: 64 << 10, ..About::default() }
}

fn trace(seed: u64, title: &str) -> Trace {
    let scenario = scenarios::find("churn").expect("a scenario");
    let mut world = (scenario.build)(&settings(seed));
    trace::run(&mut world, LONG, |_| about(title))
}

#[test]
fn a_report_is_the_same_for_the_same_seed_and_needs_nothing_else() {
    let page = report::page(&trace(3, "a run"));
    assert_eq!(page, report::page(&trace(3, "a run")));
    assert_ne!(page, report::page(&trace(4, "a run")));
    for outside in ["http:", "https:", "//", "<script", "url(", "@import", "src=", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf"), "numbers that are none");
}

#[test]
fn what_a_report_is_told_stays_text() {
    let mut trace = trace(3, "<img onerror=\"x\">&'");
    trace.about.summary = "</p><script>alert(1)</script>".into();
    trace.about.command = "</pre><b>".into();
    trace.about.settings = vec![("<i>".into(), "\"><u>".into())];
    let page = report::page(&trace);
    for tag in ["<img", "<script", "<b>x", "<i>", "<u>", "</pre><b>"] {
        assert!(!page.contains(tag), "{tag}");
    }
    assert!(page.contains("&lt;img onerror=&quot;x&quot;&gt;&amp;&#39;"));
}

#[test]
fn a_trace_is_bounded_whatever_the_scale() {
    let geometry = swarm_proto::geometry::Geometry::new(600 * 16_384, 16_384).expect("a valid shape");
    let mut world = World::new(geometry, 1);
    world.add(HostConfig::seed(10_000_000), Duration::ZERO);
    for number in 0..130 {
        let conduct = if number % 5 == 0 { Conduct::FreeRide } else { Conduct::Honest };
        world.add(HostConfig::leecher(40_000).with_conduct(conduct), Duration::from_millis(number));
    }
    // Not to its end: it is about the number of hosts, pieces and moments.
    let trace = trace::run(&mut world, Duration::from_secs(40), |_| about("many"));
    assert!((SAMPLES / 2..=SAMPLES).contains(&trace.times.len()), "{} moments", trace.times.len());
    assert_eq!((trace.curves.len(), trace.availability[0].len(), trace.pieces), (CURVES, BUCKETS, 600));
    let moments = trace.times.len();
    let lists =
        [trace.availability.len(), trace.copies.len(), trace.present.len(), trace.fluid.len(), trace.rates.len()];
    assert!(lists.iter().all(|length| *length == moments) && trace.curves.iter().all(|it| it.rates.len() == moments));
    assert!(trace.times.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(trace.progress.windows(2).all(|pair| pair[0] <= pair[1]) && trace.progress.last() > Some(&0.0));
    assert!(trace.progress.iter().zip(&trace.fluid).all(|(done, limit)| *done <= limit + 1e-9), "beyond the limit");
    let page = report::page(&trace);
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
}
