//! Figures of runs for people and for programs.

use serde_json::{Value, json};
use std::io::Write;
use swarm_sim::scenarios::{self, Scenario, Settings};
use swarm_sim::{ClassMeasures, Measures};

/// What docs/simulation.md lists: scenario, leechers, first seed, number of seeds.
const LISTED: &[(&str, usize, u64, u64)] = &[
    ("one-to-many", 8, 1, 5),
    ("one-to-many", 24, 1, 5),
    ("one-to-many", 100, 1, 3),
    ("one-to-many", 1_000, 1, 1),
    ("one-to-many", 10_000, 1, 1),
    ("flash-crowd", 1_000, 1, 1),
    ("churn", 5_000, 1, 1),
    ("mixed-links", 200, 1, 3),
    ("free-riders", 500, 1, 1),
    ("seed-leaves", 50, 0, 100),
    ("corrupters", 100, 1, 3),
    ("partition", 200, 1, 3),
    ("slow-disks", 200, 1, 3),
];

/// Megabytes that this process has had in memory at most; nothing where that cannot be asked.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// One run, for people.
pub(crate) fn print_run(scenario: &Scenario, settings: &Settings, run: &Measures) {
    println!("{} with {} leechers, seed {}: {}", scenario.name, settings.peers, settings.seed, scenario.about);
    let ratio = |time: f64| format!("{time:9.1} s {:6.2} x limit", time / run.limit);
    println!("  complete             {:>6} of {}", run.completed, run.leechers);
    println!("  fluid limit          {:9.1} s", run.limit);
    println!("  last                 {}", ratio(run.last));
    println!("  median               {}", ratio(run.median));
    if let Some(time) = run.full_copy {
        println!("  one full copy out    {time:9.1} s {:6.2} x its limit", time / run.full_copy_limit);
    }
    println!("  wasted               {:9.2} %", 100.0 * run.waste);
    println!("  uplinks used         {:9.1} %", 100.0 * run.uplink_use);
    let speed = run.virtual_s / run.processor_s;
    println!(
        "  virtual time         {:9.1} s in {:.1} s of one core, {speed:.1} x real time",
        run.virtual_s, run.processor_s
    );
    let memory = peak_mib().map_or(String::new(), |mib| format!(", {mib} MiB in memory"));
    println!("  happenings           {:>7.1} million{memory}", run.happenings as f64 / 1e6);
    println!("  digest               {:016x}", run.digest);
    println!("  class              hosts  complete  median s    95 %   worst   down/up (10..90 %)");
    for class in &run.classes {
        print_class(class);
    }
}

fn print_class(class: &ClassMeasures) {
    let [low, high] = class.down_per_up_spread;
    println!(
        "  {:<18} {:>5}  {:>8}  {:>8.1} {:>7.1} {:>7.1}   {:.2} ({low:.2}..{high:.2})",
        class.class, class.hosts, class.completed, class.median_s, class.p95_s, class.worst_s, class.down_per_up
    );
}

/// Many runs, for people.
pub(crate) fn print_summary(runs: &[Measures]) {
    let complete = runs.iter().filter(|run| run.all_complete).count();
    println!("{} runs, {complete} of them with everybody complete", runs.len());
    let ratios: Vec<f64> = runs.iter().filter(|run| run.all_complete).map(|run| run.last / run.limit).collect();
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    let worst = ratios.iter().copied().fold(f64::NAN, f64::max);
    println!("  last over the limit, where complete: {mean:.2} in the mean, {worst:.2} at worst");
    let waste = runs.iter().map(|run| run.waste).sum::<f64>() / runs.len() as f64;
    println!("  wasted: {:.2} % in the mean", 100.0 * waste);
}

/// One run, for programs.
pub(crate) fn json(scenario: &Scenario, settings: &Settings, run: &Measures) -> Value {
    let class = |class: &ClassMeasures| {
        json!({
            "class": class.class,
            "hosts": class.hosts,
            "completed": class.completed,
            "median_s": class.median_s,
            "p95_s": class.p95_s,
            "worst_s": class.worst_s,
            "down_per_up": class.down_per_up,
            "down_per_up_spread": class.down_per_up_spread,
        })
    };
    json!({
        "scenario": scenario.name,
        "peers": settings.peers,
        "seed": settings.seed,
        "all_complete": run.all_complete,
        "completed": run.completed,
        "leechers": run.leechers,
        "limit_s": run.limit,
        "last_s": run.last,
        "median_s": run.median,
        "wasted": run.waste,
        "full_copy_s": run.full_copy,
        "full_copy_limit_s": run.full_copy_limit,
        "uplinks_used": run.uplink_use,
        "virtual_s": run.virtual_s,
        "processor_s": run.processor_s,
        "happenings": run.happenings,
        "peak_mib": peak_mib(),
        "digest": format!("{:016x}", run.digest),
        "classes": run.classes.iter().map(class).collect::<Vec<_>>(),
    })
}

/// The table of docs/simulation.md.
pub(crate) fn print_all() {
    println!(
        "| `swarm-sim` … | complete | last / limit | median / limit | wasted | full copy / limit | uplinks used | \
         median of a class | s of a core | speed |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for &(name, peers, first, count) in LISTED {
        let Some(scenario) = scenarios::find(name) else { continue };
        let run = |seed| scenario.run(&Settings::new(peers, seed)).1;
        let runs: Vec<Measures> = (first..first + count).map(run).collect();
        println!("{}", row(scenario, peers, first, &runs));
        let _ = std::io::stdout().flush();
    }
}

fn row(scenario: &Scenario, peers: usize, first: u64, runs: &[Measures]) -> String {
    let complete = runs.iter().filter(|run| run.all_complete).count();
    let mean = |of: fn(&Measures) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
    let last = runs.iter().filter(|run| run.all_complete).map(|run| run.last / run.limit);
    let worst = last.clone().fold(f64::NAN, f64::max);
    let seeds = match runs.len() as u64 {
        1 => format!("--seed {first}"),
        count => format!("--seeds {first}..{}", first + count),
    };
    let cells = [
        format!("`{} --peers {peers} {seeds}`", scenario.name),
        format!("{complete} of {}", runs.len()),
        format!("{:.2}, at worst {worst:.2}", last.sum::<f64>() / complete as f64),
        format!("{:.2}", mean(|run| run.median / run.limit)),
        format!("{:.2} %", 100.0 * mean(|run| run.waste)),
        format!("{:.2}", mean(|run| run.full_copy.unwrap_or(f64::NAN) / run.full_copy_limit)),
        format!("{:.0} %", 100.0 * mean(|run| run.uplink_use)),
        medians(runs),
        format!("{:.0}", mean(|run| run.processor_s)),
        format!("{:.1}", mean(|run| run.virtual_s) / mean(|run| run.processor_s)),
    ];
    format!("| {} |", cells.join(" | "))
}

/// The mean over the runs of each class's median time.
fn medians(runs: &[Measures]) -> String {
    let Some(first) = runs.first() else { return String::new() };
    let class = |name: &&'static str| {
        let times = runs.iter().flat_map(|run| &run.classes).filter(|class| class.class == *name);
        let times: Vec<f64> = times.map(|class| class.median_s).filter(|time| time.is_finite()).collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        format!("{name} {mean:.0} s")
    };
    let names: Vec<&'static str> =
        first.classes.iter().filter(|class| class.completed > 0).map(|it| it.class).collect();
    names.iter().map(class).collect::<Vec<_>>().join(", ")
}
