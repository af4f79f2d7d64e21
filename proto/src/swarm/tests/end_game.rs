//! When a block is asked for a second time.

use super::*;

#[test]
fn in_a_small_torrent_a_request_is_left_alone_for_a_while() {
    let mut bench = Bench::new("........");
    let ((first, asked), (_, others)) = (bench.seed(1), bench.seed(2));
    assert_eq!(asked.len() + others.len(), 16, "everything is asked for");
    let (third, again) = bench.seed(3);
    assert_eq!(again, []);
    let early = bench.wait(Duration::from_millis(149));
    assert_eq!(bench.requests(&early, third), []);
    let early = bench.deliver(first, &asked);
    assert_eq!(bench.requests(&early, first), [], "nor is one that has answered asked for what others may still send");
    let due = bench.wait(Duration::from_millis(1));
    let again = bench.requests(&due, third);
    assert!(!again.is_empty() && again.iter().all(|block| others.contains(block)), "{again:?}");
}

#[test]
fn in_a_large_torrent_whoever_is_idle_is_asked_at_once() {
    let mut bench = Bench::of(513, &format!(".{}", "x".repeat(512)));
    let ((_, asked), (_, again)) = (bench.seed(1), bench.seed(2));
    assert!(asked.len() == 2 && again.len() == 2, "{asked:?}, {again:?}");
}
