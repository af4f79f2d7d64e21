//! The tables of a report.

use super::findings::Figures;
use super::section;
use super::text::{self, escape};
use crate::conduct::Conduct;
use crate::observation::HostObservation;
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows of the table of the slowest.
const SLOWEST: usize = 12;
/// Kinds of hosts told apart; the rest is one row.
const KINDS: usize = 16;

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let row = |cells: &[String]| format!("<tr>{}</tr>", cells.concat());
    let head: Vec<String> = head.iter().map(|cell| format!("<th>{}</th>", escape(cell))).collect();
    let cells = |cells: &Vec<String>| -> Vec<String> {
        cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect()
    };
    let head = if head.is_empty() { String::new() } else { row(&head) };
    let body: String = rows.iter().map(|cells_of| row(&cells(cells_of))).collect();
    format!("<div class=scroll><table>{head}{body}</table></div>")
}

/// What was set, and what came of it.
pub(super) fn totals(trace: &Trace, figures: &Figures) -> String {
    let about = &trace.about;
    let time = |time: Option<f64>| time.map_or_else(|| "never".to_owned(), text::time);
    let torrent = format!(
        "{} in {} pieces of {} KiB",
        text::bytes(about.total_bytes as f64),
        text::count(trace.pieces as u64),
        text::count(about.piece_length / 1024)
    );
    let seeds = trace.hosts.iter().filter(|host| host.seed).count();
    let hosts = format!("{} seeds, {} leechers", text::count(seeds as u64), text::count(figures.leechers));
    let mut rows = vec![
        ("torrent", torrent),
        ("hosts", hosts),
        ("complete at the end", format!("{} leechers", text::count(figures.complete))),
        ("median completion", time(figures.median)),
        ("last completion", time(figures.last)),
        ("fluid limit", about.limit.map_or_else(|| "-".to_owned(), text::duration)),
        ("one full copy out", time(figures.first_copy)),
        ("payload received", text::bytes(figures.downloaded as f64)),
        ("payload sent", text::bytes(figures.uploaded as f64)),
        ("payload wasted", format!("{} ({})", text::bytes(figures.wasted as f64), text::percent(figures.waste))),
        ("uplinks used", figures.use_of_uplinks.map_or_else(|| "-".to_owned(), text::percent)),
        ("end of the run", time(trace.times.last().copied())),
        ("seed", about.seed.to_string()),
    ];
    rows.extend(about.settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    section("Totals", &table(&[], &rows))
}

/// Hosts of one kind together: whoever was slow, was it its kind?
pub(super) fn classes(trace: &Trace) -> String {
    let mut kinds: BTreeMap<(bool, String, u64), Vec<&HostObservation>> = BTreeMap::new();
    for host in &trace.hosts {
        kinds.entry((!host.seed, kind(host), host.uplink)).or_default().push(host);
    }
    if kinds.len() > KINDS {
        let all = std::mem::take(&mut kinds);
        for ((leecher, conduct, _), hosts) in all {
            kinds.entry((leecher, conduct, 0)).or_default().extend(hosts);
        }
    }
    let head = [
        "kind",
        "uplink",
        "hosts",
        "complete",
        "median time",
        "slowest",
        "received",
        "sent",
        "received / sent",
        "wasted",
    ];
    let rows: Vec<Vec<String>> = kinds.iter().map(|(kind, hosts)| class(kind, hosts)).collect();
    section("By kind of host", &table(&head, &rows))
}

/// What the scenario calls it, and how it behaves.
fn kind(host: &HostObservation) -> String {
    let (class, conduct) = (host.class, host.conduct.name());
    if host.conduct == Conduct::Honest || class == conduct { class.to_owned() } else { format!("{class}, {conduct}") }
}

/// Time that a host took from its arrival.
fn took(host: &HostObservation) -> Option<Duration> {
    Some(host.completed?.saturating_sub(host.arrived))
}

fn class((leecher, kind, uplink): &(bool, String, u64), hosts: &[&HostObservation]) -> Vec<String> {
    let sum = |of: fn(&HostObservation) -> u64| hosts.iter().map(|host| of(host)).sum::<u64>();
    let mut times: Vec<Duration> = hosts.iter().filter(|host| !host.seed).filter_map(|host| took(host)).collect();
    times.sort_unstable();
    let time = |time: Option<&Duration>| time.map_or_else(|| "-".to_owned(), |time| text::duration(*time));
    let (received, sent) = (sum(|host| host.downloaded), sum(|host| host.uploaded));
    let ratio = if *leecher && sent > 0 { format!("{:.2}", received as f64 / sent as f64) } else { "-".to_owned() };
    vec![
        kind.clone(),
        if *uplink == 0 { "various".to_owned() } else { text::rate(*uplink) },
        text::count(hosts.len() as u64),
        if *leecher { text::count(times.len() as u64) } else { "-".to_owned() },
        time(times.get(times.len().saturating_sub(1) / 2)),
        time(times.last()),
        text::bytes(received as f64),
        text::bytes(sent as f64),
        ratio,
        text::bytes(sum(|host| host.wasted) as f64),
    ]
}

/// Those who never finished first, then the last ones.
pub(super) fn last_to_finish(trace: &Trace) -> String {
    let mut hosts: Vec<&HostObservation> = trace.hosts.iter().filter(|host| !host.seed).collect();
    let key = |host: &HostObservation| (host.completed.unwrap_or(Duration::MAX), host.host);
    hosts.sort_by_key(|host| std::cmp::Reverse(key(host)));
    let head =
        ["host", "conduct", "uplink", "downlink", "came", "complete", "left", "pieces", "received", "sent", "wasted"];
    let moment = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), text::duration);
    let row = |host: &&HostObservation| {
        vec![
            host.host.to_string(),
            host.conduct.name().to_owned(),
            text::rate(host.uplink),
            text::rate(host.downlink),
            text::duration(host.arrived),
            host.completed.map_or_else(|| "never".to_owned(), text::duration),
            moment(host.left),
            text::count(u64::from(host.have)),
            text::bytes(host.downloaded as f64),
            text::bytes(host.uploaded as f64),
            text::bytes(host.wasted as f64),
        ]
    };
    let rows: Vec<Vec<String>> = hosts.iter().take(SLOWEST).map(row).collect();
    section("Last to finish", &table(&head, &rows))
}
