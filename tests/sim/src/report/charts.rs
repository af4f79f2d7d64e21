//! The pictures of a report, each with a caption that says how to read it.

use super::chart::{Frame, Unit};
use super::{heat, text};
use crate::trace::{DECILES, Trace};

const WIDE: f64 = 1036.0;
const HALF: f64 = 500.0;

fn figure(title: &str, caption: &str, legend: &str, svg: &str) -> String {
    format!("<figure><h2>{title}</h2><figcaption>{caption}</figcaption>{legend}{svg}</figure>")
}

fn legend(entries: &[(&str, &str)]) -> String {
    let entry = |(class, name): &(&str, &str)| format!("<span><i class=\"{class}\"></i>{name}</span>");
    format!("<div class=legend>{}</div>", entries.iter().map(entry).collect::<String>())
}

fn seconds(trace: &Trace) -> f64 {
    trace.times.last().copied().unwrap_or(0.0)
}

/// When the leechers that ever complete do, in order, as shares of all leechers.
fn completed_share(trace: &Trace) -> Vec<Option<f64>> {
    let leechers = trace.hosts.iter().filter(|host| !host.seed).count().max(1) as f64;
    let mut times: Vec<f64> =
        trace.hosts.iter().filter(|host| !host.seed).filter_map(|host| Some(host.completed?.as_secs_f64())).collect();
    times.sort_by(f64::total_cmp);
    trace.times.iter().map(|at| Some(times.partition_point(|time| time <= at) as f64 / leechers)).collect()
}

pub(super) fn completion(trace: &Trace) -> String {
    let mut frame = Frame::new(WIDE, 300.0, seconds(trace), 1.0);
    frame.axes(Unit::Share);
    frame.line("line dash slimit", &trace.times, trace.fluid.iter().map(|share| Some(*share)));
    frame.line("line sa", &trace.times, trace.progress.iter().map(|share| Some(*share)));
    frame.line("line sc", &trace.times, completed_share(trace).into_iter());
    if let Some(limit) = trace.about.limit.map(|limit| limit.as_secs_f64()).filter(|limit| *limit <= seconds(trace)) {
        frame.mark("line dash slimit", limit, &format!("fluid limit {}", text::time(limit)));
    }
    let entries =
        [("line ba", "bytes delivered"), ("line bc", "leechers complete"), ("line dash blimit", "fluid limit")];
    let caption = "Bytes delivered and leechers complete, as shares of what all leechers need. Nothing can run left of the \
                   fluid limit, which every uplink reaches only if it is always busy with what somebody lacks: the \
                   distance between the two is what was lost.";
    figure("Completion", caption, &legend(&entries), &frame.finish("Completion over time"))
}

pub(super) fn availability(trace: &Trace) -> String {
    let caption = "How many hosts have each piece, one row a piece (or an equal run of them; red if one of the run is \
                   nowhere). Late orange rows are pieces that the swarm waited for at one host; red ones stop everybody.";
    figure("Where the pieces were", caption, &heat::legend(trace), &heat::map(trace, WIDE, 340.0))
}

pub(super) fn rates(trace: &Trace) -> String {
    let all = || trace.rates.iter();
    let most = all().flatten().map(|deciles| deciles[DECILES - 2]).fold(0.0, f64::max);
    let most = most.max(all().flatten().map(|deciles| deciles[DECILES / 2]).fold(0.0, f64::max)) * 1.25;
    let mut frame = Frame::new(WIDE, 300.0, seconds(trace), most);
    frame.axes(Unit::BytesPerSecond);
    for curve in &trace.curves {
        frame.line("thin", &trace.times, curve.rates.iter().copied());
    }
    for inner in 1..DECILES / 2 {
        let band = all().map(|deciles| deciles.map(|deciles| [deciles[inner], deciles[DECILES - 1 - inner]]));
        frame.band("band fa", &trace.times, band);
    }
    frame.line("line sa", &trace.times, all().map(|deciles| deciles.map(|deciles| deciles[DECILES / 2])));
    let entries = [("line ba", "median"), ("ba", "deciles 10-90 %"), ("line bthin", "single leechers")];
    let caption = "Download rates of the leechers that still lack something. A wide band is an unfair swarm; a median that \
                   falls before the end is a swarm with nothing left to trade; the thin lines are up to 100 single hosts.";
    figure("Download rates", caption, &legend(&entries), &frame.finish("Download rates over time"))
}

pub(super) fn uplinks(trace: &Trace) -> String {
    let mut frame = Frame::new(HALF, 220.0, seconds(trace), 1.0);
    frame.axes(Unit::Share);
    frame.line("line sa", &trace.times, trace.uplink_use.iter().map(|[full, _]| *full));
    frame.line("line sb", &trace.times, trace.uplink_use.iter().map(|[_, lacking]| *lacking));
    let entries = [("line ba", "hosts that have everything"), ("line bb", "leechers")];
    let caption =
        "Share of the uplinks in use. Idle leechers have nothing that others want, idle seeds nobody to serve.";
    figure("Uplinks", caption, &legend(&entries), &frame.finish("Use of the uplinks over time"))
}

pub(super) fn presence(trace: &Trace) -> String {
    let most = trace.present.iter().map(|[lacking, full]| lacking + full).max().unwrap_or(0);
    let mut frame = Frame::new(HALF, 220.0, seconds(trace), f64::from(most) * 1.08);
    frame.axes(Unit::Number);
    let parts = || trace.present.iter().map(|[lacking, full]| (f64::from(*lacking), f64::from(*full)));
    frame.band("band fa", &trace.times, parts().map(|(lacking, full)| Some([lacking, lacking + full])));
    frame.band("band fb", &trace.times, parts().map(|(lacking, _)| Some([0.0, lacking])));
    frame.line("line sa", &trace.times, parts().map(|(lacking, full)| Some(lacking + full)));
    frame.line("line sb", &trace.times, parts().map(|(lacking, _)| Some(lacking)));
    let entries = [("line ba", "all"), ("line bb", "of them leechers")];
    let caption = "Who was there. What is between the two lines has every piece.";
    figure("Hosts", caption, &legend(&entries), &frame.finish("Hosts over time"))
}

pub(super) fn copies(trace: &Trace) -> String {
    let most = trace.copies.iter().copied().fold(1.0, f64::max);
    let mut frame = Frame::new(HALF, 220.0, seconds(trace), most * 1.08);
    frame.axes(Unit::Number);
    frame.line("line sa", &trace.times, trace.copies.iter().map(|copies| Some(*copies)));
    let caption = "Full copies in the swarm: copies of the rarest piece, and the share of pieces there once more. Below \
                   one, nobody can finish.";
    figure("Copies", caption, "", &frame.finish("Copies over time"))
}

pub(super) fn waste(trace: &Trace) -> String {
    let most = trace.traffic.iter().map(|[_, wasted]| *wasted).max().unwrap_or(0) as f64;
    let mut frame = Frame::new(HALF, 220.0, seconds(trace), (most * 1.15).max(16_384.0));
    frame.axes(Unit::Bytes);
    let wasted = || trace.traffic.iter().map(|[_, wasted]| *wasted as f64);
    frame.band("band fbad", &trace.times, wasted().map(|wasted| Some([0.0, wasted])));
    frame.line("line sbad", &trace.times, wasted().map(Some));
    let caption = "Payload that was received and of no use, so far: twice the same, not asked for, wrong.";
    figure("Waste", caption, "", &frame.finish("Wasted payload over time"))
}
