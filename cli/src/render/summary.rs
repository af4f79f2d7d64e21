//! The remark behind a torrent's bar, and the line that closes a transfer.

use super::text;
use std::time::Duration;
use swarm_proto::swarm::SwarmStats;

/// Time until everything is there at the present rate; none while nothing comes or nothing is missing.
pub(crate) fn time_left(stats: &SwarmStats) -> Option<Duration> {
    let missing = stats.total_bytes.saturating_sub(stats.have_bytes);
    (missing > 0 && stats.download_rate > 0).then(|| Duration::from_secs(missing.div_ceil(stats.download_rate)))
}

/// Bytes sent for each byte of the torrent; 0 for an empty one.
pub(crate) fn ratio(stats: &SwarmStats) -> f64 {
    if stats.total_bytes == 0 { 0.0 } else { stats.uploaded as f64 / stats.total_bytes as f64 }
}

/// Rates, peers, time left and ratio, as they stand behind a bar; last what a narrow terminal can do without.
pub(crate) fn remark(stats: &SwarmStats) -> String {
    let peers = text::count(u64::from(stats.peers), "peer");
    let up = format!("↑ {}", text::rate(stats.upload_rate));
    if stats.have_bytes >= stats.total_bytes {
        return format!("{up}  {peers}  ratio {:.2}  sent {}", ratio(stats), text::bytes(stats.uploaded));
    }
    let left = time_left(stats).map_or_else(|| "–".to_owned(), text::duration);
    format!("↓ {}  {peers}  ETA {left}  ratio {:.2}  {up}", text::rate(stats.download_rate), ratio(stats))
}

/// What came of a transfer: bytes, waste, time, mean rate.
pub(crate) fn closing(name: &str, stats: &SwarmStats, fetching: Duration, whole: Duration) -> String {
    let name = text::printable(name);
    let mut parts = Vec::new();
    if stats.have_bytes < stats.total_bytes {
        parts.push(format!("{} of {} there", text::bytes(stats.have_bytes), text::bytes(stats.total_bytes)));
    } else if stats.downloaded == 0 {
        parts.push(format!("complete, {}", text::bytes(stats.total_bytes)));
    }
    if stats.downloaded > 0 {
        let mean = text::rate(text::mean_rate(stats.downloaded, fetching));
        let wasted = text::bytes(stats.wasted);
        parts.push(format!(
            "received {} ({wasted} wasted) in {}, {mean}",
            text::bytes(stats.downloaded),
            text::duration(fetching)
        ));
    }
    let mean = text::rate(text::mean_rate(stats.uploaded, whole));
    if stats.uploaded > 0 {
        parts.push(format!("sent {} in {}, {mean}", text::bytes(stats.uploaded), text::duration(whole)));
    }
    format!("{name}: {}", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(have: u64, downloaded: u64, uploaded: u64) -> SwarmStats {
        let rate = 1 << 20;
        let total_bytes = 100 << 20;
        SwarmStats {
            have_bytes: have,
            total_bytes,
            downloaded,
            uploaded,
            download_rate: rate,
            peers: 1,
            ..SwarmStats::default()
        }
    }

    #[test]
    fn a_bar_says_how_long_it_takes() {
        let remark = remark(&stats(40 << 20, 40 << 20, 50 << 20));
        assert_eq!(remark, "↓ 1.00 MiB/s  1 peer  ETA 1 m 0 s  ratio 0.50  ↑ 0 B/s");
        assert_eq!(time_left(&SwarmStats { download_rate: 0, ..stats(0, 0, 0) }), None);
        assert_eq!(ratio(&SwarmStats::default()), 0.0);
    }

    #[test]
    fn the_end_says_what_came_of_it() {
        let time = Duration::from_secs(20);
        let line = closing("a\x1b", &stats(100 << 20, 100 << 20, 0), time, time);
        assert_eq!(line, "a\u{FFFD}: received 100 MiB (0 B wasted) in 20 s, 5.00 MiB/s");
        assert_eq!(closing("a", &stats(100 << 20, 0, 0), time, time), "a: complete, 100 MiB");
        let line = closing("a", &stats(1 << 20, 1 << 20, 1 << 20), time, time * 2);
        assert!(line.starts_with("a: 1.00 MiB of 100 MiB there; received 1.00 MiB"), "{line}");
        assert!(line.ends_with("sent 1.00 MiB in 40 s, 25.6 KiB/s"), "{line}");
    }
}
